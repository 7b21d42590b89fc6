"""The Triton kernel against the descent in torch operations: on Triton's interpreter, or on a GPU."""

import importlib
import os
import subprocess
import sys
import textwrap

import pytest
import torch

from interpreted import interpreted
from qpsbgd.step.device.choose import has_triton, uses_kernel
from qpsbgd.step.device.descent import Rows
from qpsbgd.step.device.descent import descend as descend_by_torch

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
    kernel.descend(rows, PARTS=parts)
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
        kernel.descend(one, PARTS=parts)
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
    kernel.descend(rows, PARTS=1)
    assert torch.equal(rows.spins.cpu()[0], spins)


def test_rows_that_are_not_active_stay(kernel):
    rows, _, _ = problem(2, 2, 20)
    start = rows.spins.clone()
    rows.active[0, 1] = rows.active[1, 0] = False
    kernel.descend(rows)
    changed = (rows.spins != start).any(dim=-1)
    assert changed.tolist() == [[True, False], [False, True]]


def test_gains_that_float32_cannot_tell_from_zero_are_flipped(kernel):
    """Matrices of float64 may be smaller than any float32."""
    rows, objective, _ = problem(1, 2, 12, torch.float64)
    tiny, _, _ = problem(1, 2, 12, torch.float64)
    for part in (tiny.fields, tiny.matrices, tiny.thresholds):
        part.mul_(1e-60)
    start = objective(tiny.spins)
    kernel.descend(rows)
    kernel.descend(tiny)
    assert (objective(tiny.spins) < start).all()
    assert (tiny.spins * tiny.fields - tiny.thresholds[:, None]).max() <= 0


def test_arrays_that_are_no_contiguous_block_are_written_back(kernel):
    rows, _, _ = problem(1, 2, 20)
    expected, _, _ = problem(1, 2, 20)
    wide = torch.zeros(1, 2, 40, device=DEVICE)
    wide[..., ::2] = rows.spins
    rows.spins = wide[..., ::2]
    kernel.descend(rows)
    kernel.descend(expected)
    assert torch.equal(rows.spins, expected.spins)


@pytest.mark.parametrize("width", [1, 100, 784, 4096, 8192])
def test_program_holds_its_row(kernel, width):
    chosen = kernel.settings(width)
    assert chosen["SIZE"] >= width
    assert chosen["SIZE"] % chosen["PARTS"] == 0
    assert chosen["num_warps"] in (1, 2, 4, 8, 16)


def test_only_gpus_get_the_kernel():
    assert uses_kernel("cuda", 784)
    assert not uses_kernel("cpu", 784)
    assert not uses_kernel("cuda", 100_000)


COMPILE = """
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile
    from qpsbgd.step.device import kernel

    settings = kernel.settings(WIDTH)
    warps = settings.pop("num_warps")
    types = dict(fields_pointer="*fp32", spins_pointer="*fp32", couplings_pointer="*fp32",
                 thresholds_pointer="*fp32", active_pointer="*i1", rows_of_matrix="i32", width="i32",
                 factor="fp32", most_turns="i32", SIZE="constexpr", PARTS="constexpr")
    source = ASTSource(fn=kernel._descend, signature=types, constexprs=settings)
    compiled = compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps})
    print(len(compiled.asm["ptx"]) > 0)
"""


@pytest.mark.skipif(DEVICE == "cuda", reason="the other tests compile it")
@pytest.mark.parametrize("width", [784, 4096])
def test_kernel_compiles_for_a_gpu_without_one(width, tmp_path):
    """In a process of its own: here functions are made for the interpreter."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(COMPILE.replace("WIDTH", str(width)))],
        env={**environment, "TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "True\n", done.stderr
