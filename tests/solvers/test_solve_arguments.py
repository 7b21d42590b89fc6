"""Arguments of solve_ising and solve_qubo: errors name the argument, what came and what was expected."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse

from qpsbgd import solve_ising, solve_qubo
from qpsbgd.problem import ising_problem
from qpsbgd.solvers import NativeSolver

BAD_ISING = [
    ({"h": [np.nan, 0.0]}, ValueError, r"h of shape \(2,\) has nan"),
    ({"J": [[0.0, np.inf], [0.0, 0.0]]}, ValueError, r"J of shape \(2, 2\) has inf at \(0, 1\)"),
    ({"h": [0.0, 0.0, 0.0]}, ValueError, r"h has shape .*3.* but J is for 2 spins"),
    ({"h": []}, ValueError, r"h has shape \(0,\)"),
    ({"h": np.zeros((0, 2))}, ValueError, r"h has shape \(0, 2\)"),
    ({"h": np.zeros((1, 1, 2))}, ValueError, r"h must have shape \(n,\) or \(b, n\)"),
    ({"h": ["a", "b"]}, TypeError, "h must hold real numbers"),
    ({"h": np.zeros(2, complex)}, TypeError, "h must hold real numbers"),
    ({"h": [[0.0], [0.0, 1.0]]}, ValueError, "h must be a rectangular array"),
    ({"J": np.zeros((2, 3))}, ValueError, r"J must have shape \(n, n\)"),
    ({"J": np.zeros(2)}, ValueError, r"J must have shape \(n, n\)"),
    ({"J": np.zeros((3, 2, 2)), "h": np.zeros((2, 2))}, ValueError, "J has 3 matrices"),
    ({"J": np.array([[object(), 1], [1, 1]])}, TypeError, "J must hold real numbers"),
    ({"J": scipy.sparse.csr_matrix(np.array([[0.0, np.nan], [0.0, 0.0]]))}, ValueError, "J .*nan"),
    ({"J": scipy.sparse.csr_matrix((2, 3))}, ValueError, r"sparse J must have shape \(n, n\)"),
    ({"num_reads": 0}, ValueError, "num_reads must be at least 1, but is 0"),
    ({"num_reads": 1.5}, TypeError, "num_reads must be an integer, but is 1.5"),
    ({"num_reads": True}, TypeError, "num_reads must be an integer"),
    ({"num_sweeps": 0}, ValueError, "num_sweeps must be at least 1"),
    ({"num_threads": 0}, ValueError, "num_threads must be at least 1"),
    ({"method": "magic"}, ValueError, "method must be one of .* 'magic'"),
    ({"seed": -1}, ValueError, "seed must be at least 0"),
    ({"seed": 2**64}, ValueError, r"seed must be below 2\*\*64"),
    ({"seed": 1.0}, TypeError, "seed must be an integer"),
    ({"time_limit": 0.0}, ValueError, "time_limit must be positive"),
    ({"time_limit": np.nan}, ValueError, "time_limit must be finite"),
    ({"time_limit": "1"}, TypeError, "time_limit must be a real number"),
    ({"beta_range": (2.0, 1.0)}, ValueError, "beta_range must be 0 < hot <= cold"),
    ({"beta_range": (1.0,)}, ValueError, "beta_range must be .* two numbers"),
    ({"beta_range": (0.1, np.inf)}, ValueError, "beta_range must be finite"),
    ({"initial_states": [[1, 0]]}, ValueError, "initial_states must hold only -1 and 1"),
    ({"initial_states": [1, 1, 1]}, ValueError, r"initial_states has shape \(3,\), expected \(1, 2\)"),
    ({"h": {"a": 1.0}}, TypeError, r"h must be of variables 0, 1, .* 'a'; .* NativeSampler"),
    ({"h": {7: 1.0}}, ValueError, "h has the key 7 but there are only 2 variables"),
    ({"J": {("a", "b"): 1.0}}, TypeError, r"J must be of variables 0, 1, .* 'a'; .* NativeSampler"),
    ({"J": {(0, 5): 1.0}}, ValueError, "J has the index 5 but there are only 2 variables"),
    ({"h": {}, "J": {(0, 2**40): 1.0}}, ValueError, "J has the index 1099511627776, but at most"),
    ({"J": {3: 1.0}}, TypeError, "J must have pairs"),
    ({"J": {(0, 1): "x"}}, TypeError, "the values of J must hold real numbers"),
    ({"J": {(0, 1): np.nan}}, ValueError, "J .*nan"),
    ({"J": None}, TypeError, "J must be given"),
    ({"initial_states": [["a", "b"]]}, TypeError, "initial_states must hold numbers"),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD_ISING)
def test_bad_input_is_named(change, error, message):
    arguments = {"h": [0.0, 1.0], "J": [[0.0, 1.0], [0.0, 0.0]], **change}
    with pytest.raises(error, match=message):
        solve_ising(arguments.pop("h"), arguments.pop("J"), **arguments)


def test_bad_qubo_is_named():
    with pytest.raises(ValueError, match=r"linear has shape .* but Q is for 2 spins"):
        solve_qubo(np.zeros((2, 2)), np.zeros(3))
    with pytest.raises(ValueError, match="initial_states must hold only 0 and 1"):
        solve_qubo(np.zeros((2, 2)), initial_states=[[-1, 1]])


def test_corrupt_sparse_matrices_are_refused():
    J = scipy.sparse.csr_matrix(np.array([[0.0, 1.0], [0.0, 0.0]]))
    J.indices[0] = 7
    with pytest.raises(ValueError, match="column index 7"):
        solve_ising(np.zeros(2), J, method="anneal")
    J.indices[0] = -1
    with pytest.raises(ValueError, match="column index -1"):
        solve_ising(np.zeros(2), J, method="exact")


def test_an_executor_must_return_what_it_was_given_to_do():
    with ThreadPoolExecutor(1) as executor, pytest.raises(ValueError, match="exact"):
        solve_ising(np.zeros(30), np.zeros((30, 30)), method="exact", executor=executor)


def test_solver_starts_must_match_its_reads():
    starts = np.ones((1, 2, 2))
    problem = ising_problem(np.zeros((1, 2)), np.zeros((2, 2)), initial_states=starts, num_reads=2)
    with pytest.raises(ValueError, match="initial_states has 2 reads but num_reads is 3"):
        NativeSolver(num_reads=3).solve(problem, seed=0)


@pytest.mark.parametrize("solve", [solve_ising, solve_qubo])
def test_seed_that_was_drawn_is_told_and_gives_the_answer_again(solve):
    J = np.random.default_rng(0).normal(size=(60, 60))
    problem = (None, J) if solve is solve_ising else (J,)
    first, other = (solve(*problem, num_sweeps=2, num_reads=3) for _ in range(2))
    assert first.info["seed"] != other.info["seed"]
    again = solve(*problem, num_sweeps=2, num_reads=3, seed=first.info["seed"])
    assert np.array_equal(first.samples, again.samples)
