"""The Triton kernels of the solver against the moves in torch operations, bit for bit.

On Triton's interpreter, or on a GPU.
"""

import copy
import importlib
import os
import subprocess
import sys
import textwrap

import pytest
import torch

from interpreted import interpreted
from qpsbgd.solvers.device import moves
from qpsbgd.solvers.device.choose import has_triton, uses_kernel
from qpsbgd.solvers.device.fixed import fixed_couplings
from qpsbgd.solvers.device.reads import Rests, placed
from qpsbgd.solvers.device.search import quantiles

pytestmark = pytest.mark.skipif(not has_triton(), reason="Triton is not installed (pip install triton, 1 GB)")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SHAPES = [(1, 2, 24), (2, 1, 17), (1, 1, 1)]


@pytest.fixture(scope="module")
def kernel():
    """The module of the kernels, interpreted where there is no GPU."""
    name = "qpsbgd.solvers.device.kernel"
    importlib.import_module("triton")  # as torch's compiler does in other tests
    if DEVICE == "cuda":
        yield importlib.import_module(name)
    else:
        with interpreted(name) as module:
            yield module


def random_reads(m, r, n, *, integers=False, seed=0):
    """Reads of random couplings and fields at random spins."""
    generator = torch.Generator().manual_seed(seed)
    J = torch.randn(m, n, n, generator=generator, dtype=torch.float64)
    if integers:
        J = J.sign() * (J.abs() > 1)
    couplings = J + J.mT
    couplings.diagonal(dim1=-2, dim2=-1).zero_()
    fixed = fixed_couplings(couplings).values
    assert fixed.dtype == (torch.int16 if integers or n == 1 else torch.int32)
    own = torch.randint(-1000, 1000, (m, r, n), generator=generator, dtype=torch.int32)
    spins = 2 * torch.randint(0, 2, (m, r, n), generator=generator, dtype=torch.int8) - 1
    keys = torch.randint(-(2**62), 2**62, (m, r), generator=generator)
    return placed(fixed.to(DEVICE), own.to(DEVICE), spins.to(DEVICE), keys.to(DEVICE))


def no_rests(reads):
    small = torch.full(reads.now.shape, 2, dtype=torch.int32, device=DEVICE)
    return Rests(torch.zeros_like(reads.fields), small, small + 3, torch.zeros_like(reads.now))


def assert_same(one, other):
    for name, value in vars(one).items():
        assert torch.equal(value, getattr(other, name)), name


@pytest.mark.parametrize("integers", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_descent_is_that_of_the_torch_operations(kernel, shape, integers):
    reads = random_reads(*shape, integers=integers)
    expected = copy.deepcopy(reads)
    kernel.descend(reads)
    moves.descend(expected)
    assert_same(reads, expected)
    assert (reads.spins * reads.fields <= 0).all()


@pytest.mark.parametrize("integers", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_tabu_search_is_that_of_the_torch_operations(kernel, shape, integers):
    reads = random_reads(*shape, integers=integers)
    rests = no_rests(reads)
    expected, expected_rests = copy.deepcopy(reads), copy.deepcopy(rests)
    for first, flips in ((0, 20), (20, 5), (2**40, 3)):
        kernel.tabu(reads, rests, first, flips)
        moves.tabu(expected, expected_rests, first, flips)
        assert_same(reads, expected)
        assert_same(rests, expected_rests)
    assert shape[-1] < 3 or (reads.least < 0).all()


@pytest.mark.parametrize("integers", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_annealing_is_that_of_the_torch_operations(kernel, shape, integers):
    reads = random_reads(*shape, integers=integers)
    expected = copy.deepcopy(reads)
    table = quantiles(torch.device(DEVICE))
    typical = reads.fields.abs().float().mean(dim=-1)
    for sweep, part in ((0, 1e9), (1, 0.5), (2**33, 0.1), (8, 0.0)):
        kernel.anneal(reads, sweep, typical * part, table)
        moves.anneal(expected, sweep, typical * part, table)
        assert_same(reads, expected)


def test_reads_of_tensors_in_another_order_are_moved_alike(kernel):
    given = random_reads(2, 2, 12)
    others = (each.mT.contiguous().mT for each in (given.couplings.permute(0, 2, 1), given.own, given.spins))
    reads = placed(*others, given.keys.T.contiguous().T)
    assert all(each.is_contiguous() for each in vars(reads).values())
    kernel.descend(reads)
    moves.descend(given)
    assert_same(reads, given)


@pytest.mark.parametrize("width", [1, 100, 784, 4096, 8192])
def test_program_holds_its_read(kernel, width):
    chosen = kernel.settings(width)
    assert chosen["SIZE"] >= width
    assert chosen["num_warps"] in (1, 2, 4, 8, 16)


def test_only_gpus_get_the_kernels():
    assert uses_kernel("cuda", 784)
    assert not uses_kernel("cpu", 784)
    assert not uses_kernel("cuda", 100_000)


COMPILE = """
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile
    from qpsbgd.solvers.device import kernel

    bits = dict(now_pointer="*i64", least_pointer="*i64", spins_pointer="*i8", best_pointer="*i8",
                since_pointer="*i64", keys_pointer="*i64", temperatures_pointer="*fp32",
                quantiles_pointer="*fp32", first="i64", flips="i32", sweep="i32", rows="i32", width="i32",
                SIZE="constexpr")
    cases = [(kernel._descend, 784, "*i32"), (kernel._tabu, 784, "*i32"), (kernel._anneal, 784, "*i32"),
             (kernel._tabu, 8192, "*i16"), (kernel._tabu, 1, "*i16"), (kernel._anneal, 1, "*i16")]
    for function, width, couplings in cases:
        settings = kernel.settings(width)
        warps = settings.pop("num_warps")
        types = {name: bits.get(name, "*i32") for name in function.arg_names}
        types["couplings_pointer"] = couplings
        if width == 1:  # which calls make a constant of
            settings |= dict(width=1, rows=1)
            types |= dict(width="constexpr", rows="constexpr")
            if "flips" in types:
                settings["flips"], types["flips"] = 1, "constexpr"
        source = ASTSource(fn=function, signature=types, constexprs=settings)
        compiled = compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps})
        print(len(compiled.asm["ptx"]) > 0)
"""


@pytest.mark.skipif(DEVICE == "cuda", reason="the other tests compile them")
def test_kernels_compile_for_a_gpu_without_one(tmp_path):
    """In a process of its own: here functions are made for the interpreter."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(COMPILE)],
        env={**environment, "TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == 6 * "True\n", done.stderr
