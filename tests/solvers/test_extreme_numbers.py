"""Coefficients near the ends of float64, or far apart in size: right answers, in bounded time."""

import threading
import time

import numpy as np
import pytest
import scipy.sparse

from oracles import all_spins
from qpsbgd import NativeSampler, solve_ising, solve_qubo
from qpsbgd.problem import ising_problem


def lowest(h, J):
    return ising_problem(h, J).energies(all_spins(len(h))[None]).min()


def test_exact_search_of_huge_coefficients_is_right():
    solution = solve_ising([2e305, -5e305], [[0.0, 9e305], [0.0, 0.0]], method="exact")
    assert solution.info["proven_optimal"]
    assert solution.best_energies == pytest.approx([-16e305])


# 5e-324 is the smallest number of float64.
@pytest.mark.parametrize("scale", [5e-324, 1e-321, 1e-315, 1e-310, 1e-300, 1e-200, 1.0, 1e200, 1e290, 1e304])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("n", [3, 11])
def test_exact_search_is_right_at_every_scale(scale, sparse, n):
    rng = np.random.default_rng(n)
    for _ in range(5):
        h, J = rng.integers(-9, 10, n) * scale, rng.integers(-9, 10, (n, n)) * scale
        solution = solve_ising(h, scipy.sparse.csr_array(J) if sparse else J, method="exact", seed=0)
        assert solution.info["proven_optimal"]
        np.testing.assert_allclose(solution.best_energies, lowest(h, J), rtol=1e-12, atol=0)


def test_exact_search_over_all_of_float64_in_one_problem():
    h = np.array([1e306, 1e-300, -3e-320, 1e100, 0.5, -1e-5])
    solution = solve_ising(h, np.zeros((6, 6)), method="exact")
    np.testing.assert_array_equal(np.sign(solution.best_samples[0][:1]), [-1])
    assert solution.best_energies == pytest.approx([-1e306])


def dominated(n=24):
    """One field so large that rounding to int16 leaves every other coefficient undecided."""
    rng = np.random.default_rng(0)
    h, J = rng.normal(size=n), rng.normal(size=(n, n))
    h[0] = 1e6
    return h, J


@pytest.mark.parametrize("n", [24])
def test_time_limit_of_exact_search_holds_whatever_the_coefficients(n):
    h, J = dominated(n)
    begin = time.perf_counter()
    solution = solve_ising(h, J, method="exact", time_limit=0.05, num_threads=1)
    assert time.perf_counter() - begin < 0.5
    assert not solution.info["proven_optimal"]
    np.testing.assert_allclose(solution.energies, ising_problem(h, J).energies(solution.samples))


def test_exact_search_asks_every_few_milliseconds_whatever_the_coefficients():
    h, J = dominated()
    asked = []

    def ask():
        asked.append(time.perf_counter())
        return len(asked) == 10

    bqm_h, bqm_J = dict(enumerate(h)), {(i, j): J[i, j] for i in range(24) for j in range(i)}
    NativeSampler().sample_ising(bqm_h, bqm_J, method="exact", interrupt_function=ask)
    assert len(asked) == 10
    assert np.median(np.diff(asked)) < 0.05


def spans(decades, n=127, b=5):
    """Couplings whose sizes spread over so many orders of magnitude, as products of two spins' own sizes."""
    rng = np.random.default_rng(0)
    size = 10.0 ** rng.uniform(-decades / 4, decades / 4, size=(b, n))
    return rng.normal(size=(b, n, n)) * size[:, :, None] * size[:, None, :]


@pytest.mark.parametrize("method", ["anneal", "tabu", "descent"])
@pytest.mark.parametrize("decades", [60, 120, 600])
def test_time_does_not_depend_on_how_far_apart_couplings_are(method, decades):
    """Numbers below float32's normal ones would slow every addition down a hundred times."""
    options = {"num_reads": 16, "seed": 1, "method": method, "num_threads": 1}
    options["num_sweeps"] = None if method == "descent" else 100

    def seconds(J):
        # Processor time of this thread, the best of three: other work on the machine does not count.
        times = []
        for _ in range(3):
            begin = time.thread_time()
            solve_ising(np.zeros(127), J, **options)
            times.append(time.thread_time() - begin)
        return min(times)

    # Both are searched in float32.
    assert seconds(spans(decades)) < 4 * seconds(spans(20)) + 0.02


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("decades", [20, 60, 300, 600])
@pytest.mark.parametrize("method", ["anneal", "tabu", "descent"])
def test_energies_are_right_however_far_apart_couplings_are(method, decades, sparse):
    J, h = spans(decades, n=40, b=1)[0], np.zeros(40)
    given = scipy.sparse.csr_array(J) if sparse else J
    solution = solve_ising(h, given, method=method, num_reads=3, num_sweeps=20, seed=1)
    expected = ising_problem(h, J).energies(solution.samples)
    np.testing.assert_allclose(solution.energies, expected, rtol=0, atol=1e-12 * np.abs(J).sum())


@pytest.mark.parametrize("value", [10**5, 2**62, 2**70])
def test_any_number_of_threads_gives_the_same_answer(value):
    h, J = np.zeros((50, 30)), np.ones((30, 30))
    expected = solve_ising(h, J, method="tabu", num_sweeps=5, seed=1, num_threads=1)
    found = solve_ising(h, J, method="tabu", num_sweeps=5, seed=1, num_threads=value)
    np.testing.assert_array_equal(found.samples, expected.samples)
    assert threading.active_count() >= 1


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"num_sweeps": 2**63}, "num_sweeps"),
        ({"num_sweeps": 10**400}, "num_sweeps"),
        ({"time_limit": 10**400}, "time_limit"),
        ({"beta_range": (1, 10**400)}, "beta_range"),
        ({"seed": 2**64}, "seed"),
    ],
)
def test_options_that_no_machine_counts_are_named(options, name):
    with pytest.raises(ValueError, match=name):
        solve_qubo(np.eye(3), **options)
