"""dimod samplers behind the solver protocol."""

import dimod
import numpy as np
import pytest

from qpsbgd.problem import ising_problem, qubo_problem
from qpsbgd.solvers.dimod_solver import DimodSolver


class Notebook(dimod.Sampler):
    """Answers with all spins up and notes its arguments."""

    def __init__(self, *names, rows=1):
        self.names, self.rows, self.calls = names, rows, []

    @property
    def parameters(self):
        return {name: [] for name in self.names}

    @property
    def properties(self):
        return {}

    def sample(self, bqm, **parameters):
        self.calls.append(parameters)
        # Variables in another order than the problem's.
        samples = np.ones((self.rows, bqm.num_variables), dtype=np.int8)
        return dimod.SampleSet.from_samples_bqm((samples, list(bqm.variables)[::-1]), bqm)


def problem(b=3, n=4, **options):
    rng = np.random.default_rng(0)
    return ising_problem(rng.normal(size=(b, n)), rng.normal(size=(n, n)), **options)


def test_energies_are_those_of_the_problem_best_first():
    batch = problem()
    solutions = DimodSolver(dimod.ExactSolver()).solve(batch, seed=0)
    assert solutions.samples.shape == (3, 16, 4)
    np.testing.assert_allclose(solutions.energies, batch.energies(solutions.samples))
    assert np.all(np.diff(solutions.energies, axis=1) >= 0)


def test_qubo_is_answered_in_bits():
    solutions = DimodSolver(dimod.ExactSolver()).solve(qubo_problem([[-1.0, 2.0], [0.0, -2.0]]), seed=0)
    assert solutions.best_samples.tolist() == [[0, 1]]
    assert solutions.best_energies.tolist() == [-2.0]


def test_columns_follow_the_labels():
    class Ranks(Notebook):
        def sample(self, bqm, **parameters):
            return dimod.SampleSet.from_samples_bqm({3: -1, 0: 1, 2: 1, 1: -1}, bqm)

    assert DimodSolver(Ranks()).solve(problem(b=1), seed=0).best_samples.tolist() == [[1, -1, 1, -1]]


def test_seed_and_starts_are_passed_where_the_sampler_takes_them():
    sampler = Notebook("seed", "initial_states")
    starts = np.array([[1, -1, 1, 1]] * 3)
    DimodSolver(sampler).solve(problem(initial_states=starts), seed=7)
    seeds = [call["seed"] for call in sampler.calls]
    assert len(set(seeds)) == 3
    assert all(0 <= seed < 2**31 for seed in seeds)
    states, labels = sampler.calls[0]["initial_states"]
    assert states.tolist() == [[1, -1, 1, 1]]
    assert labels == [0, 1, 2, 3]


def test_nothing_is_passed_that_the_sampler_does_not_take():
    sampler = Notebook()
    DimodSolver(sampler).solve(problem(initial_states=np.ones((3, 4))), seed=7)
    assert sampler.calls == [{}, {}, {}]


def test_own_parameters_win():
    sampler = Notebook("seed", "num_reads")
    DimodSolver(sampler, seed=1, num_reads=5).solve(problem(), seed=7)
    assert sampler.calls[0] == {"seed": 1, "num_reads": 5}


def test_sampler_without_samples_is_refused():
    with pytest.raises(ValueError, match="sampler Notebook returned no samples"):
        DimodSolver(Notebook(rows=0)).solve(problem(), seed=0)


def test_what_is_no_sampler_is_refused():
    with pytest.raises(TypeError, match=r"sampler must be a dimod\.Sampler, but is int"):
        DimodSolver(3)
