"""Presolve: what it takes out, what it may claim, and where it stays away."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import dimod
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from oracles import all_spins
from qpsbgd import NativeSampler, solve_ising, solve_qubo
from qpsbgd.problem import ising_problem
from qpsbgd.solvers import NativeSolver


def matrix(n, rows, columns, values):
    return scipy.sparse.csr_matrix((values, (rows, columns)), shape=(n, n))


def random_graph(n, degree, seed, draw=None):
    """Couplings between random pairs, and fields."""
    rng = np.random.default_rng(seed)
    draw = draw or rng.normal
    rows, columns = rng.integers(0, n, (2, int(n * degree / 2)))
    off = rows != columns
    return draw(size=n) * 0.5, matrix(n, rows[off], columns[off], draw(size=off.sum()))


def torus(side, seed=0, draw=None):
    rng = np.random.default_rng(seed)
    at = np.arange(side * side).reshape(side, side)
    ends = np.concatenate([np.roll(at, -1, axis).ravel() for axis in (0, 1)])
    values = rng.choice([-1.0, 1.0], len(ends)) if draw is None else draw(rng, len(ends))
    return matrix(side * side, np.concatenate([at.ravel()] * 2), ends, values)


def random_tree(n, rng):
    parents = (rng.random(n - 1) * np.arange(1, n)).astype(int)
    return parents, np.arange(1, n)


def least_energy_of_tree(h, parents, couplings):
    """By dynamic programming from the leaves: the last spin is a leaf of what is left."""
    best = np.stack([-h, h], axis=1)  # of each subtree, with its root -1 and +1
    for child in range(len(h) - 1, 0, -1):
        parent, w = parents[child - 1], couplings[child - 1]
        for index, spin in enumerate((-1, 1)):
            best[parent, index] += min(best[child, k] + w * spin * s for k, s in enumerate((-1, 1)))
    return best[0].min()


def assert_local_minima(h, J, answer):
    problem = ising_problem(h, J)
    np.testing.assert_allclose(answer.energies, problem.energies(answer.samples), rtol=1e-12, atol=1e-9)
    both = J + J.T
    both.setdiag(0)
    for spins in answer.samples[0].astype(float):
        assert (spins * (problem.h[0] + problem.coupling_scale * (both @ spins))).max() <= 1e-9


numbers = st.one_of(st.integers(-3, 3).map(float), st.floats(-2, 2), st.sampled_from([0.0, 1e-9, 1e9]))


@st.composite
def sparse_problems(draw):
    """Up to eleven spins; entries in both triangles, several times, on the diagonal, and of value 0."""
    n = draw(st.integers(1, 11))
    index = st.integers(0, n - 1)
    entries = draw(st.lists(st.tuples(index, index, numbers), max_size=2 * n))
    h = draw(st.one_of(st.just([0.0] * n), st.lists(numbers, min_size=n, max_size=n)))
    rows, columns, values = zip(*entries, strict=True) if entries else ((), (), ())
    J = scipy.sparse.coo_matrix((np.array(values, dtype=float), (rows, columns)), shape=(n, n))
    return np.array(h), J.tocsr()


@settings(max_examples=400, deadline=None)
@given(sparse_problems(), st.sampled_from(["auto", "anneal", "tabu", "descent"]), st.integers(1, 3))
def test_small_problems_are_solved_and_proven(problem, method, reads):
    h, J = problem
    answer = solve_ising(h, J, presolve=True, method=method, num_reads=reads, seed=0, num_threads=1)
    energies = ising_problem(h, J).energies(all_spins(len(h))[None])
    size = np.abs(h).sum() + np.abs(J.data).sum()
    assert answer.best_energies[0] <= energies.min() + max(1e-12 * size, np.finfo(float).tiny)
    assert answer.samples.shape == (1, reads, len(h))
    removed = answer.info["presolve"]
    if removed is not None:
        assert answer.info["proven_optimal"]
        assert answer.info["method"] == "exact"
        gone = removed["decided"] + removed["degree_1"] + removed["degree_2"]
        assert gone + removed["remaining"] == len(h)
        json.dumps(removed)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1.0, 1.8, 2.4, 3.2]), st.integers(21, 60))
def test_what_is_searched_is_a_local_minimum_and_as_good_as_exact(seed, degree, n):
    h, J = random_graph(n, degree, seed)
    answer = solve_ising(h, J, presolve=True, num_reads=3, seed=1)
    assert_local_minima(h, J, answer)
    plain = solve_ising(h, J, presolve=False, num_reads=30, seed=1)
    assert answer.best_energies[0] <= plain.best_energies[0] + 1e-9


@pytest.mark.parametrize("kind", ["integers", "floats"])
@pytest.mark.parametrize("n", [30, 3000])
def test_trees_are_proven(n, kind):
    rng = np.random.default_rng(n)
    draw = rng.normal if kind == "floats" else (lambda size: rng.integers(-3, 4, size).astype(float))
    parents, children = random_tree(n, rng)
    h, w = draw(size=n), draw(size=n - 1)
    answer = solve_ising(h, matrix(n, parents, children, w), num_reads=4, seed=0)
    assert answer.info["proven_optimal"]
    assert answer.info["method"] == "exact"
    assert answer.info["presolve"]["remaining"] == 0
    np.testing.assert_allclose(answer.energies, least_energy_of_tree(h, parents, w), rtol=1e-12)


@pytest.mark.parametrize("fields", [True, False])
def test_cycles_and_cacti_are_proven(fields):
    """Cycles that share one spin: each must be broken at its weakest coupling where its signs are odd."""
    rng = np.random.default_rng(0)
    rows, columns, values, least = [], [], [], 0.0
    n = 1
    for length in rng.integers(3, 40, 50):
        start = rng.integers(n)
        ring = [start, *range(n, n + length - 1)]
        w = rng.normal(size=length)
        rows += ring
        columns += [*ring[1:], start]
        values += w.tolist()
        frustrated = (w > 0).sum() % 2
        least -= np.abs(w).sum() - 2 * frustrated * np.abs(w).min()
        n += length - 1
    h = rng.normal(size=n) * 0.1 if fields else np.zeros(n)
    answer = solve_ising(h, matrix(n, rows, columns, values), seed=0)
    assert answer.info["proven_optimal"]
    assert answer.info["presolve"]["degree_2"] > 0
    if not fields:
        np.testing.assert_allclose(answer.best_energies, least, rtol=1e-12)


def test_components_of_up_to_twenty_spins_are_exact_and_apart():
    problems = [random_graph(int(n), 7, seed) for seed, n in enumerate(np.linspace(5, 20, 12))]
    h = np.concatenate([fields for fields, _ in problems])
    J = scipy.sparse.block_diag([couplings for _, couplings in problems], format="csr")
    answer = solve_ising(h, J, num_reads=2, seed=0)
    least = sum(
        solve_ising(fields, couplings.toarray(), method="exact").best_energies[0]
        for fields, couplings in problems
    )
    np.testing.assert_allclose(answer.energies, least, rtol=1e-12)
    assert answer.info["proven_optimal"]
    assert answer.info["presolve"]["components"] >= 8


def test_each_read_joins_the_reads_of_the_components():
    blocks = [torus(8, seed, lambda rng, size: rng.normal(size=size)) for seed in range(6)]
    J = scipy.sparse.block_diag(blocks, format="csr")
    h = np.zeros(J.shape[0])
    answer = solve_ising(h, J, num_reads=10, num_sweeps=3, seed=0)
    assert answer.info["presolve"]["components"] == 6
    assert not answer.info["proven_optimal"]
    assert_local_minima(h, J, answer)
    assert len(np.unique(answer.energies)) > 3
    plain = solve_ising(h, J, num_reads=10, num_sweeps=3, seed=0, presolve=False)
    assert answer.best_energies[0] < plain.best_energies[0]  # the best of each, not the best of all at once


ABSENT = {
    "an even lattice": (np.zeros(400), torus(20), {}),
    "a batch": (np.zeros((2, 60)), random_graph(60, 1.5, 0)[1], {}),
    "dense": (*(lambda h, J: (h, J.toarray()))(*random_graph(60, 1.5, 0)), {}),
    "starts": (*random_graph(60, 1.5, 0), {"initial_states": np.ones(60, dtype=np.int8)}),
    "a method": (*random_graph(60, 1.5, 0), {"method": "anneal"}),
    "temperatures": (*random_graph(60, 1.5, 0), {"beta_range": (0.1, 3.0)}),
    "several best": (*random_graph(60, 1.5, 0), {"num_best": 3}),
    "off": (*random_graph(60, 1.5, 0), {"presolve": False}),
    "few spins go": (*random_graph(400, 5.0, 0), {}),
}


@pytest.mark.parametrize("why", ABSENT)
def test_default_stays_away(why):
    h, J, options = ABSENT[why]
    answer = solve_ising(h, J, num_reads=5, num_sweeps=20, seed=3, **options)
    assert answer.info["presolve"] is None
    plain = solve_ising(h, J, num_reads=5, num_sweeps=20, seed=3, **options | {"presolve": False})
    np.testing.assert_array_equal(answer.samples, plain.samples)


def test_default_stays_away_where_the_sampler_has_a_rule_of_its_own():
    bqm = dimod.generators.gnm_random_bqm(100, 90, "SPIN", random_state=0)
    assert NativeSampler().sample(bqm, seed=0).info["presolve"]["remaining"] < 50
    for rule in ({"keep": "last"}, {"randomize_order": True}, {"num_sweeps": 0}):
        assert NativeSampler().sample(bqm, seed=0, **rule).info["presolve"] is None


def test_threads_and_parts_decide_nothing():
    h, J = random_graph(3000, 2.6, 4)
    one, three = (
        solve_ising(h, J, num_reads=6, num_sweeps=20, seed=5, num_threads=threads) for threads in (1, 3)
    )
    assert one.info["presolve"] is not None
    np.testing.assert_array_equal(one.samples, three.samples)
    fields = np.stack([h, -h, 2 * h])
    with ThreadPoolExecutor(3) as executor:
        parts = solve_ising(fields, J, num_sweeps=20, seed=5, executor=executor)
        single = solve_ising(h, J, num_reads=6, num_sweeps=20, seed=5, executor=executor)
    np.testing.assert_array_equal(parts.samples, solve_ising(fields, J, num_sweeps=20, seed=5).samples)
    np.testing.assert_array_equal(single.samples, one.samples)


@pytest.mark.parametrize("reads", [1, 300])
@pytest.mark.parametrize("degree", [1.5, 2.4])
@pytest.mark.parametrize("limit", [0.01, 0.3])
def test_limit_is_kept_and_the_trace_exact(limit, degree, reads):
    h, J = random_graph(50_000, degree, 1)
    seconds = []
    for _ in range(3):  # other programs may take the processor from one
        began = time.perf_counter()
        answer = solve_ising(h, J, num_reads=reads, time_limit=limit, seed=0)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 1.05 * limit + 0.05
    assert answer.info["num_reads"] + answer.info["reads_left_out"] == reads
    trace = answer.info["trace"][0]
    assert trace[-1][1] == answer.best_energies[0]
    assert [energy for _, energy in trace] == sorted((energy for _, energy in trace), reverse=True)
    answer.samples.setflags(write=False)
    assert_local_minima(h, J, type(answer)(answer.samples[:, :2], answer.energies[:, :2], answer.info))


def test_targets_are_reached_and_progress_is_told():
    h, J = random_graph(4000, 2.8, 2)
    target = solve_ising(h, J, num_sweeps=300, seed=0).best_energies[0]
    seen = []
    began = time.perf_counter()
    answer = solve_ising(
        h, J, target_energy=target, time_limit=60.0, seed=1, progress=lambda *found: seen.append(found)
    )
    assert time.perf_counter() - began < 30
    assert answer.info["presolve"] is not None
    assert answer.best_energies[0] <= target + 1e-12 * abs(target)
    assert seen[-1][1] == answer.best_energies[0]
    assert len(answer.info["trace"][0]) > 1


def test_what_progress_raises_ends_the_solve():
    h, J = random_graph(3000, 2.8, 2)

    def stop(seconds, energy):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        solve_ising(h, J, time_limit=30.0, seed=1, progress=stop)


def test_interrupt_function_ends_with_a_local_minimum():
    h, J = random_graph(3000, 2.8, 2)
    began = time.perf_counter()
    answer = NativeSolver(time_limit=30.0, num_reads=4).solve(
        ising_problem(h, J), seed=0, interrupt_function=lambda: time.perf_counter() > began + 0.2
    )
    assert time.perf_counter() - began < 5
    assert answer.info["presolve"] is not None
    assert_local_minima(h, J, answer)


def test_exact_method_needs_small_components_only():
    h, J = random_graph(2000, 1.2, 0)
    answer = solve_ising(h, J, method="exact", presolve=True)
    assert answer.info["proven_optimal"]
    with pytest.raises(ValueError, match=r"at most 24 spins, but presolve leaves a component of \d+"):
        solve_ising(h, random_graph(2000, 3.5, 0)[1], method="exact", presolve=True)
    with pytest.raises(ValueError, match="at most 24 spins"):
        solve_ising(h, J, method="exact")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"J": np.zeros((30, 30))}, "dense"),
        ({"h": np.zeros((2, 30))}, "batch of 2"),
        ({"initial_states": np.ones(30, dtype=np.int8)}, "initial_states"),
        ({"num_best": 2}, "num_best"),
        ({"presolve": "on"}, "'auto', True or False, but is 'on'"),
        ({"presolve": 1}, "'auto', True or False, but is 1"),
        ({"presolve": None}, "'auto', True or False, but is None"),
    ],
)
def test_refusals_name_the_argument(options, message):
    arguments = {"h": np.zeros(30), "J": random_graph(30, 1.0, 0)[1], "presolve": True} | options
    with pytest.raises(ValueError, match=f"presolve must be .*{message}"):
        solve_ising(**arguments)
    with ThreadPoolExecutor(2) as executor, pytest.raises(ValueError, match="presolve must be"):
        solve_ising(**arguments, executor=executor)


@pytest.mark.parametrize("vartype", ["SPIN", "BINARY"])
@pytest.mark.parametrize("seed", range(5))
def test_sampler_agrees_with_dimods_exact_solver(vartype, seed):
    bqm = dimod.generators.gnm_random_bqm(14, 18, vartype, random_state=seed)
    bqm.relabel_variables({v: f"v{v}" for v in bqm.variables})
    bqm.offset = 2.5
    found = NativeSampler().sample(bqm, presolve=True, seed=0)
    assert found.info["presolve"]["remaining"] < 14
    np.testing.assert_allclose(found.first.energy, dimod.ExactSolver().sample(bqm).first.energy, rtol=1e-12)
    np.testing.assert_allclose(found.record.energy, bqm.energies(found), rtol=1e-12)
    with pytest.raises(ValueError, match="presolve must be"):
        NativeSampler().sample(bqm, presolve=True, randomize_order=True)


def test_qubo_of_a_path_is_proven():
    """A largest independent set of a path: minus its size, and 2 for each edge inside."""
    n = 301
    Q = scipy.sparse.diags([-np.ones(n), 2 * np.ones(n - 1)], [0, 1], format="csr")
    answer = solve_qubo(Q, seed=0)
    assert answer.best_energies[0] == -(n + 1) / 2
    assert answer.info["proven_optimal"]


@pytest.mark.parametrize("size", [1e-310, 1e-200, 1e200, 1e300])
def test_numbers_of_any_size(size):
    h, J = random_graph(14, 2.0, 3)
    answer = solve_ising(h * size, J * size, presolve=True, seed=0)
    least = ising_problem(h, J).energies(all_spins(14)[None]).min()
    assert answer.best_energies[0] / size <= least + 1e-9
