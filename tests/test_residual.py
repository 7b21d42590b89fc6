"""QP-SBGD of real parameters through the Jacobian of a residual function."""

import copy
import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call

from oracles import all_spins, all_steps, best_row_step, signs
from qpsbgd.residual import ResidualQPSBGD, jacobians
from qpsbgd.solvers.native import NativeSolver
from training import Shuffler


def rosenbrock(x):
    return torch.cat([10 * (x[1:] - x[:-1] ** 2), 1 - x[:-1]])


def curve(a, b):
    """Residuals of a damped oscillation at 12 points, from parameters of shapes (2,) and (2, 2)."""
    t = torch.linspace(0, 3, 12, dtype=a.dtype)
    z = a[0] * torch.exp(-a[1] * t) * torch.cos(b[0, 0] * t + b[0, 1]) + b[1, 0] * t + b[1, 1]
    return z - torch.sin(t)


def parameters(seed=0):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: nn.Parameter(torch.randn(*shape, generator=generator, dtype=torch.float64))  # noqa: E731
    return draw(2), draw(2, 2)


def autograd_jacobian(function, *inputs):
    """Row by row, by ordinary backward passes."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    z = function(*leaves).reshape(-1)
    rows = [torch.autograd.grad(entry, leaves, retain_graph=True) for entry in z]
    return [torch.stack([row[i].reshape(-1) for row in rows]) for i in range(len(leaves))]


# Jacobians


@pytest.mark.parametrize("mode", ["auto", "reverse", "forward"])
def test_jacobians_are_those_of_autograd(mode):
    a, b = parameters()
    z, found = jacobians(curve, [a, b], mode)
    torch.testing.assert_close(z, curve(a, b).detach())
    for U, expected in zip(found, autograd_jacobian(curve, a, b), strict=True):
        torch.testing.assert_close(U, expected)
        assert not U.requires_grad


@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_outputs_and_jacobian_belong_to_the_same_noise(mode):
    x = torch.ones(3)
    z, (U,) = jacobians(lambda x: torch.randn(4, 3) @ x, [x], mode)
    torch.testing.assert_close(U @ x, z)


# The step


@given(st.integers(0, 10_000), st.sampled_from(["spin", "mask"]))
def test_step_with_an_exact_solver_is_the_best_of_all_steps(seed, domain):
    a, b = parameters(seed)
    before = [x.detach().clone() for x in (a, b)]
    r, found = jacobians(curve, before)
    solver = NativeSolver(method="exact")
    optimizer = ResidualQPSBGD([a, b], lr=0.1, memory=None, scale="step", domain=domain, solver=solver)
    optimizer.step(curve)
    for x, old, U in zip((a, b), before, found, strict=True):
        J, v = U.numpy(), r.numpy()
        G = ((old - x.detach()) / 0.1).round().reshape(-1).numpy()

        def distance(step, J=J, v=v):
            return np.square(v - 0.1 * J @ step).sum()

        assert distance(G) == pytest.approx(min(distance(s) for s in all_steps(signs(J.T @ v), domain)))


def test_scale_step_minimises_the_residual_after_the_step_where_it_is_linear():
    torch.manual_seed(5)
    J, c = torch.randn(9, 7).double(), torch.randn(9).double()
    x = nn.Parameter(torch.randn(7).double())
    old = x.detach().clone()
    exact = NativeSolver(method="exact")
    optimizer = ResidualQPSBGD([x], lr=0.2, memory=None, scale="step", solver=exact)
    loss = optimizer.step(lambda x: J @ x - c)
    assert loss.item() == pytest.approx(0.5 * (J @ old - c).square().sum().item())
    after = 0.5 * (J @ x.detach() - c).square().sum().item()
    best = min(
        0.5 * (J @ (old - 0.2 * torch.from_numpy(s).double()) - c).square().sum() for s in all_spins(7)
    )
    assert after == pytest.approx(best.item())


def test_momentum_averages_gradient_and_gram_matrix():
    x = nn.Parameter(torch.tensor([-1.2, 1.0, 0.3], dtype=torch.float64))
    exact = NativeSolver(method="exact")
    optimizer = ResidualQPSBGD([x], lr=0.05, scale=0.3, solver=exact)
    p_mean, gram_mean = np.zeros(3), np.zeros((3, 3))
    for step in range(1, 5):
        old = x.detach().clone()
        r, (U,) = jacobians(rosenbrock, [old])
        p_mean = 0.9 * p_mean + 0.1 * (U.T @ r).numpy()
        gram_mean = 0.9 * gram_mean + 0.1 * (U.T @ U).numpy()
        optimizer.step(rosenbrock)
        G = best_row_step(p_mean / (1 - 0.9**step), gram_mean / (1 - 0.9**step), 0.3)
        torch.testing.assert_close(x.detach(), old - 0.05 * torch.from_numpy(G))


def test_error_feedback_is_carried_to_the_next_step():
    x = nn.Parameter(torch.tensor([-1.2, 1.0, 0.3], dtype=torch.float64))
    exact = NativeSolver(method="exact")
    optimizer = ResidualQPSBGD([x], lr=0.05, memory="error-feedback", scale=0.3, solver=exact)
    left = np.zeros(3)
    for _ in range(4):
        old = x.detach().clone()
        r, (U,) = jacobians(rosenbrock, [old])
        p = (U.T @ r).numpy() + left
        optimizer.step(rosenbrock)
        G = best_row_step(p, (U.T @ U).numpy(), 0.3)
        torch.testing.assert_close(x.detach(), old - 0.05 * torch.from_numpy(G))
        left = p - max(0.0, float(np.mean(p * G))) * G


def test_a_loss_of_the_outputs_gives_the_gradient_of_autograd_and_the_mean_gram_matrix():
    torch.manual_seed(5)
    X, y = torch.randn(20, 6).double(), (torch.randn(20) > 0).double()
    w = nn.Parameter(torch.randn(6).double())
    old = w.detach().clone().requires_grad_()
    expected = nn.functional.binary_cross_entropy_with_logits(X @ old, y)
    (g,) = torch.autograd.grad(expected, old)
    exact = NativeSolver(method="exact")
    optimizer = ResidualQPSBGD([w], lr=0.1, memory=None, scale=0.2, solver=exact)
    loss = optimizer.step(lambda w: X @ w, lambda z: nn.functional.binary_cross_entropy_with_logits(z, y))
    torch.testing.assert_close(loss, expected.detach())
    G = best_row_step(g.numpy(), (X.T @ X).numpy() / 20, 0.2)
    torch.testing.assert_close(w.detach(), old.detach() - 0.1 * torch.from_numpy(G))


def test_kappa_zero_is_sign_descent():
    x = nn.Parameter(torch.tensor([-1.2, 1.0, 0.3]))
    old = x.detach().clone()
    r, (U,) = jacobians(rosenbrock, [old])
    ResidualQPSBGD([x], lr=0.05, memory=None, scale="relative", kappa=0.0).step(rosenbrock)
    torch.testing.assert_close(x.detach(), old - 0.05 * (U.T @ r).sign())


def test_large_parameters_are_cut_into_blocks_that_are_solved_alone():
    torch.manual_seed(5)
    J, c = torch.randn(9, 7).double(), torch.randn(9).double()
    x = nn.Parameter(torch.zeros(7).double())
    exact = NativeSolver(method="exact")
    optimizer = ResidualQPSBGD([x], lr=0.1, scale=0.2, memory="momentum", block_size=3, solver=exact)
    optimizer.step(lambda x: J @ x - c)
    expected = []
    for block in (slice(0, 2), slice(2, 4), slice(4, 7)):
        U = J[:, block]
        expected.append(best_row_step((U.T @ -c).numpy(), (U.T @ U).numpy(), 0.2))
    torch.testing.assert_close(x.detach(), -0.1 * torch.from_numpy(np.concatenate(expected)).double())
    assert optimizer.num_qubos == 3


def test_clip_bounds_the_parameters():
    x = nn.Parameter(torch.tensor([-0.9, 0.9]))
    optimizer = ResidualQPSBGD([x], lr=0.5, clip=1.0)
    for _ in range(10):
        optimizer.step(lambda x: x - torch.tensor([-5.0, 5.0]))
    assert x.tolist() == [-1.0, 1.0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_every_float_dtype_trains(dtype):
    x = nn.Parameter(torch.tensor([2.0, -3.0]).to(dtype))
    optimizer = ResidualQPSBGD([x], lr=0.25, memory=None)
    losses = [optimizer.step(lambda x: x - 1).item() for _ in range(18)]
    assert losses[-1] < 0.05 * losses[0]
    assert x.dtype == dtype


def test_modules_train_through_functional_call():
    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    names = [name for name, _ in model.named_parameters()]
    x = torch.randn(30, 3)
    y = x[:, :1] - x[:, 1:2] * x[:, 2:]

    def residuals(*values):
        return functional_call(model, dict(zip(names, values, strict=True)), x) - y

    optimizer = ResidualQPSBGD(model.parameters(), lr=0.01)
    losses = [optimizer.step(residuals).item() for _ in range(150)]
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize("start", [[-1.2, 1.0], [-1.2, 1.0] * 5])
def test_rosenbrock_comes_near_its_minimum(start):
    x = nn.Parameter(torch.tensor(start))
    optimizer = ResidualQPSBGD([x], lr=0.03)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=500)
    for _ in range(500):
        optimizer.step(rosenbrock)
        schedule.step()
    assert rosenbrock(x.detach()).square().sum() < (0.01 if len(start) == 2 else 0.05)


# State


@pytest.mark.parametrize("memory", ["momentum", "error-feedback", None])
def test_training_resumes_bit_exactly(memory):
    def trained(steps, x, optimizer):
        for _ in range(steps):
            optimizer.step(rosenbrock)
        return x

    def fresh():
        x = nn.Parameter(torch.tensor([-1.2, 1.0, 0.5, 0.2], dtype=torch.bfloat16))
        return x, ResidualQPSBGD([x], lr=0.02, memory=memory, block_size=3, solver=Shuffler())

    x, optimizer = fresh()
    trained(3, x, optimizer)
    file = io.BytesIO()
    torch.save([x.detach(), optimizer.state_dict()], file)
    trained(3, x, optimizer)
    file.seek(0)
    values, state = torch.load(file, weights_only=True)
    other, resumed = fresh()
    other.data.copy_(values)
    resumed.load_state_dict(state)
    assert torch.equal(trained(3, other, resumed), x)
    assert resumed.num_qubos == optimizer.num_qubos == 12


def test_copies_train_like_their_original():
    x = nn.Parameter(torch.tensor([-1.2, 1.0]))
    optimizer = ResidualQPSBGD([x], lr=0.02)
    optimizer.step(rosenbrock)
    other, copied = copy.deepcopy((x, optimizer))
    optimizer.step(rosenbrock)
    copied.step(rosenbrock)
    assert torch.equal(x, other)


def test_options_may_differ_between_groups():
    a, b = parameters()
    old = [x.detach().clone() for x in (a, b)]
    groups = [{"params": [a], "lr": 0.1}, {"params": [b], "lr": 0.01, "memory": None}]
    optimizer = ResidualQPSBGD(groups)
    optimizer.step(curve)
    torch.testing.assert_close((a.detach() - old[0]).abs(), torch.full((2,), 0.1).double())
    torch.testing.assert_close((b.detach() - old[1]).abs(), torch.full((2, 2), 0.01).double())
    assert [group["kappa"] for group in optimizer.param_groups] == [0.5, 1.0]


# Bad input


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"lr": -1}, ValueError, "Invalid lr"),
        ({"memory": "total"}, ValueError, "Invalid memory: 'total'"),
        ({"scale": "raw"}, ValueError, "Invalid scale: 'raw'"),
        ({"kappa": -1.0}, ValueError, "Invalid kappa"),
        ({"domain": "ring"}, ValueError, "Invalid domain"),
        ({"clip": 0.0}, ValueError, "Invalid clip: 0.0"),
        ({"clip": "1"}, TypeError, "clip must be a number or None"),
        ({"block_size": 0}, ValueError, "Invalid block_size: 0"),
        ({"block_size": 2.0}, TypeError, "block_size must be an integer"),
        ({"mode": "sideways"}, ValueError, "Invalid mode: 'sideways'"),
        ({"seed": -1}, ValueError, "Invalid seed"),
    ],
)
def test_bad_options_are_named(options, error, message):
    with pytest.raises(error, match=message):
        ResidualQPSBGD([nn.Parameter(torch.ones(2))], **options)


def test_parameters_must_be_real_numbers():
    with pytest.raises(TypeError, match=r"params must hold real floating-point numbers.*complex64"):
        ResidualQPSBGD([torch.ones(2, dtype=torch.complex64)])


@pytest.mark.parametrize(
    ("outputs", "error", "message"),
    [
        (None, TypeError, "outputs must be a function of the parameters, but is NoneType"),
        (
            lambda x: 3.0,
            TypeError,
            "outputs must return a tensor of floating-point numbers, but returned float",
        ),
        (lambda x: x > 0, TypeError, r"but returned torch\.bool"),
        (lambda x: x[:0], ValueError, r"outputs returned a tensor of shape \(0,\)"),
        (lambda x: x / 0, ValueError, "an entry of the output of shape .* is not finite"),
        (lambda x: x.clamp(min=0).sqrt(), ValueError, "an entry of the Jacobian of shape .* is not finite"),
    ],
)
def test_bad_outputs_change_nothing(outputs, error, message):
    x = nn.Parameter(torch.tensor([1.0, 0.0]))
    optimizer = ResidualQPSBGD([x])
    with pytest.raises(error, match=message):
        optimizer.step(outputs)
    assert x.tolist() == [1.0, 0.0]
    assert optimizer.num_qubos == 0


def test_a_loss_that_is_not_finite_changes_nothing():
    x = nn.Parameter(torch.tensor([1.0, 0.0]))
    with pytest.raises(ValueError, match="the loss of the outputs is inf"):
        ResidualQPSBGD([x]).step(lambda x: x, lambda z: z.sum() * math.inf)
    assert x.tolist() == [1.0, 0.0]
