"""The projected variant: proximal Newton steps on the binary set."""

import copy
import io
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.autograd.functional import hessian

from oracles import all_spins
from qpsbgd.nn import BinaryConv2d, BinaryLinear
from qpsbgd.optim import QPSBGD
from qpsbgd.solvers.native import NativeSolver
from qpsbgd.step.projected import proximal_model, proximal_step, row_curvatures
from training import Shuffler, Spy, batches, small_net, states_equal, train


def logistic_loss(z, y):
    """Mean of log(1 + exp(-y z)) over samples, y in {-1, +1}."""
    return nn.functional.softplus(-y * z[:, 0]).mean()


def regression(kind, dim=9, samples=40):
    """Layer, inputs and full-batch loss of logistic or softmax regression on a teacher's noisy labels."""
    x = torch.randn(samples, dim, dtype=torch.float64)
    x = x + 0.5 * torch.randn(samples, 1)  # correlated features, so that H is far from diagonal
    rows = 1 if kind == "logistic" else 4
    layer = BinaryLinear(dim, rows).double()
    z = x @ torch.randn(rows, dim, dtype=torch.float64).sign().T + torch.randn(samples, rows)
    if kind == "logistic":
        y = z[:, 0].sign()
        return layer, x, lambda z: logistic_loss(z, y)
    labels = z.argmax(dim=1)
    return layer, x, lambda z: nn.functional.cross_entropy(z, labels)


def random_rows(seed, m=3, d=6):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(8, d)) + rng.normal(size=(8, 1))
    W = rng.choice(np.array([-1, 1], dtype=np.int8), size=(m, d))
    return W, rng.normal(size=(m, d)), X.T @ X / (8 * d), rng.uniform(0.1, 2.0, size=m)


def written_out(w, W, m, A, c, damping):
    """m'(w - W) + ½ (w - W)'H(w - W) of one row, H = c (A + damping mean(diag A) I)."""
    change = w.astype(float) - W
    H = c * (A + damping * np.trace(A) / len(A) * np.eye(len(A)))
    return m @ change + 0.5 * change @ H @ change


# The step


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.7]))
def test_model_is_the_quadratic_written_out(seed, damping):
    W, m, A, c = random_rows(seed)
    w = -W
    expected = [written_out(w[j], W[j], m[j], A, c[j], damping) for j in range(len(W))]
    np.testing.assert_allclose(proximal_model(w, W, m, A, c, damping), expected)


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.7]), st.sampled_from([np.float32, np.float64]))
def test_step_never_raises_the_model_and_no_flip_lowers_it_further(seed, damping, dtype):
    W, m, A, c = random_rows(seed)
    m, A = m.astype(dtype), A.astype(dtype)
    w = proximal_step(W, m, A, curvatures=c, damping=damping)
    reached = proximal_model(w, W, m, A, c, damping)
    assert np.all(reached <= 0)
    for k in range(w.shape[1]):
        flipped = w.copy()
        flipped[:, k] *= -1
        assert np.all(proximal_model(flipped, W, m, A, c, damping) >= reached - 1e-5)


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.7]))
def test_step_with_an_exact_solver_is_the_minimum_over_all_states(seed, damping):
    W, m, A, c = random_rows(seed)
    w = proximal_step(W, m, A, curvatures=c, damping=damping, solver=NativeSolver(method="exact"))
    for j, row in enumerate(W):
        best = min(written_out(state, row, m[j], A, c[j], damping) for state in all_spins(W.shape[1]))
        assert written_out(w[j], row, m[j], A, c[j], damping) == pytest.approx(best, abs=1e-9)


@given(st.integers(0, 10_000))
def test_a_bad_solver_never_raises_the_model(seed):
    W, m, A, c = random_rows(seed)
    w = proximal_step(W, m, A, curvatures=c, solver=Shuffler(), seed=seed)
    assert np.all(proximal_model(w, W, m, A, c, 0.0) <= 0)


def test_weights_that_nothing_is_known_of_stay():
    W, m, A, c = random_rows(0)
    m[1] = 0
    c[2] = 0
    A[:, 3] = A[3, :] = m[:, 3] = 0
    w = proximal_step(W, m, A, curvatures=c, solver=Shuffler())
    assert np.array_equal(w[1:], W[1:])
    assert np.array_equal(w[:, 3], W[:, 3])


# The majorizers


@pytest.mark.parametrize(("kind", "factor"), [("logistic", 0.25), ("softmax", 0.5)])
def test_majorizer_bounds_the_hessian_of_the_loss(kind, factor):
    layer, x, loss = regression(kind, dim=4)
    rows, d = layer.weight.shape
    A = x.T @ x / (len(x) * d)
    bound = torch.block_diag(*[factor * A] * rows)
    for size in (0.0, 0.3, 3.0):
        B = size * torch.randn(rows * d, dtype=torch.float64)
        H = hessian(lambda b: loss(x @ b.view(rows, d).T / d**0.5), B)
        assert torch.linalg.eigvalsh(bound - H).min() > -1e-12


def test_gauss_newton_factor_is_the_mean_square_of_per_sample_gradients():
    torch.manual_seed(3)
    layer, x, loss = regression("softmax")
    z = layer(x).detach().requires_grad_()
    (per_sample,) = torch.autograd.grad(loss(z) * len(x), z)
    loss(layer(x)).backward()
    expected = per_sample.square().mean(dim=0)
    torch.testing.assert_close(row_curvatures(per_sample, x, layer.weight.grad), expected)
    # Scaled losses of mixed precision are taken back to the size of the gradient.
    torch.testing.assert_close(row_curvatures(2**16 * per_sample, x, layer.weight.grad), expected)
    assert torch.equal(row_curvatures(per_sample, torch.zeros_like(x), 0 * layer.weight.grad), expected)


def test_factors_are_bias_corrected_running_means():
    torch.manual_seed(3)
    layer = BinaryLinear(5, 2).double()
    optimizer = QPSBGD(layer.parameters(), variant="projected", memory=None, solver=(spy := Spy()))
    A_mean, c_mean = np.zeros((5, 5)), np.zeros(2)
    for step in range(1, 4):
        x = torch.randn(8, 5).double()
        optimizer.zero_grad()
        (0.5 * layer(x).square().sum(dim=1).mean()).backward()
        z = layer(x).detach()
        optimizer.step()
        A_mean = 0.99 * A_mean + 0.01 * (x.T @ x / 40).numpy()
        c_mean = 0.99 * c_mean + 0.01 * z.square().mean(dim=0).numpy()
        correction = 1 - 0.99**step
        W = layer.weight.detach().numpy()
        A, c = A_mean / correction, c_mean / correction
        np.testing.assert_allclose(spy.problems[-1].J, A)
        expected = layer.weight.grad.numpy() / c[:, None] - W @ A - np.trace(A) / 5 * W
        np.testing.assert_allclose(spy.problems[-1].h, expected)


# Training


@pytest.mark.parametrize("kind", ["logistic", "softmax"])
@pytest.mark.parametrize("solver", ["native", NativeSolver(method="tabu", num_sweeps=20)])
def test_full_batches_descend_monotonically_to_a_fixed_point(kind, solver):
    torch.manual_seed(1)
    layer, x, loss = regression(kind, dim=30, samples=200)
    layer.weight.data.sign_()
    optimizer = QPSBGD(layer.parameters(), variant="projected", majorizer=kind, solver=solver)
    values, states = [], []
    for _ in range(60):
        optimizer.zero_grad()
        value = loss(layer(x))
        value.backward()
        before = layer.weight.detach().clone()
        optimizer.step()
        values.append(value.item())
        states.append(layer.weight.detach().clone())
        # The majorizer lies above the loss and touches it at the weights of before.
        A = x.T @ x / (len(x) * 30)
        c = np.full(len(before), {"logistic": 0.25, "softmax": 0.5}[kind])
        w, W = (t.numpy().astype(np.int8) for t in (layer.weight.detach(), before))
        model = proximal_model(w, W, layer.weight.grad.numpy(), A.numpy(), c, 0.0).sum()
        assert model <= 0
        assert loss(layer(x)).item() <= values[-1] + model + 1e-12
    assert values[-1] < 0.9 * values[0]
    assert all(after <= before for before, after in itertools.pairwise(values))
    fixed = next(i for i in range(len(states) - 1) if torch.equal(states[i], states[i + 1]))
    assert all(torch.equal(state, states[fixed]) for state in states[fixed:])


def test_majorizer_of_a_scaled_layer_is_a_number():
    torch.manual_seed(1)
    layer, x, loss = regression("softmax", dim=30, samples=200)
    optimizer = QPSBGD(layer.parameters(), variant="projected", majorizer=0.5 * 0.3**2)
    values = []
    for _ in range(30):
        optimizer.zero_grad()
        value = loss(0.3 * layer(x))
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < values[0]
    assert all(after <= before for before, after in itertools.pairwise(values))


def test_latent_weights_are_plus_and_minus_one():
    model = small_net()
    train(model, QPSBGD(model.parameters(), variant="projected"), batches(3))
    for layer in model:
        if isinstance(layer, BinaryLinear):
            assert set(layer.weight.detach().unique().tolist()) == {-1.0, 1.0}


def test_nets_learn_with_gauss_newton_factors():
    torch.manual_seed(0)
    model = small_net()
    optimizer = QPSBGD(model.parameters(), variant="projected")
    data = list(batches(201, size=64))
    x, y = data.pop()
    before = nn.functional.cross_entropy(model(x), y).item()
    train(model, optimizer, data)
    assert nn.functional.cross_entropy(model(x), y).item() < 0.8 * before


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"memory": None},
        {"majorizer": "softmax"},
        {"majorizer": 0.3, "memory": "momentum", "damping": 2.0},
    ],
)
def test_training_resumes_bit_exactly(options):
    data = list(batches(6))
    model = small_net()
    optimizer = QPSBGD(model.parameters(), variant="projected", **options)
    train(model, optimizer, data[:3])
    file = io.BytesIO()
    torch.save([model.state_dict(), optimizer.state_dict()], file)
    train(model, optimizer, data[3:])
    file.seek(0)
    weights, state = torch.load(file, weights_only=True)
    other = small_net()
    other.load_state_dict(weights)
    resumed = QPSBGD(other.parameters(), variant="projected", **options)
    resumed.load_state_dict(state)
    train(other, resumed, data[3:])
    assert states_equal(model, other)


def test_a_state_may_change_the_variant_and_older_states_have_one():
    model = small_net()
    optimizer = QPSBGD(model.parameters())
    older = optimizer.state_dict()
    optimizer.load_state_dict(QPSBGD(small_net().parameters(), variant="projected").state_dict())
    train(model, optimizer, batches(1))
    assert set(model[0].weight.detach().unique().tolist()) == {-1.0, 1.0}
    for name in ("variant", "majorizer", "damping", "jacobian"):
        del older["param_groups"][0][name]
    optimizer.load_state_dict(older)
    train(model, optimizer, batches(1))
    assert (model[0].weight.detach().abs() < 1).any()


@pytest.mark.parametrize("options", [{}, {"majorizer": "softmax"}])
def test_groups_of_a_convolution_step_like_layers_of_their_own(options):
    whole = BinaryConv2d(4, 6, 3, groups=2).double()
    halves = [BinaryConv2d(2, 3, 3).double() for _ in range(2)]
    for half, rows in zip(halves, whole.weight.data.split(3), strict=True):
        half.weight.data.copy_(rows)
    optimizers = [QPSBGD(layer.parameters(), variant="projected", **options) for layer in (whole, *halves)]
    for _ in range(4):
        x = torch.randn(3, 4, 6, 6).double()
        outputs = (
            whole(x),
            torch.cat([half(part) for half, part in zip(halves, x.split(2, 1), strict=True)], 1),
        )
        for z in outputs:
            (z - 1).square().mean().backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        assert torch.equal(whole.weight, torch.cat([half.weight for half in halves]))


def test_copies_and_their_originals_train_alike():
    model = small_net()
    optimizer = QPSBGD(model.parameters(), variant="projected")
    train(model, optimizer, batches(2))
    other, copied = copy.deepcopy((model, optimizer))
    train(model, optimizer, batches(3))
    train(other, copied, batches(3))
    assert states_equal(model, other)


def test_variants_may_differ_between_groups():
    first, second = BinaryLinear(4, 3), BinaryLinear(3, 2)
    model = nn.Sequential(first, second)
    optimizer = QPSBGD(
        [{"params": first.parameters(), "variant": "projected"}, {"params": second.parameters()}], lr=0.01
    )
    assert [group["memory"] for group in optimizer.param_groups] == ["momentum", "error-feedback"]
    before = second.weight.detach().clone()
    model(torch.randn(8, 4)).square().mean().backward()
    optimizer.step()
    assert torch.equal(first.weight.abs(), torch.ones(3, 4))
    torch.testing.assert_close((second.weight - before).abs(), torch.full((2, 3), 0.01))


def test_maximize_climbs():
    torch.manual_seed(1)
    layer, x, loss = regression("logistic", dim=30, samples=200)
    # A concave objective: the majorizer of its negative is that of the loss.
    optimizer = QPSBGD(layer.parameters(), variant="projected", majorizer="logistic", maximize=True)
    values = []
    for _ in range(20):
        optimizer.zero_grad()
        value = -loss(layer(x))
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert all(after >= before for before, after in itertools.pairwise(values))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"majorizer": "hessian"}, ValueError, "Invalid majorizer: 'hessian'"),
        ({"majorizer": 0}, ValueError, "majorizer must be a positive number"),
        ({"majorizer": [1]}, TypeError, "majorizer must be a number"),
        ({"damping": -1.0}, ValueError, "Invalid damping: -1.0"),
        ({"damping": "much"}, TypeError, "damping must be a number"),
        ({"memory": "error-feedback"}, ValueError, "memory 'error-feedback' has no meaning"),
        ({"domain": "mask"}, ValueError, "domain 'mask' has no meaning"),
        ({"scale": "auto"}, ValueError, "scale 'auto' has no meaning"),
        ({"kappa": 0.5}, ValueError, "kappa 0.5 has no meaning"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        QPSBGD(BinaryLinear(4, 2).parameters(), variant="projected", **options)


def test_a_gradient_that_is_not_finite_changes_nothing():
    layer = BinaryLinear(4, 2)
    optimizer = QPSBGD(layer.parameters(), variant="projected")
    layer(torch.randn(3, 4)).sum().backward()
    layer.weight.grad[0, 0] = float("nan")
    before = layer.weight.detach().clone()
    with pytest.raises(ValueError, match="not finite"):
        optimizer.step()
    assert torch.equal(layer.weight, before)
