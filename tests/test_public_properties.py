"""Properties of public functions that no other file asks at random: streams, executors, layers, packed forms.

Each compares with plain numpy or torch. `solve_ising`, `solve_qubo`, `project` and `NativeSampler` are asked
in test_fuzz_api.py; least squares, residuals, measures, formats and statistics in files of these names.
"""

import itertools
import math
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from qpsbgd import solve_ising, solve_qubo, solve_stream
from qpsbgd.export import binary_weights, load_packed, save_packed, to_packed, to_plain
from qpsbgd.nn import BinaryActivation, BinaryConv2d, BinaryLinear, Scale, summary, to_binary
from qpsbgd.optim.packed import pack_step, replay_step, unpack_step
from qpsbgd.problem import ising_problem
from qpsbgd.solvers import NativeSolver, stream
from qpsbgd.step.weights import Move
from same import same

some = settings(max_examples=15, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)


# --- streams and executors


@some
@given(seeds, st.integers(0, 12), st.integers(1, 5), st.integers(1, 400), st.booleans(), st.integers(1, 3))
def test_answers_of_a_stream_do_not_depend_on_its_parts(seed, count, most, entries, pooled, num_reads):
    rng = np.random.default_rng(seed)
    problems = []
    for _ in range(count):
        n = int(rng.integers(1, 24))
        J = rng.integers(-3, 4, size=(n, n)).astype(float)
        if rng.random() < 0.3:
            J = scipy.sparse.csr_array(np.triu(J, 1) * (rng.random((n, n)) < 0.4))
        problems.append(ising_problem(rng.integers(-3, 4, size=n).astype(float), J))
    solver = NativeSolver(num_reads=num_reads, num_sweeps=3, num_threads=1)
    expected = list(solve_stream(problems, solver=solver, seed=5))
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as executor:
        patch.setattr(stream, "_MOST_PROBLEMS", most)
        patch.setattr(stream, "_MOST_ENTRIES", entries)
        found = list(solve_stream(problems, solver=solver, seed=5, executor=executor if pooled else None))
    assert len(found) == count
    for problem, one, other in zip(problems, found, expected, strict=True):
        assert same((one.samples, one.energies), (other.samples, other.energies))
        np.testing.assert_allclose(problem.energies(one.samples), one.energies)


@some
@given(seeds, st.integers(1, 9), st.integers(1, 5), st.booleans(), st.booleans())
def test_answers_of_a_batch_do_not_depend_on_the_executor(seed, count, workers, own, qubo):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 30))
    h, J = rng.normal(size=(count, n)), rng.normal(size=(count, n, n) if own else (n, n))
    call = (lambda **more: solve_qubo(J, h, **more)) if qubo else (lambda **more: solve_ising(h, J, **more))
    options = {"seed": 3, "num_sweeps": 3, "num_reads": 2, "presolve": False}
    with ThreadPoolExecutor(workers) as executor:
        found = call(executor=executor, **options)
    expected = call(num_threads=1, **options)
    assert same((found.samples, found.energies), (expected.samples, expected.energies))


# --- layers


def signs_of(weight):
    return torch.where(weight.detach() >= 0, 1.0, -1.0).double()


@some
@given(seeds, st.integers(1, 6), st.integers(1, 9), st.integers(1, 5), st.booleans())
def test_binary_linear_is_a_linear_layer_of_signs(seed, samples, inputs, outputs, bias):
    torch.manual_seed(seed)
    layer = BinaryLinear(inputs, outputs, bias=bias, dtype=torch.float64)
    x = torch.randn(samples, inputs, dtype=torch.float64, requires_grad=True)
    v = torch.randn(samples, outputs, dtype=torch.float64)
    z = layer(x)
    W, a = signs_of(layer.weight), inputs**-0.5
    expected = a * x.detach() @ W.T + (layer.bias.detach() if bias else 0.0)
    torch.testing.assert_close(z.detach(), expected)
    (z * v).sum().backward()
    torch.testing.assert_close(x.grad, a * v @ W)
    torch.testing.assert_close(layer.weight.grad, a * v.T @ x.detach(), check_stride=False)


@some
@given(
    seeds,
    st.integers(1, 2),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(0, 1),
    st.integers(1, 2),
)
def test_binary_convolution_is_a_convolution_of_signs(
    seed, groups, per_group, size, stride, padding, dilation
):
    torch.manual_seed(seed)
    channels = 2 * groups
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    layer = BinaryConv2d(channels, groups * per_group, size, dtype=torch.float64, **options)
    x = torch.randn(2, channels, 7, 6, dtype=torch.float64)
    a = (channels // groups * size * size) ** -0.5
    expected = a * functional.conv2d(x, signs_of(layer.weight), **options)
    bias = 0.0 if layer.bias is None else layer.bias.detach()[:, None, None]
    torch.testing.assert_close(layer(x).detach(), expected + bias)


@some
@given(seeds, st.integers(1, 30), st.floats(0.1, 3.0))
def test_activation_gives_signs_and_passes_gradients_within_its_window(seed, count, size):
    torch.manual_seed(seed)
    z = (size * torch.randn(count, dtype=torch.float64)).requires_grad_()
    v = torch.randn(count, dtype=torch.float64)
    y = BinaryActivation()(z)
    assert same(y.detach(), signs_of(z))
    (y * v).sum().backward()
    inside = z.detach().abs() < 1
    assert same(z.grad[inside], v[inside])
    assert not z.grad[z.detach().abs() > 1].any()
    torch.testing.assert_close(Scale(2.5).double()(z).detach(), 2.5 * z.detach())


# --- other forms of a network


def random_network(seed):
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    widths = rng.integers(1, 80, size=4).tolist()
    layers = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.Hardtanh()]
    return nn.Sequential(*layers), widths


@some
@given(seeds)
def test_forms_of_a_network_compute_the_same(seed):
    plain, widths = random_network(seed)
    weights = [layer.weight.detach().clone() for layer in plain if isinstance(layer, nn.Linear)]
    model = to_binary(plain).eval()
    assert same([layer.weight.detach().as_subclass(torch.Tensor) for layer in model[::3]], weights)
    binary = [math.prod(one.shape) for one in summary(model).weights if one.binary]
    assert sum(binary) == sum(map(math.prod, itertools.pairwise(widths)))
    x = torch.randn(3, widths[0])
    expected = model(x).detach()
    torch.testing.assert_close(to_plain(model)(x).detach(), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(to_packed(model)(x).detach(), expected, rtol=1e-4, atol=1e-5)
    other = to_binary(random_network(seed)[0]).eval()
    with tempfile.TemporaryDirectory() as folder:
        save_packed(model, Path(folder) / "network")
        load_packed(Path(folder) / "network", other)
    assert same(binary_weights(other), binary_weights(model))
    torch.testing.assert_close(other(x).detach(), expected, rtol=1e-6, atol=1e-6)


@some
@given(seeds, st.integers(1, 9), st.integers(1, 40), st.sampled_from(["none", "rows", "columns", "anywhere"]))
def test_packed_steps_come_back_and_move_weights_as_they_did(seed, rows, width, zeros):
    rng = np.random.default_rng(seed)
    G = rng.choice(np.array([-1, 1], dtype=np.int8), size=(rows, width))
    if zeros == "rows":
        G[rng.random(rows) < 0.3] = 0
    elif zeros == "columns":
        G[:, rng.random(width) < 0.3] = 0
    elif zeros == "anywhere":
        G[rng.random((rows, width)) < 0.3] = 0
    step, move = torch.from_numpy(G), Move(0.125, clip=1.0)
    packed = pack_step(0, (rows, width), step, move)
    assert same(unpack_step(packed), step)
    assert packed["signs"].numel() == -(-G.size // 8)
    weight = torch.from_numpy(rng.uniform(-1, 1, size=(rows, width)))
    moved = weight.clone()
    replay_step([moved], packed)
    assert same(moved, (weight - 0.125 * step.double()).clamp(-1, 1))
