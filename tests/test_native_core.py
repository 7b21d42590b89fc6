"""The native core at the edges: huge numbers, unaligned arrays, little memory, threads that end late."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import Any

import numpy as np
import pytest
import scipy.sparse

import qpsbgd
from qpsbgd import _core
from qpsbgd.step.rows import native_step

RNG = np.random.default_rng(0)
V0, X0 = RNG.normal(size=(9, 6)), RNG.normal(size=(9, 24))


def test_sums_that_overflow_leave_no_step_unwritten() -> None:
    """The sum of all |A| is beyond float64, no entry is."""
    V, X = np.full((1, 2), 1e-150), np.full((1, 8), 1e154)
    assert np.array_equal(qpsbgd.project(V, X), qpsbgd.project(np.ones((1, 2)), np.ones((1, 8))))


@pytest.mark.parametrize(("dtype", "power"), [(np.float64, 507), (np.float32, 59)])
@pytest.mark.parametrize("scale", ["relative", "auto"])
@pytest.mark.parametrize("domain", ["spin", "mask"])
def test_step_does_not_depend_on_the_unit_of_the_inputs(
    dtype: Any, power: int, scale: str, domain: str
) -> None:
    V, X = V0.astype(dtype), X0.astype(dtype)
    expected = qpsbgd.project(V, X, scale=scale, domain=domain)
    larger = X * dtype(2.0**power)
    assert np.array_equal(qpsbgd.project(V, larger, scale=scale, domain=domain), expected)


def gram_and_gradient(dtype: Any) -> tuple[Any, Any]:
    return (X0.T @ X0).astype(dtype), (V0.T @ X0).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("scale", ["relative", "auto", 0.25])
def test_residual_and_step_of_numbers_near_the_largest(dtype: Any, scale: str | float) -> None:
    A, g = gram_and_gradient(dtype)
    top = np.finfo(dtype).maxexp - 10
    of_A, of_g = dtype(2.0**top), dtype(2.0 ** (top - 3))
    residual = g[::-1].copy()
    expected, left = native_step(g, A, residual=residual, keep_residual=True, scale=scale)
    large_scale = scale if isinstance(scale, str) else scale * float(of_g / of_A)
    step, large_left = native_step(
        g * of_g, A * of_A, residual=residual * of_g, keep_residual=True, scale=large_scale
    )
    assert np.array_equal(step, expected)
    assert left is not None
    assert large_left is not None
    assert np.array_equal(large_left, left * of_g)


def test_residual_that_overflows_is_an_error() -> None:
    most = np.finfo(np.float64).max
    A = np.array([[2.0, 0.0, -1.0], [0.0, 2.0, -1.0], [-1.0, -1.0, 2.0]])  # all spins want to be equal
    g = np.array([[most, most, -0.6 * most]])
    assert native_step(g, A, scale=1e308)[0].tolist() == [[1, 1, 1]]
    with pytest.raises(ValueError, match="next residual overflows"):
        native_step(g, A, keep_residual=True, scale=1e308)


@pytest.mark.parametrize(("where", "name"), [("g", "gradient"), ("A", "gram")])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_numbers_that_are_not_finite_are_named(where: str, name: str, bad: float, dtype: Any) -> None:
    A, g = gram_and_gradient(dtype)
    (g if where == "g" else A)[1, 1] = bad
    with pytest.raises(ValueError, match=name):
        native_step(g, A, keep_residual=True)
    G, left, finite = _core.project_rows(
        A, g, keep_residual=True, scale="relative", kappa=1.0, domain="spin", num_threads=2
    )
    assert not finite
    assert not G.any()
    assert left is not None
    assert not left.any()


@pytest.mark.parametrize(
    ("V", "X", "message"),
    [
        (V0, X0 * 1e200, "X must be smaller: the gram matrix"),
        (V0 * 1e200, X0 * 1e120, "V and X must be smaller: the gradient"),
    ],
)
def test_products_that_overflow_name_the_argument(V: Any, X: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        qpsbgd.project(V, X)


@pytest.mark.parametrize("method", ["exact", "descent", "anneal", "tabu"])
@pytest.mark.parametrize("sparse", [False, True])
def test_energies_that_overflow_are_an_error(method: str, sparse: bool) -> None:
    J = np.full((6, 6), 1e307)
    with pytest.raises(ValueError, match="energy overflows float64"):
        qpsbgd.solve_ising(
            np.full(6, 1.7e308), scipy.sparse.csr_array(J) if sparse else J, method=method, seed=0
        )


def unaligned(array: Any) -> Any:
    """Return a copy whose numbers lie between the places that the processor likes."""
    memory = np.empty(array.nbytes + 1, dtype=np.uint8)
    view = memory[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    assert not view.flags.aligned
    assert view.flags.c_contiguous
    return view


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_unaligned_arrays_are_read(dtype: Any) -> None:
    A, g = gram_and_gradient(dtype)
    options: Any = {"scale": "relative", "kappa": 1.0, "domain": "spin", "num_threads": 1}
    expected = _core.project_rows(A, g, residual=g, keep_residual=True, **options)
    found = _core.project_rows(
        unaligned(A), unaligned(g), residual=unaligned(g), keep_residual=True, **options
    )
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    X, V = X0.astype(dtype), V0.astype(dtype)
    assert np.array_equal(_core.gram(unaligned(X), 1.0, 1), _core.gram(X, 1.0, 1))
    assert np.array_equal(
        _core.weight_gradient(unaligned(X), unaligned(V), 1.0, 1), _core.weight_gradient(X, V, 1.0, 1)
    )
    J = A - np.diag(np.diag(A))
    h, offset = np.zeros((1, 24)), np.zeros(1)
    chosen = _core.SolveOptions(method="anneal", num_reads=2, num_sweeps=5, seed=1)
    dense = _core.solve_dense(h, J, offset, 1.0, None, chosen)
    again = _core.solve_dense(unaligned(h), unaligned(J), unaligned(offset), 1.0, None, chosen)
    assert np.array_equal(dense[0], again[0])
    assert np.array_equal(dense[1], again[1])


def test_sparse_unaligned_arrays_are_read() -> None:
    J = scipy.sparse.random_array((50, 50), density=0.1, random_state=1).tocsr()
    parts = [J.indptr.astype(np.int64), J.indices.astype(np.int32), J.data]
    h, offset = np.zeros((1, 50)), np.zeros(1)
    chosen = _core.SolveOptions(method="anneal", num_sweeps=5, seed=1)
    one = _core.solve_sparse(h, *parts, offset, 1.0, None, chosen)
    two = _core.solve_sparse(h, *map(unaligned, parts), offset, 1.0, None, chosen)
    assert np.array_equal(one[0], two[0])
    assert np.array_equal(one[1], two[1])


def test_unaligned_arrays_are_not_written_to() -> None:
    W = unaligned(np.zeros(4))
    with pytest.raises(ValueError, match="W must be aligned"):
        _core.move_weights(W, np.ones(4, dtype=np.int8), 0.1, 1.0, 1)
    J = unaligned(np.zeros((2, 2)))
    ends = np.array([0], dtype=np.int32), np.array([1], dtype=np.int32)
    with pytest.raises(ValueError, match="J must be aligned"):
        _core.fill_couplings(J, *ends, np.ones(1))


def test_solve_options_are_keywords() -> None:
    with pytest.raises(TypeError):
        _core.SolveOptions("anneal")  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="method must be"):
        _core.SolveOptions(method="guess")
    with pytest.raises(ValueError, match="num_reads"):
        _core.SolveOptions(num_reads=0)


def test_sparse_indices_may_change_during_a_solve() -> None:
    """The interrupt function runs while the solver works on its own copy."""
    J = scipy.sparse.random_array((400, 400), density=0.05, random_state=1).tocsr()
    indptr, indices = J.indptr.astype(np.int64), J.indices.astype(np.int32)
    calls: list[int] = []

    def spoil() -> bool:
        calls.append(1)
        indices[...] = 2**30
        indptr[...] = 2**40
        return False

    arguments = np.zeros((1, 400)), indptr, indices, J.data, np.zeros(1), 1.0, None
    options: Any = {"method": "anneal", "num_reads": 40, "num_sweeps": 400, "seed": 3}
    expected = _core.solve_sparse(*arguments, _core.SolveOptions(**options))
    found = _core.solve_sparse(*arguments, _core.SolveOptions(**options, interrupt_function=spoil))
    assert calls
    assert np.array_equal(found[0], expected[0])
    assert np.array_equal(found[1], expected[1])


def test_reads_that_were_left_out_do_not_come_back() -> None:
    h, J, offset = np.zeros((1, 300)), np.ascontiguousarray(RNG.normal(size=(300, 300))), np.zeros(1)
    options = _core.SolveOptions(
        method="tabu", num_reads=400, num_sweeps=200, interrupt_function=lambda: True
    )
    samples, energies, info = _core.solve_dense(h, J, offset, 1.0, None, options)
    assert 1 <= info["num_reads"] < 400
    assert samples.shape == (1, info["num_reads"], 300)
    assert energies.shape == (1, info["num_reads"])
    assert np.isfinite(energies).all()
    assert np.array_equal(np.abs(samples), np.ones_like(samples))


def run_script(script: str) -> None:
    """Run a script in an interpreter of its own. It forks: the package takes seconds to import."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
@pytest.mark.parametrize("threads", [1, 2])
def test_interpreter_ends_while_daemon_threads_solve(threads: int) -> None:
    """Threads that ask for the GIL during the end sleep, whether they come back or only check for signals."""
    run_script(f"""
        import os, threading, time
        import numpy as np
        import qpsbgd

        J = np.random.default_rng(0).normal(size=(200, 200))

        def work(sweeps):
            while True:
                qpsbgd.solve_ising(np.zeros(200), J, num_reads=8, num_sweeps=sweeps, num_threads={threads})

        for repetition in range(12):
            child = os.fork()
            if child == 0:
                for sweeps in (20, 100000):
                    threading.Thread(target=work, args=(sweeps,), daemon=True).start()
                time.sleep(0.03)
                break
            assert os.waitpid(child, 0)[1] == 0, "the interpreter did not end well"
    """)


@pytest.mark.skipif(sys.platform != "linux", reason="forks and limits the address space")
def test_memory_that_is_missing_is_a_memory_error_on_every_thread() -> None:
    run_script("""
        import os, resource
        import numpy as np
        import qpsbgd

        rng = np.random.default_rng(0)
        J, h = rng.normal(size=(2, 400, 400)).astype(np.float32), np.zeros((2, 400))

        def solve(threads):
            qpsbgd.solve_ising(
                h, J, method="anneal", num_reads=3, num_sweeps=3, num_threads=threads, seed=0
            )

        solve(1)
        outcomes = []
        for threads in (2, 16):
            for kib in (0, 100, 256, 600, 1000, 2000, 4000, 8400, 9000, 10000, 16800, 20000, 60000):
                child = os.fork()
                if child == 0:
                    pages = int(open("/proc/self/statm").read().split()[0])
                    limit = pages * os.sysconf("SC_PAGESIZE") + 1024 * kib
                    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
                    try:
                        solve(threads)
                    except MemoryError:
                        os._exit(1)
                    os._exit(0)
                outcomes.append(os.waitpid(child, 0)[1])
        assert set(outcomes) <= {0, 1 << 8}, outcomes
        assert 1 << 8 in outcomes
    """)


def test_num_threads_may_be_any_number() -> None:
    h, J = np.zeros((50, 30)), np.ones((30, 30))
    expected = qpsbgd.solve_ising(h, J, method="tabu", seed=1, num_threads=1)
    found = qpsbgd.solve_ising(h, J, method="tabu", seed=1, num_threads=2**62)
    assert np.array_equal(found.samples, expected.samples)
