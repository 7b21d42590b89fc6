"""Sparse couplings: small integers as 64 replicas side by side, anything else in float32."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
import scipy.sparse

from qpsbgd import solve_ising, solve_qubo
from qpsbgd.problem import ising_problem

REPLICAS = 4
"""Reads from which replicas are used."""


def torus(rows, columns, rng, sizes=(-1.0, 1.0)):
    """Couplings between neighbours on a periodic square lattice."""
    index = np.arange(rows * columns).reshape(rows, columns)
    start = np.concatenate([index.ravel(), index.ravel()])
    end = np.concatenate([np.roll(index, -1, 0).ravel(), np.roll(index, -1, 1).ravel()])
    return scipy.sparse.csr_matrix((rng.choice(sizes, len(start)), (start, end)), shape=(index.size,) * 2)


def random_graph(n, degree, rng, draw):
    """Couplings drawn by `draw(count)` between random pairs of spins."""
    pairs = rng.integers(0, n, (2, n * degree // 2))
    return scipy.sparse.coo_matrix((draw(pairs.shape[1]), pairs), shape=(n, n)).tocsr()


def integers(rng):
    return lambda count: rng.integers(-2, 3, count).astype(float)


def test_energies_are_those_of_the_samples_which_are_local_minima():
    rng = np.random.default_rng(0)
    h = rng.integers(-2, 3, (3, 150)).astype(float)
    for J, fields in (
        (torus(10, 15, rng), np.zeros((1, 150))),
        (random_graph(150, 6, rng, integers(rng)), h),
    ):
        problem = ising_problem(fields, J)
        solution = solve_ising(fields, J, method="anneal", num_reads=30, num_sweeps=5, seed=1)
        np.testing.assert_allclose(solution.energies, problem.energies(solution.samples), atol=1e-9)
        assert (np.diff(solution.energies, axis=1) >= 0).all()
        for flipped in range(0, 150, 7):
            spins = solution.samples.copy()
            spins[..., flipped] *= -1
            assert (problem.energies(spins) >= solution.energies - 1e-9).all()


def test_reaches_the_optimum_of_a_planted_spin_glass():
    rng = np.random.default_rng(1)
    planted = rng.choice([-1, 1], 900)
    J = torus(30, 30, rng, sizes=(-1.0,)).multiply(np.outer(planted, planted)).tocsr()
    solution = solve_ising(np.zeros(900), J, num_reads=64, num_sweeps=300, seed=0)
    assert solution.best_energies[0] == -1800.0
    np.testing.assert_array_equal(np.abs(solution.best_samples[0] @ planted), 900)


@pytest.mark.parametrize("kind", ["torus", "integers"])
def test_replicas_reach_the_energies_of_single_reads(kind):
    rng = np.random.default_rng(2)
    if kind == "torus":
        J, h = torus(20, 25, rng), np.zeros(500)
    else:
        J, h = random_graph(500, 8, rng, integers(rng)), rng.integers(-1, 2, 500).astype(float)
    options = {"method": "anneal", "num_sweeps": 60, "beta_range": (0.2, 2.0)}
    replicas = solve_ising(h, J, num_reads=192, seed=3, **options).energies[0]
    few = REPLICAS - 1
    single = np.concatenate(
        [solve_ising(h, J, num_reads=few, seed=seed, **options).energies[0] for seed in range(192 // few)]
    )
    noise = np.sqrt(replicas.var() / len(replicas) + single.var() / len(single))
    assert abs(replicas.mean() - single.mean()) < 4.0 * noise


@pytest.mark.parametrize("reads", [1, REPLICAS, 40, 64, 100])
def test_threads_and_splits_decide_nothing(reads):
    rng = np.random.default_rng(4)
    J = random_graph(80, 5, rng, integers(rng))
    h = rng.integers(-2, 3, (9, 80)).astype(float)
    options = {"method": "anneal", "num_reads": reads, "num_sweeps": 10, "seed": 5}
    whole = solve_ising(h, J, num_threads=1, **options)
    threaded = solve_ising(h, J, num_threads=3, **options)
    np.testing.assert_array_equal(threaded.samples, whole.samples)
    np.testing.assert_array_equal(threaded.energies, whole.energies)
    assert threaded.info["sweeps"] == whole.info["sweeps"]


def test_more_reads_include_the_fewer():
    rng = np.random.default_rng(5)
    J = torus(12, 12, rng)
    options = {"method": "anneal", "num_sweeps": 20, "seed": 6}
    few = solve_ising(np.zeros(144), J, num_reads=10, **options)
    many = solve_ising(np.zeros(144), J, num_reads=90, **options)
    assert {row.tobytes() for row in few.samples[0]} <= {row.tobytes() for row in many.samples[0]}


INSTRUCTION_SETS = """
import sys
import numpy as np
import scipy.sparse
from qpsbgd import solve_ising
rng = np.random.default_rng(0)
pairs = rng.integers(0, 200, (2, 700))
for values in (rng.choice([-1.0, 1.0], 700), rng.integers(-3, 4, 700) / 4, rng.normal(size=700)):
    J = scipy.sparse.coo_matrix((values, pairs), shape=(200, 200))
    solution = solve_ising(np.zeros((3, 200)), J, method="anneal", num_reads=30, num_sweeps=20, seed=1)
    sys.stdout.buffer.write(solution.samples.tobytes() + solution.energies.tobytes())
"""


def run_with(instruction_set):
    environment = {**os.environ, "QPSBGD_ISA": instruction_set}
    return subprocess.run(
        [sys.executable, "-c", INSTRUCTION_SETS],
        capture_output=True,
        env=environment,
        check=False,
        timeout=120,
    )


def test_every_instruction_set_gives_the_same_numbers():
    expected = run_with("")
    assert expected.returncode == 0
    assert len(expected.stdout) > 0
    compared = 0
    for name in ("scalar", "avx2", "avx512", "amx", "neon"):
        answer = run_with(name)
        if b"but this machine has" in answer.stderr:
            continue
        assert answer.stdout == expected.stdout, name
        compared += 1
    assert compared


def test_initial_states_are_not_forgotten():
    rng = np.random.default_rng(6)
    J = torus(10, 10, rng)
    optimum = solve_ising(np.zeros(100), J, num_reads=64, num_sweeps=500, seed=0)
    hot = solve_ising(
        np.zeros(100),
        J,
        method="anneal",
        beta_range=(1e-6, 1e-6),
        num_sweeps=40,
        num_reads=8,
        initial_states=optimum.best_samples,
        seed=1,
    )
    assert (hot.energies == optimum.best_energies[0]).all()


def test_time_limit_fills_idle_lanes_and_returns_the_best():
    rng = np.random.default_rng(7)
    J = torus(20, 20, rng)
    h = np.zeros((2, 400))
    for _ in range(5):  # where other programs take the time, the limit leaves the second read out
        start = time.monotonic()
        solution = solve_ising(h, J, num_reads=2, time_limit=0.3, seed=0)
        elapsed = time.monotonic() - start
        if solution.info["reads_left_out"] == 0:
            break
    assert 0.2 < elapsed < 1.0
    assert solution.samples.shape == (2, 2, 400)
    assert (np.diff(solution.energies, axis=1) >= 0).all()
    single = solve_ising(h, J, num_reads=2, num_sweeps=500, seed=0)
    assert (solution.best_energies <= single.best_energies).all()


def least_torus_energy(J, rows, columns):
    """By dynamic programming over rows: exact, for every state of the first row that begins with +1."""
    J = (J + J.T).toarray()
    site = lambda row, column: row % rows * columns + column % columns  # noqa: E731
    states = np.arange(2**columns)
    spin = 1 - 2 * (states[:, None] >> np.arange(columns) & 1)

    def along(row):
        return sum(
            J[site(row, c), site(row, c + 1)] * spin[:, c] * spin[:, (c + 1) % columns]
            for c in range(columns)
        )

    first = states[: 2 ** (columns - 1)]  # the last spin up: the negative of every state is as good
    best = np.full((len(first), len(states)), np.inf)
    best[first, first] = 0.0
    for row in range(rows):
        best += along(row)
        for column in range(columns):
            split = best.reshape(len(first), -1, 2, 2**column)
            bond = J[site(row, column), site(row + 1, column)]
            up = np.minimum(split[:, :, 0] + bond, split[:, :, 1] - bond)
            down = np.minimum(split[:, :, 0] - bond, split[:, :, 1] + bond)
            best = np.stack([up, down], axis=2).reshape(len(first), -1)
    return best[first, first].min()


@pytest.mark.parametrize("seed", range(3))
def test_a_short_limit_reaches_the_ground_state_of_a_torus(seed):
    rows, columns = 40, 8
    J = torus(rows, columns, np.random.default_rng(20 + seed))
    solution = solve_ising(np.zeros(rows * columns), J, time_limit=0.3, seed=seed, num_threads=1)
    assert solution.best_energies[0] == least_torus_energy(J, rows, columns)


@pytest.mark.parametrize("num_threads", [1, 2])
def test_a_batch_with_a_time_limit_returns_local_minima_of_each_problem(num_threads):
    rng = np.random.default_rng(30)
    J = random_graph(300, 5, rng, integers(rng))
    h = rng.integers(-2, 3, (5, 300)).astype(float)
    problem = ising_problem(h, J)
    solution = solve_ising(h, J, num_reads=3, time_limit=0.2, seed=1, num_threads=num_threads)
    np.testing.assert_allclose(solution.energies, problem.energies(solution.samples), atol=1e-9)
    for flipped in range(300):
        spins = solution.samples.copy()
        spins[..., flipped] *= -1
        assert (problem.energies(spins) >= solution.energies - 1e-9).all()


def test_initial_states_are_never_lost_to_a_time_limit():
    rng = np.random.default_rng(31)
    J = torus(40, 40, rng)
    best = solve_ising(np.zeros(1600), J, time_limit=0.5, seed=0)
    again = solve_ising(np.zeros(1600), J, time_limit=0.002, seed=1, initial_states=best.best_samples)
    assert again.best_energies[0] <= best.best_energies[0]


def test_a_hub_of_any_degree_is_served_within_a_time_limit():
    rng = np.random.default_rng(32)
    n = 400
    spokes = scipy.sparse.coo_matrix(
        (rng.choice([-1.0, 1.0], n - 1), (np.zeros(n - 1, int), np.arange(1, n))), (n, n)
    )
    J = (random_graph(n, 6, rng, lambda count: rng.choice([-1.0, 1.0], count)) + spokes).tocsr()
    problem = ising_problem(np.zeros((1, n)), J)
    reference = solve_ising(np.zeros(n), J, num_reads=64, num_sweeps=3000, seed=0)
    limited = solve_ising(np.zeros(n), J, num_reads=8, time_limit=0.3, seed=0)
    assert limited.best_energies[0] <= reference.best_energies[0]
    np.testing.assert_allclose(limited.energies, problem.energies(limited.samples), atol=1e-9)
    for sign in (-1, 1):
        start = sign * limited.best_samples
        again = solve_ising(np.zeros(n), J, time_limit=0.001, seed=1, initial_states=start)
        assert again.best_energies[0] <= limited.best_energies[0]


def test_sweeps_are_counted_for_every_replica():
    rng = np.random.default_rng(8)
    J = torus(20, 20, rng)
    options = {"method": "anneal", "num_sweeps": 200, "beta_range": (0.2, 2.0), "seed": 0}
    sweeps = solve_ising(np.zeros(400), J, num_reads=10, **options).info["sweeps"]
    assert 2000 < sweeps < 2300  # a few greedy passes at the end


def test_quarters_of_a_qubo_are_small_integers_too():
    rng = np.random.default_rng(9)
    Q = random_graph(60, 5, rng, integers(rng))
    dense = solve_qubo(Q.toarray(), num_reads=40, num_sweeps=500, seed=0)
    sparse = solve_qubo(Q, num_reads=40, num_sweeps=500, seed=0)
    assert sparse.best_energies[0] == dense.best_energies[0]


@pytest.mark.parametrize("reads", [1, REPLICAS])
@pytest.mark.parametrize("kind", ["signs", "reals"])
def test_a_million_spins(kind, reads):
    rng = np.random.default_rng(10)
    n = 1_000_000
    J = torus(1000, 1000, rng)
    if kind == "reals":
        J.data = rng.normal(size=J.nnz)
    h = np.zeros(n)
    h[0] = 1.0
    solution = solve_ising(h, J, method="anneal", num_reads=reads, num_sweeps=3, seed=0)
    s = solution.best_samples[0].astype(np.float64)
    assert solution.best_energies[0] == pytest.approx(s @ (J @ s) + s[0])
    assert solution.best_energies[0] < -1.0 * n
