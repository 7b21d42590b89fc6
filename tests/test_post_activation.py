"""Post-activation Jacobians: slopes of the activation in the capture, and a Gram matrix for every row."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import oracles
from qpsbgd import project
from qpsbgd.capture import attach
from qpsbgd.nn import Activated, BinaryActivation, BinaryConv2d, BinaryGCNConv, BinaryLinear, Scale
from qpsbgd.optim import QPSBGD
from qpsbgd.projection import row_problems
from qpsbgd.solvers import NativeSolver
from qpsbgd.step.gram import row_chunks, weighted_grams
from training import Spy

ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU, "hardtanh": nn.Hardtanh, "sign": BinaryActivation}


def gradient_and_weighted_grams(V, X, slopes):
    """g, and A_j = (a²/n) X' diag(slopes_j²) X of every row, in float64."""
    g, _ = oracles.gradient_and_gram(V, X)
    return g, np.stack([oracles.gradient_and_gram(V, X * slopes[:, [j]])[1] for j in range(V.shape[1])])


def random_layer(seed, n=7, m=3, d=5):
    rng = np.random.default_rng(seed)
    slopes = rng.uniform(0, 1, (n, m)) * (rng.random((n, m)) < 0.7)
    return slopes * rng.normal(size=(n, m)), rng.normal(size=(n, d)), slopes


# --- projection ---


@given(st.integers(0, 10**6))
def test_grams_are_those_of_the_weighted_inputs(seed):
    V, X, slopes = random_layer(seed)
    _, expected = gradient_and_weighted_grams(V, X, slopes)
    found = weighted_grams([(X[:3], slopes[:3]), (X[3:], slopes[3:])], len(X))
    np.testing.assert_allclose(found, expected, atol=1e-14)


@given(st.integers(0, 10**6), st.sampled_from(["spin", "mask"]))
def test_objective_is_the_distance_of_the_activations_change_to_its_gradient(seed, domain):
    V, X, slopes = random_layer(seed)
    g, grams = gradient_and_weighted_grams(V, X, slopes)
    scale = 0.7
    for j in range(3):
        # The gradient with respect to the activation is u with v = D u, and its Jacobian is a D X.
        u = np.divide(V[:, j], slopes[:, j], out=np.zeros(len(V)), where=slopes[:, j] > 0)
        steps = oracles.all_steps(oracles.signs(g[j]), domain)
        distance = [oracles.squared_distance(u, slopes[:, [j]] * X, step, scale) for step in steps]
        objective = [scale * oracles.row_objective(step, g[j], grams[j], scale) for step in steps]
        differences = np.subtract(distance, objective)
        np.testing.assert_allclose(differences, differences[0], atol=1e-12)


@pytest.mark.parametrize("domain", ["spin", "mask"])
@pytest.mark.parametrize("scale", ["relative", 0.4])
def test_exact_solver_finds_the_best_step_of_every_row(scale, domain):
    for seed in range(5):
        V, X, slopes = random_layer(seed)
        g, grams = gradient_and_weighted_grams(V, X, slopes)
        solver = NativeSolver(method="exact")
        G = project(V, X, slopes=slopes, scale=scale, domain=domain, solver=solver, seed=1)
        for j in range(3):
            s = oracles.relative_scale(g[j], grams[j]) if scale == "relative" else scale
            best = oracles.best_row_step(g[j], grams[j], s, domain)
            reached = oracles.row_objective(G[j], g[j], grams[j], s)
            assert reached == pytest.approx(oracles.row_objective(best, g[j], grams[j], s), abs=1e-12)


@pytest.mark.parametrize("solver", ["native", NativeSolver(method="tabu", num_sweeps=1)])
@pytest.mark.parametrize("scale", ["relative", "auto", "raw"])
def test_result_is_never_above_sign_of_gradient(scale, solver):
    for seed in range(10):
        V, X, slopes = random_layer(seed, n=12, m=4, d=9)
        g, grams = gradient_and_weighted_grams(V, X, slopes)
        G = project(V, X, slopes=slopes, scale=scale, solver=solver, seed=0)
        for j in range(4):
            p, A, s = g[j], grams[j], 1.0
            if scale == "raw":
                inverse = 1 / (len(X) * 9 * np.diagonal(A))
                p, A = p * inverse * 3, A * np.outer(inverse, inverse) * 9
            elif scale == "relative":
                s = oracles.relative_scale(p, A)
            else:  # the best scale of either step: its squared cosine with the gradient
                cosines = [(p @ step) ** 2 / (step @ A @ step) for step in (G[j], oracles.signs(p))]
                assert cosines[0] >= cosines[1] - 1e-12
                continue
            start = oracles.row_objective(oracles.signs(p), p, A, s)
            assert oracles.row_objective(G[j], p, A, s) <= start + 1e-12


def test_slopes_of_one_give_the_shared_gram_matrix():
    V, X, _ = random_layer(0, n=20, m=4, d=9)
    for solver in ("native", NativeSolver(method="exact")):
        shared = project(V, X, solver=solver, seed=0)
        np.testing.assert_array_equal(project(V, X, slopes=np.ones_like(V), solver=solver, seed=0), shared)


def test_rows_in_chunks_are_the_rows_at_once(monkeypatch):
    V, X, slopes = random_layer(0, n=20, m=7, d=9)
    whole = project(V, X, slopes=slopes)
    monkeypatch.setitem(row_chunks.__globals__, "_CHUNK_ELEMENTS", 2 * 81)
    assert [(rows.start, rows.stop) for rows in row_chunks(7, 9)] == [(0, 2), (2, 4), (4, 6), (6, 7)]
    np.testing.assert_array_equal(project(V, X, slopes=slopes), whole)


def test_solver_gets_one_matrix_a_row():
    V, X, slopes = random_layer(0)
    g, grams = gradient_and_weighted_grams(V, X, slopes)
    spy = Spy()
    project(V, X, slopes=slopes, solver=spy)
    (problem,) = spy.problems
    np.testing.assert_allclose(problem.J, grams)
    mask = row_problems(g, grams, np.ones(3), domain="mask")
    for j in range(3):
        steps = oracles.all_steps(oracles.signs(g[j]), "mask")
        spins = 2 * steps * oracles.signs(g[j]) - 1  # G = (σ + G') / 2, so G' = σ (2 |G| - 1)
        energies = mask.energies(np.repeat((spins * oracles.signs(g[j]))[None], 3, axis=0))[j]
        expected = [oracles.row_objective(step, g[j], grams[j], 1.0) for step in steps]
        np.testing.assert_allclose(energies, expected, atol=1e-12)


def test_tensors_are_projected_too():
    V, X, slopes = (torch.from_numpy(array).float() for array in random_layer(0))
    G = project(V, X, slopes=slopes)
    assert G.dtype == torch.float32
    np.testing.assert_array_equal(G, project(V.numpy(), X.numpy(), slopes=slopes.numpy()))


@pytest.mark.parametrize(
    ("slopes", "message"),
    [
        (np.ones((7, 2)), r"slopes has shape \(7, 2\), expected \(7, 3\)"),
        (np.full((7, 3), np.nan), "slopes"),
    ],
)
def test_bad_slopes_are_refused(slopes, message):
    V, X, _ = random_layer(0)
    with pytest.raises(ValueError, match=message):
        project(V, X, slopes=slopes)


# --- capture ---


def records(module, layer, *inputs):
    capture = attach(layer.weight, keep_output_gradients=True, keep_slopes=True)
    module(*inputs).square().sum().backward()
    return capture.records


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slopes_are_the_derivative_of_the_activation(name):
    block = Activated(BinaryLinear(4, 3), ACTIVATIONS[name]()).double()
    x = torch.randn(6, 4, dtype=torch.float64)
    (record,) = records(block, block[0], x)
    z = block[0](x).detach()
    expected = {
        "tanh": 1 - torch.tanh(z) ** 2,
        "relu": (z > 0).double(),
        "hardtanh": (z.abs() < 1).double(),
        "sign": (z.abs() <= 1).double(),
    }[name]
    torch.testing.assert_close(record.slopes, expected)


def test_slopes_times_inputs_are_the_jacobian_of_the_activation():
    block = Activated(BinaryLinear(4, 3), nn.Tanh()).double()
    x = torch.randn(6, 4, dtype=torch.float64)
    (record,) = records(block, block[0], x)

    def activations(weight):
        return torch.func.functional_call(block, {"0.weight": weight}, (x,))

    jacobian = torch.autograd.functional.jacobian(activations, block[0].weight.detach())
    factors = torch.einsum("nj,nd->njd", record.slopes, x) / 2
    for j in range(3):
        torch.testing.assert_close(jacobian[:, j, j], factors[:, j])


@pytest.mark.parametrize("groups", [1, 2])
def test_slopes_of_a_convolution_come_in_the_order_of_its_rows(groups, monkeypatch):
    block = Activated(BinaryConv2d(4, 6, 2, groups=groups), nn.Tanh()).double()
    x = torch.randn(5, 4, 3, 3, dtype=torch.float64)
    (record,) = records(block, block[0], x)
    d = block[0].weight[0].numel()
    monkeypatch.setitem(attach.__globals__, "_BLOCK_ELEMENTS", 2 * groups * 4 * d)
    B = torch.where(block[0].weight >= 0, 1.0, -1.0).double().reshape(groups, -1, d)
    sizes = []
    for X, slopes in record.blocks():
        z = X @ B.transpose(1, 2) / d**0.5
        torch.testing.assert_close(slopes, 1 - torch.tanh(z) ** 2)
        sizes.append(X.shape[1])
    assert sizes == [8, 8, 4]


def test_graph_convolutions_have_slopes_too():
    block = Activated(BinaryGCNConv(4, 3), nn.Hardtanh())
    (record,) = records(block, block[0], torch.randn(3, 4), torch.tensor([[0, 1], [1, 2]]))
    assert record.slopes.shape == (3, 3)


def test_batch_norm_between_is_a_constant_rescaling():
    block = Activated(BinaryLinear(4, 3), nn.BatchNorm1d(3), nn.Tanh()).double()
    x = torch.randn(6, 4, dtype=torch.float64)
    (record,) = records(block, block[0], x)
    normed = block[1](block[0](x)).detach()
    torch.testing.assert_close(record.slopes, 1 - torch.tanh(normed) ** 2)


def test_in_place_activation_works():
    block = Activated(BinaryLinear(4, 3), nn.BatchNorm1d(3), nn.ReLU(inplace=True))
    plain = nn.Sequential(*copy.deepcopy(list(block)))
    plain[2] = nn.ReLU()
    x = torch.randn(6, 4)
    (record,) = records(block, block[0], x)
    torch.testing.assert_close(block(x), plain(x))
    torch.testing.assert_close(record.slopes, (plain(x) > 0).float())


def test_activated_is_a_sequence_of_its_modules():
    modules = [BinaryLinear(4, 3), nn.BatchNorm1d(3), nn.Tanh()]
    block, plain = Activated(*modules), nn.Sequential(*modules)
    x = torch.randn(6, 4)
    torch.testing.assert_close(block(x), plain(x))
    assert block.state_dict().keys() == plain.state_dict().keys()
    plain.load_state_dict(block.state_dict())


@pytest.mark.parametrize("mode", ["eval", "no_grad", "other_capture", "functorch"])
def test_no_slopes_are_taken_in(mode):
    class Counting(nn.Module):
        calls = 0

        def forward(self, z):
            self.calls += 1
            return torch.tanh(z)

    block = Activated(BinaryLinear(4, 3), Counting())
    capture = attach(block[0].weight, keep_slopes=mode != "other_capture")
    x = torch.randn(6, 4)
    if mode == "no_grad":
        with torch.no_grad():
            block(x)
    elif mode == "functorch":
        torch.func.grad(lambda v: block(v).sum())(x)
    else:
        block.train(mode != "eval")(x).sum().backward()
    assert block[1].calls == 1
    assert all(record.slopes is None for record in capture.records)


def test_activation_that_mixes_neurons_is_refused():
    block = Activated(BinaryLinear(4, 3), nn.Flatten(0))
    attach_here = attach(block[0].weight, keep_slopes=True)
    with pytest.raises(ValueError, match=r"Flatten makes shape \(18,\) of \(6, 3\)"):
        block(torch.randn(6, 4))
    assert attach_here.attached


def test_activated_refuses_what_is_no_block():
    with pytest.raises(TypeError, match="must start with a binary layer, not with Linear"):
        Activated(nn.Linear(4, 3), nn.Tanh())
    with pytest.raises(ValueError, match="must be a binary layer and an activation, but there are 1"):
        Activated(BinaryLinear(4, 3))


# --- optimizer ---


def net(seed=1):
    torch.manual_seed(seed)
    return nn.Sequential(Activated(BinaryLinear(6, 8), nn.Tanh()), BinaryLinear(8, 3), Scale(2.0)).double()


def backward(model, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(16, 6, generator=generator).double()
    nn.functional.cross_entropy(model(x), x[:, :3].argmax(dim=1)).backward()
    return x


@pytest.mark.parametrize("scale", ["relative", "raw"])
def test_step_is_the_projection_with_slopes(scale):
    model = net()
    capture = attach(model[0][0].weight, keep_output_gradients=True, keep_slopes=True)
    backward(model, 0)
    V, X = capture.jacobian_factors()
    slopes = capture.records[0].slopes
    expected = project(V, X, slopes=slopes, scale=scale)
    shared = project(V, X, scale=scale)

    model = net()
    optimizer = QPSBGD(
        model.parameters(), lr=0.25, clip=1e9, memory=None, scale=scale, jacobian="post-activation"
    )
    before = model[0][0].weight.detach().clone()
    backward(model, 0)
    optimizer.step()
    step = (before - model[0][0].weight.detach()) * 4
    torch.testing.assert_close(step, expected)
    assert not torch.equal(expected, shared)
    assert optimizer.num_qubos == 11


def test_a_loaded_state_may_change_the_jacobian():
    asked = net()
    expected = QPSBGD(asked.parameters(), jacobian="post-activation")
    state = expected.state_dict()
    model = net()
    optimizer = QPSBGD(model.parameters())
    optimizer.load_state_dict(state)
    for trained, own in ((asked, expected), (model, optimizer)):
        backward(trained, 0)
        own.step()
    torch.testing.assert_close(model[0][0].weight, asked[0][0].weight, rtol=0, atol=0)


def test_error_feedback_keeps_what_the_step_left_behind(monkeypatch):
    monkeypatch.setitem(row_chunks.__globals__, "_CHUNK_ELEMENTS", 3 * 36)  # 8 rows in three chunks
    model = net()
    optimizer = QPSBGD(model.parameters(), lr=0.25, clip=1e9, jacobian="post-activation")
    weight = model[0][0].weight
    residual = torch.zeros_like(weight)
    for seed in range(3):
        optimizer.zero_grad()
        backward(model, seed)
        p = weight.grad + residual
        before = weight.detach().clone()
        optimizer.step()
        G = (before - weight.detach()) * 4
        residual = p - (p * G).mean(dim=1, keepdim=True).clamp(min=0) * G
        torch.testing.assert_close(optimizer.state[weight]["residual"], residual)


@pytest.mark.parametrize("solver", ["native", NativeSolver(method="anneal", num_sweeps=5)])
def test_state_dict_resumes_exactly(solver):
    def train(model, optimizer, start, stop):
        for seed in range(start, stop):
            optimizer.zero_grad()
            backward(model, seed)
            optimizer.step()

    model = net()
    optimizer = QPSBGD(model.parameters(), solver=solver, jacobian="post-activation")
    train(model, optimizer, 0, 3)
    twin = copy.deepcopy(model)
    resumed = QPSBGD(twin.parameters(), solver=solver, jacobian="post-activation")
    resumed.load_state_dict(optimizer.state_dict())
    train(model, optimizer, 3, 6)
    train(twin, resumed, 3, 6)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


def test_grouped_convolution_trains_and_descends():
    torch.manual_seed(0)
    x = torch.randn(32, 4, 5, 5)
    y = (x[:, 0].mean(dim=(1, 2)) > 0).long()
    model = nn.Sequential(
        Activated(BinaryConv2d(4, 8, 3, groups=2), nn.BatchNorm2d(8), nn.Hardtanh()),
        nn.Flatten(),
        BinaryLinear(72, 2),
        Scale(),
    )
    optimizer = QPSBGD(model.parameters(), lr=0.02, jacobian="post-activation")
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.3 * losses[0]


def test_unknown_jacobian_is_refused():
    with pytest.raises(ValueError, match="Invalid jacobian: 'both'"):
        QPSBGD(net().parameters(), jacobian="both")


def test_projected_variant_is_refused():
    with pytest.raises(
        ValueError, match="jacobian 'post-activation' has no meaning with variant 'projected'"
    ):
        QPSBGD(net().parameters(), jacobian="post-activation", variant="projected", memory=None)


def test_published_objective_is_refused():
    V, X, slopes = random_layer(0)
    with pytest.raises(ValueError, match="slopes has no meaning with objective 'published'"):
        project(V, X, slopes=slopes, objective="published")


def test_momentum_is_refused():
    with pytest.raises(ValueError, match="'post-activation' does not go with memory 'momentum'"):
        QPSBGD(net().parameters(), jacobian="post-activation", memory="momentum")


def test_net_without_activated_layers_is_refused():
    model = nn.Sequential(BinaryLinear(6, 8), nn.Tanh(), BinaryLinear(8, 3))
    optimizer = QPSBGD(model.parameters(), jacobian="post-activation")
    model(torch.randn(4, 6)).square().mean().backward()
    before = model[0].weight.detach().clone()
    with pytest.raises(RuntimeError, match=r"no layer .* qpsbgd\.nn\.Activated"):
        optimizer.step()
    assert torch.equal(model[0].weight, before)


def test_weight_used_inside_and_outside_of_a_block_is_refused():
    block, layer = Activated(BinaryLinear(6, 8), nn.Tanh()), BinaryLinear(6, 8)
    layer.weight = block[0].weight
    optimizer = QPSBGD(block.parameters(), jacobian="post-activation")
    x = torch.randn(4, 6)
    (block(x).sum() + layer(x).sum()).backward()
    with pytest.raises(RuntimeError, match=r"both inside and outside of qpsbgd\.nn\.Activated"):
        optimizer.step()
