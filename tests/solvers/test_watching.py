"""Targets, traces, progress functions and the best different states of the native solver."""

import itertools
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import dimod
import numpy as np
import pytest
import scipy.sparse

from oracles import all_spins
from qpsbgd import NativeSampler, solve_ising, solve_qubo
from qpsbgd.problem import ising_problem
from same import same

METHODS = ["descent", "anneal", "tabu"]


def torus(side=20, seed=0):
    """A spin glass of couplings -1 and +1 on a torus: 64 replicas serve it."""
    rng = np.random.default_rng(seed)
    at = np.arange(side * side).reshape(side, side)
    ends = [np.roll(at, -1, axis).ravel() for axis in (0, 1)]
    rows, columns = np.concatenate([at.ravel()] * 2), np.concatenate(ends)
    return scipy.sparse.csr_matrix(
        (rng.choice([-1.0, 1.0], len(rows)), (rows, columns)), shape=(side * side,) * 2
    )


def instance(kind, n=60):
    rng = np.random.default_rng(3)
    if kind == "torus":
        return np.zeros(400), torus()
    if kind == "sparse":
        return rng.normal(size=400), scipy.sparse.csr_matrix(torus().multiply(rng.normal(size=(400, 400))))
    J = np.triu(rng.normal(size=(n, n)), 1)
    if kind == "wide":  # int16 has too few digits for it
        J *= np.logspace(-6, 3, n)[:, None]
    return rng.normal(size=n), J


KINDS = ["dense", "wide", "torus", "sparse"]


@pytest.mark.parametrize("reads", [1, 40])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_search_stops_at_the_target_and_answers_with_it(kind, method, reads):
    h, J = instance(kind)
    found = solve_ising(h, J, method=method, num_reads=reads, num_sweeps=50, seed=1)
    target = float(found.energies[0, -1])
    began = time.perf_counter()
    answer = solve_ising(
        h, J, method=method, num_reads=reads, time_limit=60.0, target_energy=target, seed=1, num_sweeps=10**6
    )
    assert time.perf_counter() - began < 30
    assert answer.best_energies[0] <= target + 1e-12 * abs(target)
    exact = ising_problem(h, J).energies(answer.samples)
    np.testing.assert_allclose(answer.energies, exact, rtol=1e-12)
    trace = answer.info["trace"][0]
    assert trace[-1][1] == answer.best_energies[0]
    for (earlier, higher), (later, lower) in itertools.pairwise(trace):
        assert earlier <= later
        assert higher > lower
    json.dumps(answer.info["trace"])


def test_target_that_is_never_reached_ends_with_the_sweeps():
    h, J = instance("dense")
    answer = solve_ising(h, J, method="anneal", num_sweeps=20, target_energy=-1e9, num_reads=3, seed=0)
    free = solve_ising(h, J, method="anneal", num_sweeps=20, num_reads=3, seed=0)
    assert answer.best_energies[0] <= free.best_energies[0]
    assert answer.samples.shape == free.samples.shape


def test_every_problem_of_a_batch_reaches_its_own_target():
    rng = np.random.default_rng(0)
    h, J = rng.normal(size=(5, 50)), np.triu(rng.normal(size=(50, 50)), 1)
    targets = solve_ising(h, J, num_sweeps=100, num_reads=4, seed=0).best_energies
    answer = solve_ising(h, J, target_energy=targets, num_sweeps=10**5, num_reads=200, seed=3)
    assert np.all(answer.best_energies <= targets + 1e-9)
    assert [trace[-1][1] for trace in answer.info["trace"]] == answer.best_energies.tolist()
    with ThreadPoolExecutor(2) as executor:
        parts = solve_ising(
            h, J, target_energy=targets, num_sweeps=10**5, num_reads=200, seed=3, executor=executor
        )
    assert np.all(parts.best_energies <= targets + 1e-9)
    assert len(parts.info["trace"]) == 5


@pytest.mark.parametrize("kind", KINDS)
def test_watching_changes_no_answer_of_a_fixed_seed(kind):
    h, J = instance(kind)
    seen = []
    plain, watched = (
        solve_ising(h, J, num_reads=5, num_sweeps=30, seed=2, progress=progress)
        for progress in (None, lambda *found: seen.append(found))
    )
    np.testing.assert_array_equal(plain.samples, watched.samples)
    assert seen[-1][1] == watched.best_energies[0]


def test_progress_is_told_in_this_thread_at_most_ten_times_a_second():
    h, J = instance("torus")
    seen = []
    answer = solve_ising(h, J, time_limit=0.65, seed=0, progress=lambda *found: seen.append(found))
    seconds, energies = zip(*seen, strict=True)
    assert 3 <= len(seen) <= 8
    assert list(seconds) == sorted(seconds)
    assert list(energies) == sorted(energies, reverse=True)
    assert energies[-1] == answer.best_energies[0]


def test_progress_of_a_batch_gets_an_array():
    seen = []
    answer = solve_ising(np.eye(3), np.zeros((3, 3)), progress=lambda *found: seen.append(found), seed=0)
    np.testing.assert_array_equal(seen[-1][1], answer.best_energies)


def test_what_progress_raises_stops_the_solve():
    class Enough(Exception):
        pass

    def stop(seconds, energy):
        raise Enough(energy)

    began = time.perf_counter()
    with pytest.raises(Enough):
        solve_ising(*instance("torus"), time_limit=20.0, progress=stop)
    assert time.perf_counter() - began < 5
    assert solve_ising([1.0], [[0.0]]).best_energies[0] == -1.0


def test_progress_shows_a_bar(capsys):
    solve_ising(*instance("dense"), time_limit=0.3, progress=True, seed=0)
    assert "energy -" in capsys.readouterr().err


def test_missing_tqdm_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ImportError, match=r"needs tqdm: pip install 'qpsbgd\[progress\]'"):
        solve_ising(*instance("dense"), num_sweeps=1, progress=True)


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize(("n", "k"), [(1, 5), (3, 8), (6, 10), (11, 40), (14, 7)])
def test_exact_gives_the_k_best_of_all_states(n, k, dense):
    rng = np.random.default_rng(n)
    h, J = rng.normal(size=(2, n)), rng.normal(size=(n, n))
    answer = solve_ising(h, J if dense else scipy.sparse.csr_matrix(J), num_best=k, seed=0)
    assert answer.info["proven_optimal"]
    rows = min(k, 2**n)
    assert answer.samples.shape == (2, rows, n)
    states = all_spins(n)
    every = ising_problem(h, J).energies(np.stack([states, states]))
    np.testing.assert_allclose(answer.energies, np.sort(every, axis=1)[:, :rows], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(answer.energies, ising_problem(h, J).energies(answer.samples), atol=1e-12)
    for problem in answer.samples:
        assert len(np.unique(problem, axis=0)) == rows


def test_k_best_of_twenty_bits_with_ties():
    Q = np.triu(np.random.default_rng(0).integers(-2, 3, (20, 20)))
    answer = solve_qubo(Q, num_best=100, seed=0)
    bits = ((np.arange(2**20)[:, None] >> np.arange(20)) & 1).astype(np.float64)
    every = np.sort(np.einsum("sn,sn->s", bits @ Q, bits))
    np.testing.assert_array_equal(answer.energies[0], every[:100])
    assert len(np.unique(answer.samples[0], axis=0)) == 100


@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_best_states_are_different_sorted_and_hold_those_of_all_reads(kind, method, timed):
    h, J = instance(kind)
    limits = {"time_limit": 0.2} if timed else {"num_sweeps": 30}
    options = {"method": method, "num_reads": 12, "seed": 4, **limits}
    best = solve_ising(h, J, num_best=10, **options)
    assert best.samples.shape[1] <= 10
    assert np.all(np.diff(best.energies[0]) >= 0)
    assert len(np.unique(best.samples[0], axis=0)) == len(best.samples[0])
    np.testing.assert_allclose(best.energies, ising_problem(h, J).energies(best.samples), rtol=1e-12)
    if not timed:
        reads = solve_ising(h, J, **options)
        found = reads.samples[0], reads.energies[0]
        different = {sample.tobytes(): energy for sample, energy in zip(*found, strict=True)}
        expected = np.sort(list(different.values()))[:10]
        assert best.samples.shape[1] >= len(expected)
        assert np.all(best.energies[0, : len(expected)] <= expected + 1e-9)


def test_sampler_takes_them_too():
    bqm = dimod.generators.gnp_random_bqm(12, 0.5, "BINARY", random_state=1)
    few = NativeSampler().sample(bqm, num_best=6, seed=0)
    np.testing.assert_allclose(few.record.energy, np.sort(dimod.ExactSolver().sample(bqm).record.energy)[:6])
    seen = []
    stopped = NativeSampler().sample(
        bqm, method="anneal", num_sweeps=10**8, target_energy=few.first.energy, seed=0,
        progress=lambda *found: seen.append(found),
    )  # fmt: skip
    assert stopped.first.energy == pytest.approx(few.first.energy, rel=1e-12)
    assert seen[-1][1] == pytest.approx(few.first.energy, rel=1e-12)
    json.dumps(stopped.info)
    assert stopped.info["trace"][-1][1] == seen[-1][1]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"target_energy": "low"}, TypeError, "target_energy"),
        ({"target_energy": np.nan}, ValueError, "target_energy must be finite"),
        ({"target_energy": [1.0, 2.0]}, ValueError, "target_energy has 2 numbers"),
        ({"num_best": 0}, ValueError, "num_best must be at least 1"),
        ({"num_best": 1.5}, TypeError, "num_best must be an integer"),
        ({"progress": 3}, TypeError, "progress must be True"),
    ],
)
def test_bad_arguments_are_named(change, error, message):
    with pytest.raises(error, match=message):
        solve_ising([0.0, 1.0], [[0.0, 1.0], [0.0, 0.0]], **change)


def test_progress_of_a_batch_on_an_executor_comes_part_by_part():
    rng = np.random.default_rng(0)
    h, J = rng.normal(size=(9, 25)), rng.normal(size=(25, 25))
    seen = []
    with ThreadPoolExecutor(2) as executor:
        found = solve_ising(
            h, J, executor=executor, seed=1, progress=lambda *told: seen.append((told[0], told[1].copy()))
        )
    assert len(seen) == 8
    assert [time_ for time_, _ in seen] == sorted(time_ for time_, _ in seen)
    known = [np.isfinite(energies).sum() for _, energies in seen]
    assert known == sorted(known)
    assert np.array_equal(seen[-1][1], found.best_energies)
    assert same(found.samples, solve_ising(h, J, seed=1).samples)
