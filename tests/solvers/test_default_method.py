"""What ``method="auto"`` stands for."""

import numpy as np
import pytest
import scipy.sparse

from qpsbgd import solve_ising, solve_qubo


def method_of(h, J, **options):
    return solve_ising(h, J, seed=0, num_sweeps=40, **options).info["method"]


def glass(n, degree, seed=0):
    random = np.random.default_rng(seed)
    return np.triu(random.random((n, n)) < degree / (n - 1), 1) * random.normal(size=(n, n))


def test_problems_that_fit_are_proven():
    assert method_of(np.zeros(20), glass(20, 19)) == "exact"


def test_a_layer_problem_is_searched_by_tabu():
    random = np.random.default_rng(0)
    X = random.normal(size=(64, 128))
    V = random.normal(size=(8, 128)) @ X.T
    assert method_of(-2 * V @ X, X.T @ X) == "tabu"


@pytest.mark.parametrize("n", [50, 400])
def test_a_dense_qubo_is_searched_by_tabu(n):
    Q = np.triu(np.random.default_rng(0).integers(-50, 51, size=(n, n)))
    assert solve_qubo(Q, seed=0, num_sweeps=40).info["method"] == "tabu"


def test_few_couplings_a_spin_are_annealed_in_any_form():
    J = glass(200, 4)
    assert method_of(np.zeros(200), J) == "anneal"
    assert method_of(np.zeros(200), np.tril(J.T)) == "anneal"
    assert method_of(np.zeros(200), scipy.sparse.csr_matrix(J)) == "anneal"


def test_couplings_that_fall_with_the_distance_count_as_few():
    place = np.arange(100)
    distance = np.abs(place[:, None] - place) + np.eye(100)
    J = np.triu(np.random.default_rng(0).normal(size=(100, 100)) / distance**3, 1)
    assert method_of(np.zeros(100), J) == "anneal"


def test_a_large_glass_is_annealed_unless_fields_hold_its_spins():
    J = glass(400, 399)
    assert method_of(np.zeros(400), J) == "anneal"
    assert method_of(np.full(400, np.sqrt(400)), J) == "tabu"


def test_temperatures_ask_for_annealing():
    J = glass(100, 99)
    assert method_of(np.zeros(100), J) == "tabu"
    assert method_of(np.zeros(100), J, beta_range=(0.1, 3.0)) == "anneal"


@pytest.mark.parametrize("options", [{}, {"num_threads": 2}, {"method": "auto", "num_reads": 3}])
def test_a_batch_of_both_kinds_answers_as_each_problem_alone(options):
    kinds = [3, 59, 59, 3, 59]
    J = np.stack([glass(60, degree, seed) for seed, degree in enumerate(kinds)])
    h = np.zeros((5, 60))
    together = solve_ising(h, J, seed=5, num_sweeps=3, **options)
    stacked = [solve_ising(h[:split], J[:split], seed=5, num_sweeps=3, **options) for split in (1, 3)]
    for part in stacked:
        assert np.array_equal(part.samples, together.samples[: len(part.samples)])
        assert np.array_equal(part.energies, together.energies[: len(part.energies)])
    starts = together.samples[:, : options.get("num_reads", 1)]
    continued = solve_ising(h, J, seed=5, num_sweeps=3, initial_states=starts, **options)
    assert (continued.best_energies <= together.best_energies + 1e-9).all()


def test_a_batch_of_both_kinds_shares_the_time():
    J = np.stack([glass(60, degree) for degree in (3, 59, 3, 59)])
    solution = solve_ising(np.zeros((4, 60)), J, seed=0, time_limit=0.2, num_threads=1)
    taken = sum(solution.info["timing"].values()) / 1e9
    assert 0.1 < taken < 0.4
