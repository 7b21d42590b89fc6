"""The Triton kernel against the descent in torch operations: on Triton's interpreter, or on a GPU."""

import importlib
import itertools
import os
import subprocess
import sys
import textwrap
from dataclasses import replace

import pytest
import torch
from torch import nn

from interpreted import interpreted
from qpsbgd import QPSBGD
from qpsbgd.nn import BinaryLinear
from qpsbgd.step.device.choose import descend_all, has_triton, uses_kernel
from qpsbgd.step.device.descent import Rows
from qpsbgd.step.device.descent import descend as descend_by_torch
from qpsbgd.step.device.rounded import rounded_matrices

pytestmark = pytest.mark.skipif(not has_triton(), reason="Triton is not installed (pip install triton, 1 GB)")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(scope="module")
def kernel():
    """The module of the kernel, interpreted where there is no GPU."""
    name = "qpsbgd.step.device.kernel"
    importlib.import_module("triton")  # as torch's compiler does in other tests
    if DEVICE == "cuda":
        yield importlib.import_module(name)
    else:
        with interpreted(name) as module:
            yield module


def problem(q, r, d, dtype=torch.float32, factor=2.0, seed=0):
    """Rows of random layers that start at sign(p); and their objective, row by row."""
    generator = torch.Generator().manual_seed(seed)
    n = max(4, d // 6)
    X = torch.randn(q, n, d, generator=generator, dtype=dtype)
    A = X.mT @ X / (n * d)
    p = torch.randn(q, r, d, generator=generator, dtype=dtype)
    signs = torch.where(p >= 0, 1.0, -1.0).to(dtype)
    products = signs @ A
    scales = (p.abs().sum(-1) / (signs * products).sum(-1))[..., None]

    def steps(spins):
        return spins if factor == 2 else (signs + spins) / 2

    def objective(spins):
        G = steps(spins.cpu())
        return (scales[..., 0] * ((G @ A) * G).sum(-1) - 2 * (p * G).sum(-1)).flatten()

    def fields(spins):
        return steps(spins.cpu()) @ A - p / scales

    rows = Rows(
        fields=(products - p / scales).to(DEVICE),
        spins=signs.clone().to(DEVICE),
        matrices=A.to(DEVICE),
        thresholds=(factor / 2 * A.diagonal(dim1=-2, dim2=-1) + 1e-6).to(DEVICE),
        factor=factor,
        active=torch.ones(q, r, dtype=torch.bool, device=DEVICE),
    )
    return rows, objective, fields


SHAPES = [(1, 3, 40), (2, 2, 17), (5, 1, 9), (1, 2, 1), (1, 2, 64)]


@pytest.mark.parametrize("parts", [1, 4])
@pytest.mark.parametrize("factor", [2.0, 1.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_rows_end_where_no_flip_gains_and_fields_follow_the_spins(kernel, shape, factor, parts):
    rows, objective, fields = problem(*shape, factor=factor)
    before = objective(rows.spins)
    kernel.descend([rows], PARTS=parts)
    assert set(rows.spins.unique().tolist()) <= {-1.0, 1.0}
    torch.testing.assert_close(rows.fields.cpu(), fields(rows.spins), rtol=1e-5, atol=1e-6)
    assert (rows.spins * rows.fields - rows.thresholds[:, None]).max() <= 0
    assert (objective(rows.spins) <= before + 1e-5).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("parts", [1, 4])
def test_objective_is_that_of_the_descent_in_torch_operations(kernel, parts, dtype):
    totals = []
    for seed in range(4):
        (one, objective, _), (other, _, _) = (problem(1, 6, 40, dtype, seed=seed) for _ in range(2))
        kernel.descend([one], PARTS=parts)
        descend_by_torch(other)
        totals.append([objective(rows.spins).sum().item() for rows in (one, other)])
    by_kernel, by_torch = map(sum, zip(*totals, strict=True))
    assert by_kernel == pytest.approx(by_torch, rel=0.02)


def test_one_part_flips_the_best_spin_first(kernel):
    """Against a plain loop: the greedy descent, spin by spin."""
    rows, _, _ = problem(1, 3, 30, torch.float64)
    spins, fields = rows.spins.cpu().clone()[0], rows.fields.cpu().clone()[0]
    A, thresholds = rows.matrices.cpu()[0], rows.thresholds.cpu()[0]
    for h, f in zip(spins, fields, strict=True):
        while (gains := (h * f - thresholds)).max() > 0:
            k = int(gains.argmax())
            f -= 2 * h[k] * A[k]
            h[k] = -h[k]
    kernel.descend([rows], PARTS=1)
    assert torch.equal(rows.spins.cpu()[0], spins)


def test_rows_that_are_not_active_stay(kernel):
    rows, _, _ = problem(2, 2, 20)
    start = rows.spins.clone()
    rows.active[0, 1] = rows.active[1, 0] = False
    kernel.descend([rows])
    changed = (rows.spins != start).any(dim=-1)
    assert changed.tolist() == [[True, False], [False, True]]


def test_gains_that_float32_cannot_tell_from_zero_are_flipped(kernel):
    """Matrices of float64 may be smaller than any float32."""
    rows, objective, _ = problem(1, 2, 12, torch.float64)
    tiny, _, _ = problem(1, 2, 12, torch.float64)
    for part in (tiny.fields, tiny.matrices, tiny.thresholds):
        part.mul_(1e-60)
    start = objective(tiny.spins)
    kernel.descend([rows])
    kernel.descend([tiny])
    assert (objective(tiny.spins) < start).all()
    assert (tiny.spins * tiny.fields - tiny.thresholds[:, None]).max() <= 0


def test_arrays_that_are_no_contiguous_block_are_written_back(kernel):
    rows, _, _ = problem(1, 2, 20)
    expected, _, _ = problem(1, 2, 20)
    wide = torch.zeros(1, 2, 40, device=DEVICE)
    wide[..., ::2] = rows.spins
    rows.spins = wide[..., ::2]
    kernel.descend([rows])
    kernel.descend([expected])
    assert torch.equal(rows.spins, expected.spins)


@pytest.mark.parametrize("width", [1, 100, 784, 4096, 8192])
def test_program_holds_its_row(kernel, width):
    chosen = kernel.settings(width)
    assert chosen["SIZE"] >= width
    assert chosen["SIZE"] % chosen["PARTS"] == 0
    assert width % chosen["ALIGNED"] == 0
    assert chosen["num_warps"] in (1, 2, 4, 8, 16)


def test_only_gpus_get_the_kernel():
    assert uses_kernel("cuda", 784)
    assert not uses_kernel("cpu", 784)
    assert not uses_kernel("cuda", 100_000)


COMPILE = """
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile
    from qpsbgd.step.device import kernel

    settings = {**kernel.settings(WIDTH), "ROUNDED": ROUND}
    warps = settings.pop("num_warps")
    couplings = "*i8" if settings["ROUNDED"] else "*fp32"
    types = dict(fields_pointer="*fp32", spins_pointer="*fp32", couplings_pointer=couplings,
                 thresholds_pointer="*fp32", active_pointer="*i1", places_pointer="*i64",
                 columns_pointer="*fp32", factor="fp32", flips_of_spin="i32",
                 SIZE="constexpr", PARTS="constexpr", ALIGNED="constexpr", ROUNDED="constexpr")
    pointers = {(place,): [["tt.divisibility", 16]] for place in range(7)}
    source = ASTSource(fn=kernel._descend, signature=types, constexprs=settings, attrs=pointers)
    compiled = compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps})
    print("ld.global.v4" in compiled.asm["ptx"])
"""


@pytest.mark.skipif(DEVICE == "cuda", reason="the other tests compile it")
@pytest.mark.parametrize(("width", "rounded"), [(784, False), (4096, True)])
def test_kernel_compiles_for_a_gpu_without_one_and_reads_in_wide_pieces(width, rounded, tmp_path):
    """In a process of its own: here functions are made for the interpreter."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent(COMPILE.replace("WIDTH", str(width)).replace("ROUND}", f"{rounded}}}")),
        ],
        env={**environment, "TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "True\n", done.stderr


def several_layers(dtype=torch.float32):
    """Rows of layers of other widths, numbers of rows and matrices."""
    shapes = [(1, 2, 40), (2, 1, 17), (1, 1, 260), (3, 1, 9), (1, 1, 257), (1, 1, 24)]
    return [problem(*shape, dtype, seed=seed)[0] for seed, shape in enumerate(shapes)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_of_several_layers_in_one_launch_end_as_each_alone_bit_for_bit(kernel, dtype, monkeypatch):
    together, apart = several_layers(dtype), several_layers(dtype)
    for rows in apart:
        kernel.descend([rows])
    monkeypatch.setattr("qpsbgd.step.device.choose.uses_kernel", lambda device, width: True)
    launched = []
    descend = kernel.descend
    monkeypatch.setattr(kernel, "descend", lambda rows: launched.append(len(rows)) or descend(rows))
    descend_all(together)
    assert launched == [4, 2]
    for one, other in zip(together, apart, strict=True):
        assert torch.equal(one.spins, other.spins)
        assert torch.equal(one.fields, other.fields)
    fresh = several_layers(dtype)
    assert all(not torch.equal(one.spins, other.spins) for one, other in zip(together, fresh, strict=True))


def test_layers_without_rows_and_rows_that_stay_share_a_launch_with_others(kernel):
    moved, still, empty = problem(1, 2, 30)[0], problem(1, 2, 20)[0], problem(1, 1, 10)[0]
    still.active[:] = False
    start = still.spins.clone()
    empty.fields, empty.spins, empty.active = empty.fields[:, :0], empty.spins[:, :0], empty.active[:, :0]
    alone = problem(1, 2, 30)[0]
    kernel.descend([alone])
    kernel.descend([still, empty, moved])
    assert torch.equal(still.spins, start)
    assert torch.equal(moved.spins, alone.spins)
    kernel.descend([empty])
    kernel.descend([])


def test_a_step_of_many_layers_takes_one_launch_a_class_of_widths(kernel, monkeypatch):
    """The whole optimizer on the interpreter, against every layer by itself."""
    monkeypatch.setattr("qpsbgd.step.device.choose.uses_kernel", lambda device, width: True)
    descend, launches, trained = kernel.descend, [], []
    for most_held in (2**24, 0):
        monkeypatch.setattr("qpsbgd.step.device.together._MOST_HELD", most_held)
        launched = []
        monkeypatch.setattr(
            kernel, "descend", lambda rows, launched=launched: launched.append(len(rows)) or descend(rows)
        )
        torch.manual_seed(0)
        widths = (8, 6, 9, 6, 3)
        layers = [BinaryLinear(one, two) for one, two in itertools.pairwise(widths)]
        model = nn.Sequential(
            *itertools.chain(*((layer, nn.BatchNorm1d(layer.out_features)) for layer in layers))
        )
        optimizer = QPSBGD(model.parameters(), 0.05, solver="device", scale="auto")
        x, y = torch.randn(12, 8), torch.randint(3, (12,))
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        launches.append(launched)
        trained.append(model)
    # The scale is fitted once, so the step descends twice.
    assert launches == [[4, 4], [1] * 8]
    for one, other in zip(*(model.parameters() for model in trained), strict=True):
        assert torch.equal(one, other)


def rounded(rows):
    """The same rows with couplings of int8."""
    q, r = rounded_matrices(rows.matrices)
    return replace(rows, matrices=q, columns=r, fields=rows.fields.clone(), spins=rows.spins.clone())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("factor", [2.0, 1.0])
@pytest.mark.parametrize("parts", [1, 4])
def test_int8_couplings_are_those_of_the_matrix_that_they_stand_for(kernel, parts, factor, dtype):
    coarse = rounded(problem(2, 2, 20, dtype, factor)[0])
    whole = replace(
        coarse,
        matrices=coarse.whole_matrices(),
        columns=None,
        fields=coarse.fields.clone(),
        spins=coarse.spins.clone(),
    )
    start = coarse.spins.clone()
    for rows in (coarse, whole):
        kernel.descend([rows], PARTS=parts)
    assert torch.equal(coarse.spins, whole.spins)
    assert not torch.equal(coarse.spins, start)
    torch.testing.assert_close(coarse.fields, whole.fields, rtol=1e-4, atol=1e-6)


def test_wide_rows_end_by_their_own_matrix_though_most_flips_read_int8(kernel, monkeypatch):
    monkeypatch.setattr("qpsbgd.step.device.choose.uses_kernel", lambda device, width: True)
    monkeypatch.setattr("qpsbgd.step.device.choose._CLASSES", (8, 16))
    monkeypatch.setattr("qpsbgd.step.device.choose.is_rounded", lambda rows: True)
    read = []
    descend = kernel.descend
    monkeypatch.setattr(kernel, "descend", lambda rows: read.append(rows[0].matrices.dtype) or descend(rows))
    rows, objective, fields = problem(2, 2, 24)
    before = objective(rows.spins)
    descend_all([rows])
    assert read == [torch.int8, torch.float32]
    torch.testing.assert_close(rows.fields.cpu(), fields(rows.spins), rtol=1e-5, atol=1e-6)
    assert (rows.spins * rows.fields - rows.thresholds[:, None]).max() <= 0
    assert (objective(rows.spins) < before).all()
