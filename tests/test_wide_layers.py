"""Layers much wider than they have samples: projected by X itself, without the matrix A."""

import resource
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from qpsbgd import QPSBGD, _core, project
from qpsbgd.nn import BinaryLinear
from qpsbgd.step import gram as gram_module
from qpsbgd.step import inputs as inputs_module
from qpsbgd.step.memory import error_feedback
from qpsbgd.step.wide import by_inputs, native_step_by_inputs

KINDS = ("normal", "relu", "signs", "sparse")


def inputs(random, kind, n, d, dtype=np.float32):
    X = random.normal(size=(n, d))
    if kind == "relu":
        X = np.maximum(X, 0)
    elif kind == "signs":
        X = np.where(X < 0, -1.0, 1.0)
    elif kind == "sparse":
        X[:, random.random(d) < 0.5] = 0.0
    return X.astype(dtype)


def layer(seed, kind, n, d, m, dtype=np.float32):
    random = np.random.default_rng(seed)
    X = inputs(random, kind, n, d, dtype)
    V = random.normal(size=(n, m)).astype(dtype)
    return X, (V.T @ X / (n * d**0.5)).astype(dtype)


def scales_of(X, P, scale, kappa):
    """s_j in float64, or 0 where the sign is the answer."""
    if not isinstance(scale, str):
        return np.full(len(P), float(scale))
    signs = np.where(P < 0, -1.0, 1.0)
    curvature = np.square(signs @ X.T.astype(np.float64)).sum(axis=1) / X.size
    size = np.abs(P.astype(np.float64)).sum(axis=1)
    return np.divide(kappa * size, curvature, out=np.zeros(len(P)), where=curvature > 0)


def change(X, P, before, after, scales):
    """F(after) - F(before) of every row, in float64."""
    D, S = (after - before).astype(np.float64), (after + before).astype(np.float64)
    x, p = X.T.astype(np.float64), P.astype(np.float64)
    return scales * ((D @ x) * (S @ x)).sum(axis=1) / X.size - 2 * (p * D).sum(axis=1)


def check_minimum(X, P, G, scales, domain):
    """No single flip of a spin lowers any row's objective by more than rounding."""
    signs = np.where(P < 0, -1.0, 1.0)
    G = G.astype(np.float64)
    other = -G if domain == "spin" else np.where(G == 0, signs, 0.0)
    D = other - G
    x = X.astype(np.float64)
    fields = (G @ x.T) @ x / X.size
    squares = np.square(x).sum(axis=0) / X.size
    p = P.astype(np.float64)
    changes = scales[:, None] * (2 * D * fields + D**2 * squares) - 2 * p * D
    norms = np.sqrt(squares) * np.linalg.norm(G @ x.T, axis=1)[:, None] / X.size**0.5
    rounding = 50 * np.finfo(X.dtype).eps * (scales[:, None] * norms + np.abs(p))
    free = (scales > 0) & np.any(P != 0, axis=1)
    assert np.all((changes >= -rounding)[free])


@settings(deadline=None, max_examples=150)
@given(
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(KINDS),
    n=st.integers(1, 70),
    d=st.integers(1, 200),
    m=st.integers(1, 60),
    scale=st.sampled_from(["relative", "auto", 0.3, 1e-3]),
    kappa=st.sampled_from([0.0, 0.5, 1.0, 8.0]),
    domain=st.sampled_from(["spin", "mask"]),
    dtype=st.sampled_from([np.float32, np.float64]),
    with_matrix=st.booleans(),
)
def test_steps_obey_the_rules_of_the_projection(
    seed, kind, n, d, m, scale, kappa, domain, dtype, with_matrix
):
    X, P = layer(seed, kind, n, d, m, dtype)
    P[0] = 0.0
    gram = _core.gram(X, 1.0 / X.size, 1) if with_matrix else None
    G, left = native_step_by_inputs(
        P, X, gram=gram, keep_residual=True, scale=scale, kappa=kappa, domain=domain
    )
    signs = np.where(P < 0, -1, 1).astype(np.int8)
    unknown = (P == 0) & ((X == 0).all(axis=0) | ~P.any(axis=1, keepdims=True))
    assert np.all(G[unknown] == 0)
    known = np.where(unknown, 0, signs).astype(np.int8)
    if domain == "spin":
        assert np.all((G == 0) == unknown)
    else:
        assert np.all((G == 0) | (known == G))
    if scale == "relative" and kappa == 0.0:
        assert np.array_equal(G, known)
    if scale != "auto":
        s = scales_of(X, P, scale, kappa)
        rounding = 1e-12 * (s + np.abs(P).sum(axis=1))
        assert np.all(change(X, P, known, G, s) <= rounding)
        check_minimum(X, P, G, s, domain)
    else:
        # It maximises the cosine of p and A G: s fits each row's own G.
        g, p = G.astype(np.float64), P.astype(np.float64)
        fit = [
            np.square((p * step).sum(axis=1))
            / np.maximum(np.square(step @ X.T.astype(float)).sum(axis=1), 1e-30)
            for step in (g, known.astype(np.float64))
        ]
        assert np.all(fit[0] >= fit[1] * (1 - 1e-6) - 1e-20)
    expected = error_feedback(torch.from_numpy(P), torch.from_numpy(G.astype(dtype)))
    np.testing.assert_allclose(left, expected.numpy(), rtol=1e-4, atol=1e-6 * float(np.abs(P).max()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "d"), [(4, 300), (16, 512), (32, 1024)])
def test_minima_are_as_good_as_those_of_the_matrix(kind, n, d):
    X, P = layer(1, kind, n, d, 300)
    s = scales_of(X, P, "relative", 1.0)
    A = _core.gram(X, 1.0 / X.size, 1)
    options = {"scale": "relative", "kappa": 1.0, "domain": "spin", "num_threads": 1}
    by_matrix = _core.project_rows(A, P, **options)[0]
    for ours in (native_step_by_inputs(P, X)[0], native_step_by_inputs(P, X, gram=A)[0]):
        check_as_good(X, P, by_matrix, ours, s)


def check_as_good(X, P, by_matrix, ours, s):
    # Of every row's |p|: the objective of sign(p) is -1, the minima are lower by a fraction of it.
    sizes = np.abs(P).sum(axis=1)
    gap = (change(X, P, by_matrix, ours, s) / sizes).mean()
    assert abs(gap) < 1e-3 * (1 - (change(X, P, np.sign(P), by_matrix, s) / sizes).mean())


def test_threads_and_groups_of_rows_do_not_change_a_bit():
    X, P = layer(2, "relu", 32, 3000, 100)
    options = {"gram_scale": 1 / X.size, "scale": "relative", "kappa": 1.0, "domain": "spin"}
    for A in (None, _core.gram(X, 1 / X.size, 1)):
        options["A"] = A
        check_threads_and_groups(X, P, options)


def check_threads_and_groups(X, P, options):
    one = _core.project_rows_by_inputs(X, P, num_threads=1, **options)[0]
    assert np.array_equal(one, _core.project_rows_by_inputs(X, P, num_threads=3, **options)[0])
    some = _core.project_rows_by_inputs(X, np.ascontiguousarray(P[37:60]), num_threads=1, **options)[0]
    assert np.array_equal(one[37:60], some)


@pytest.mark.parametrize("unit", [1e-22, 1e-12, 1e12, 1e17])
def test_units_of_inputs_and_gradients_do_not_matter(unit):
    X, P = layer(3, "normal", 8, 200, 20)
    plain = native_step_by_inputs(P, X)[0]
    assert np.array_equal(native_step_by_inputs(P * np.float32(unit), X)[0], plain)
    s = scales_of(X.astype(np.float64), P, "relative", 1.0)
    scaled = native_step_by_inputs(P, X * np.float32(unit))[0]
    assert np.all(change(X, P, np.sign(P), scaled, s) <= 1e-9 * np.abs(P).sum(axis=1))


def test_numbers_that_are_not_finite_are_refused():
    X, P = layer(4, "normal", 2, 10, 3)
    bad = P.copy()
    bad[1, 2] = np.inf
    with pytest.raises(ValueError, match="gradient"):
        native_step_by_inputs(bad, X)
    X[1, 3] = np.nan
    with pytest.raises(ValueError, match="X"):
        native_step_by_inputs(P, X)


def no_matrix(*args, **kwargs):
    raise MemoryError


def test_project_of_a_wide_layer_makes_no_matrix(monkeypatch):
    random = np.random.default_rng(0)
    X, V = inputs(random, "relu", 32, 2048), random.normal(size=(32, 5)).astype(np.float32)
    for name in ("gram", "gram_and_weight_gradient"):
        monkeypatch.setattr(_core, name, no_matrix)
    G = project(V, X)
    assert np.array_equal(project(V, X, kappa=0.0), np.where(V.T @ X < 0, -1, 1))
    P = (V.T @ X / (32 * 2048**0.5)).astype(np.float32)
    check_minimum(X, P, G, scales_of(X, P, "relative", 1.0), "spin")
    with pytest.raises(MemoryError):
        project(V[:, :1], X[:, :2000])


def trained(width, batch, **options):
    torch.manual_seed(0)
    net = nn.Sequential(BinaryLinear(width, 16), nn.BatchNorm1d(16))
    optimizer = QPSBGD(net.parameters(), lr=0.02, **options)
    X, y = torch.randn(batch, width), torch.randint(16, (batch,))
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(X), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_the_optimizer_trains_a_wide_layer_without_the_matrix(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(inputs_module, "by_inputs", lambda *sizes: False)
        by_matrix = trained(2048, 32)
    monkeypatch.setattr(_core, "gram", no_matrix)
    losses = trained(2048, 32)
    assert losses != by_matrix  # other minima
    np.testing.assert_allclose(losses[0], by_matrix[0])
    assert losses[-1] < 1.1 * by_matrix[-1] < 0.5 * losses[0]


def test_what_needs_the_matrix_says_how_large_it_is(monkeypatch):
    monkeypatch.setattr(_core, "gram", no_matrix)
    with pytest.raises(MemoryError, match=r"2048 inputs takes 0\.0 GiB"):
        trained(2048, 32, memory="momentum")
    with pytest.raises(MemoryError, match="the Gram matrix"):
        gram_module.gram_matrix([np.ones((2, 3000), dtype=np.float32)])


def test_the_rule_of_choice():
    assert by_inputs(85, 2048)
    assert not by_inputs(86, 2048)
    assert not by_inputs(1, 2047)
    assert by_inputs(2048, 16384)
    assert not by_inputs(2049, 16384)


MEASURE = """
import resource, sys
import numpy as np
from qpsbgd import project
random = np.random.default_rng(0)
X = random.normal(size=(32, 25088)).astype(np.float32)
V = random.normal(size=(32, 512)).astype(np.float32)
project(V[:, :2], X[:, :2048])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
project(V, X)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
def test_25088_inputs_take_less_than_300_mib():
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0
    run = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 300 * 1024
