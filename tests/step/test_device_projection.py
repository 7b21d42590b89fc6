"""The projection in torch operations against the native one, and against what must hold of any."""

import numpy as np
import pytest
import torch
from torch import nn

from qpsbgd.nn import BinaryLinear
from qpsbgd.optim import QPSBGD
from qpsbgd.step.device.descent import Rows, descend
from qpsbgd.step.device.project import project_tensors
from qpsbgd.step.device.proximal import proximal_tensors
from qpsbgd.step.device.rounded import descend_rounded, is_rounded, rounded_matrices
from qpsbgd.step.gram import gram_matrix
from qpsbgd.step.projected import proximal_model, proximal_step
from qpsbgd.step.rows import native_step, objective, project_rows

DTYPES = [torch.float32, torch.float64]


def layer(seed, n, d, m, dtype=torch.float32, kind="normal"):
    """p (m, d) and A (d, d) of a layer."""
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(n, d, generator=generator, dtype=dtype)
    if kind == "relu":
        X = X.relu()
    elif kind == "signs":
        X = X.sign()
    V = torch.randn(n, m, generator=generator, dtype=dtype)
    return (V.T @ X / (n * d**0.5)), torch.from_numpy(np.ascontiguousarray(gram_matrix([X.numpy()])))


def lengths(p, A, kappa=1.0):
    """The relative scale of every row."""
    signs = np.where(p >= 0, 1.0, -1.0)
    return kappa * np.abs(p).sum(axis=1) / np.einsum("md,md->m", signs @ A, signs)


def objectives(p, A, *steps, kappa=1.0):
    p, A = p.double().numpy(), A.double().numpy()
    return [objective(np.asarray(G), p, A, lengths(p, A, kappa)) for G in steps]


def signs_of(p):
    return torch.where(p >= 0, 1, -1).to(torch.int8)


def rounding(rows):
    """The descent of wide rows on a GPU, in torch operations."""
    descend_rounded(rows, descend)


@pytest.mark.parametrize("by_int8", [False, True])
@pytest.mark.parametrize("domain", ["spin", "mask"])
def test_mean_objective_of_a_thousand_random_layers_is_that_of_the_native_descent(
    domain, by_int8, monkeypatch
):
    if by_int8:
        monkeypatch.setattr("qpsbgd.step.device.choose.descend_by_torch", rounding)
    numbers = np.random.default_rng(0)
    found = []
    for shape in range(50):
        n, d = (int(size) for size in numbers.integers(4, 48, 2))
        layers = [layer(shape * 20 + k, n, d, 6, kind=("normal", "relu", "signs")[k % 3]) for k in range(20)]
        p, A = (torch.stack(parts) for parts in zip(*layers, strict=True))
        steps = project_tensors(p.flatten(0, 1), A, domain=domain).reshape(p.shape)
        for (fields, gram), G in zip(layers, steps, strict=True):
            native = native_step(fields.numpy(), gram.numpy(), domain=domain)[0]
            values = objectives(fields, gram, signs_of(fields), native, G)
            assert (values[2] <= values[0]).all()
            found.append(values / np.abs(values[0]))
    assert len(found) == 1000
    sign, native, own = (np.concatenate(part) for part in zip(*found, strict=True))
    assert (own < sign).mean() > 0.5
    assert abs(own.mean() - native.mean()) < 1e-3 * abs(native.mean())


def trained_layers():
    """p and A of all layers in a training run on random classes."""
    torch.manual_seed(0)
    model = nn.Sequential(
        BinaryLinear(64, 48), nn.BatchNorm1d(48), nn.ReLU(), BinaryLinear(48, 32), nn.BatchNorm1d(32)
    )
    optimizer = QPSBGD(model.parameters(), lr=0.03)
    seen = []
    optimizer.register_projection_hook(lambda shown: seen.append((shown.p.clone(), torch.tensor(shown.A))))
    x, target = torch.randn(200, 64), torch.randn(200, 32)
    for _ in range(8):
        optimizer.zero_grad()
        (model(x) - target).square().mean().backward()
        optimizer.step()
    return seen


def test_objective_of_trained_layers_is_as_low_as_that_of_the_native_descent():
    values = []
    for p, A in trained_layers():
        native = native_step(p.numpy(), A.numpy())[0]
        values.append(np.stack(objectives(p, A, native, project_tensors(p, A[None]))).sum(axis=1))
    native, own = np.sum(values, axis=0)
    assert -0.01 * abs(native) < own - native < 1e-3 * abs(native)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", ["relative", "auto", "raw", 0.05])
def test_steps_of_every_scale_are_as_good_as_native_ones(scale, dtype):
    p, A = layer(1, 40, 60, 64, dtype)
    work = project_rows(p.numpy(), A.numpy(), scale=scale, num_samples=40)
    with pytest.raises(StopIteration) as end:
        next(work)
    native, own = torch.tensor(end.value.value), project_tensors(p, A[None], scale=scale, num_samples=40)

    def cosine(G):
        G = G.to(dtype)
        return ((p * G).sum(1) / ((G @ A) * G).sum(1).sqrt()).mean()

    assert (own != signs_of(p)).any()
    assert cosine(own) == pytest.approx(cosine(native).item(), rel=5e-3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_step_without_kappa_is_the_sign(dtype):
    p, A = layer(2, 10, 30, 8, dtype)
    assert torch.equal(project_tensors(p, A[None], kappa=0.0), signs_of(p))


def test_no_flip_of_a_step_lowers_its_objective():
    p, A = layer(3, 20, 40, 16, torch.float64)
    G = project_tensors(p, A[None]).double()
    scales = torch.from_numpy(lengths(p.numpy(), A.numpy()))[:, None]
    gains = G * (G @ A - p / scales) - A.diagonal()
    assert gains.max() < 1e-12


def test_rows_of_several_matrices_step_as_each_alone():
    layers = [layer(seed, 10, 20, 4) for seed in range(3)]
    p = torch.cat([fields for fields, _ in layers])
    A = torch.stack([gram for _, gram in layers])
    alone = torch.cat([project_tensors(fields, gram[None]) for fields, gram in layers])
    assert torch.equal(project_tensors(p, A), alone)


@pytest.mark.parametrize("size", [1e-30, 1e25])
def test_step_does_not_depend_on_the_size_of_the_gradient(size):
    p, A = layer(4, 20, 40, 8)
    # A power of two changes no digit.
    size = 2.0 ** round(np.log2(size))
    assert torch.equal(project_tensors(p * size, A[None]), project_tensors(p, A[None]))


def test_unknown_coordinates_and_rows_take_no_step():
    p, A = layer(5, 20, 10, 4)
    A[3], A[:, 3], p[:, 3], p[1] = 0, 0, 0, 0
    for domain in ("spin", "mask"):
        G = project_tensors(p, A[None], domain=domain)
        assert not G[:, 3].any()
        assert not G[1].any()
        native = native_step(p.numpy(), A.numpy(), domain=domain)[0]
        np.testing.assert_array_equal(G == 0, native == 0)


def test_matrix_without_curvature_leaves_the_sign():
    p = torch.tensor([[1.0, -2.0]])
    for scale in ("relative", "auto", 0.5):
        assert torch.equal(project_tensors(p, torch.zeros(1, 2, 2), scale=scale), signs_of(p))


def test_raw_scale_needs_the_number_of_samples():
    with pytest.raises(ValueError, match="num_samples"):
        project_tensors(torch.ones(1, 2), torch.eye(2)[None], scale="raw")


def test_passes_without_a_look_end_where_passes_with_one_do(monkeypatch):
    p, A = layer(6, 30, 64, 16)
    looked = project_tensors(p, A[None])
    monkeypatch.setattr("qpsbgd.step.device.descent._is_looked_at", lambda device: False)
    assert torch.equal(project_tensors(p, A[None]), looked)


def test_rows_that_are_not_active_stay():
    p, A = layer(7, 30, 20, 2)
    start = signs_of(p).float()[None]
    rows = Rows(
        fields=start @ A - 0.1 * p,
        spins=start.clone(),
        matrices=A[None],
        thresholds=A.diagonal()[None].clone(),
        factor=2.0,
        active=torch.tensor([[True, False]]),
    )
    descend(rows)
    assert not torch.equal(rows.spins[0, 0], start[0, 0])
    assert torch.equal(rows.spins[0, 1], start[0, 1])


@pytest.mark.parametrize("damping", [0.0, 1.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_proximal_steps_are_as_good_as_native_ones_and_never_raise_the_model(dtype, damping):
    m, A = layer(8, 30, 40, 32, dtype)
    weights = torch.where(torch.randn(m.shape, generator=torch.Generator().manual_seed(9)) > 0, 1.0, -1.0)
    c = torch.linspace(0, 0.02, 32, dtype=dtype)
    own = proximal_tensors(weights.to(dtype), m, A[None], c, damping)
    W = weights.numpy().astype(np.int8)
    arrays = (m.numpy(), A.numpy())
    native = proximal_step(W, *arrays, curvatures=c.double().numpy(), damping=damping)
    values = [
        proximal_model(G, W, *(array.astype(np.float64) for array in arrays), c.double().numpy(), damping)
        for G in (native, own.numpy().astype(np.int8))
    ]
    assert (values[1] <= 0).all()
    assert torch.equal(own[0], weights[0].to(dtype))  # a row without curvature has no model
    assert values[1].sum() == pytest.approx(values[0].sum(), rel=2e-2)


@pytest.mark.parametrize("kind", ["normal", "relu", "signs"])
def test_rounded_matrices_are_near_ones_of_inputs_of_any_sizes(kind):
    _, A = layer(10, 30, 24, 1, torch.float64, kind)
    sizes = torch.logspace(-6, 6, 24, dtype=torch.float64)
    A = torch.stack([A, A * sizes[:, None] * sizes])
    A[:, 3], A[:, :, 3] = 0, 0  # an input that is always zero
    q, r = rounded_matrices(A)
    assert (q[0].int() - q[1].int()).abs().max() <= 1  # halves may go either way
    assert not q[:, 3].any()
    errors = A - r[:, :, None] * q * r[:, None, :]
    diagonal = A.diagonal(dim1=1, dim2=2)
    shares = errors / (diagonal[:, :, None] * diagonal[:, None, :]).sqrt().clamp(min=1e-300)
    shares.diagonal(dim1=1, dim2=2).zero_()
    most = (q.abs().amax() * r * r / diagonal.clamp(min=1e-300))[:, :1, None]
    assert (shares.abs() <= 0.5001 * most / 127).all()


def test_only_wide_layers_of_many_rows_are_rounded():
    def rows(count, width):
        parts = torch.zeros(1, count, width), torch.ones(1, count, width), torch.zeros(1, 1, 1)
        return Rows(*parts, torch.zeros(1, width), 2.0, torch.ones(1, count, dtype=torch.bool))

    assert is_rounded(rows(128, 1025))
    assert not is_rounded(rows(127, 1025))
    assert not is_rounded(rows(1000, 1024))


@pytest.mark.parametrize("size", [0.0, 1e-40, 1e37, torch.inf, torch.nan])
def test_rounding_of_extreme_matrices_ends_and_is_never_above_the_sign(size, monkeypatch):
    monkeypatch.setattr("qpsbgd.step.device.choose.descend_by_torch", rounding)
    p, A = layer(11, 20, 16, 4)
    A = A * size
    G = project_tensors(p, A[None])
    assert set(G.unique().tolist()) <= {-1, 0, 1}
    if np.isfinite(size) and size:
        sign, own = objectives(p, A, signs_of(p), G)
        assert (own <= sign).all()
