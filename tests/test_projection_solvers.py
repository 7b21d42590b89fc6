"""Projections by other solvers: what they are given, what they answer, and how they are chosen."""

import sys
import warnings
from dataclasses import replace

import dimod
import numpy as np
import pytest

from oracles import (
    gradient_and_gram,
    random_layer,
    signs,
)
from qpsbgd.problem import Solutions
from qpsbgd.projection import (
    project,
    resolve_solver,
)
from qpsbgd.solvers import UnhelpfulSolverWarning
from qpsbgd.solvers.dimod import DimodSolver
from qpsbgd.solvers.native import NativeSolver


class SeedKeeper:
    """Records its seeds and starts, and answers with the starts."""

    def __init__(self):
        self.seeds, self.starts = [], []

    def solve(self, problem, *, seed):
        self.seeds.append(seed)
        self.starts.append(problem.initial_states)
        return Solutions(problem.initial_states, problem.energies(problem.initial_states))


def test_solver_gets_the_seed_and_the_signs_as_start():
    V, X = random_layer(18)
    keeper = SeedKeeper()
    G = project(V, X, solver=keeper, seed=2**64 - 1)
    p, _ = gradient_and_gram(V, X)
    assert keeper.seeds == [2**64 - 1]
    assert np.array_equal(keeper.starts[0][:, 0], signs(p))
    assert np.array_equal(G, signs(p))


class Maximiser:
    """Gives the worst spins that it finds."""

    def solve(self, problem, *, seed):
        upside_down = replace(problem, h=-problem.h, J=-problem.J, initial_states=None)
        spins = NativeSolver().solve(upside_down, seed=seed).samples
        return Solutions.of(problem, spins)


def test_solver_that_maximises_is_not_used_and_the_user_is_told():
    V, X = random_layer(21, m=64)
    p, _ = gradient_and_gram(V, X)
    with pytest.warns(UnhelpfulSolverWarning, match="does it minimise"):
        G = project(V, X, solver=Maximiser())
    assert np.array_equal(G, signs(p))


def test_solver_that_helps_is_used_in_silence():
    V, X = random_layer(21, m=64)
    p, _ = gradient_and_gram(V, X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        better = project(V, X, solver=NativeSolver())
        equal = project(V, X, solver=SeedKeeper())  # as low as the signs
    assert not np.array_equal(better, signs(p))
    assert np.array_equal(equal, signs(p))


def test_native_solver_with_several_reads_starts_them_all_at_the_signs():
    V, X = random_layer(24)
    solver = NativeSolver(method="descent", num_reads=3)
    assert np.array_equal(project(V, X, solver=solver), project(V, X, solver=NativeSolver(method="descent")))


def test_without_seed_every_call_draws_another():
    keeper = SeedKeeper()
    for _ in range(3):
        project(*random_layer(19), solver=keeper)
    assert len(set(keeper.seeds)) == 3


def test_solver_that_answers_in_another_shape_is_refused():
    class Careless:
        def solve(self, problem, *, seed):
            return Solutions(np.ones((1, 1, 2), dtype=np.int8), np.zeros((1, 1)))

    with pytest.raises(
        ValueError, match=r"solver Careless returned samples of shape \(1, 1, 2\), expected \(5, reads, 7\)"
    ):
        project(*random_layer(20), solver=Careless())


@pytest.mark.parametrize("solver", [dimod.ExactSolver(), DimodSolver(dimod.ExactSolver())])
def test_dimod_sampler_reaches_the_optimum(solver):
    V, X = random_layer(21, d=6)
    assert np.array_equal(project(V, X, solver=solver), project(V, X, solver=NativeSolver(method="exact")))


def test_neal_takes_seeds_and_starts():
    pytest.importorskip("dwave.samplers")
    V, X = random_layer(22)
    first, second = (project(V, X, solver="neal", seed=5) for _ in range(2))
    assert np.array_equal(first, second)


def test_neal_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "dwave.samplers", None)
    with pytest.raises(ImportError, match=r"pip install 'qpsbgd\[ocean\]'"):
        resolve_solver("neal")


def test_auto_is_native():
    assert resolve_solver("auto") == resolve_solver("native") == "native"


@pytest.mark.parametrize("name", ["annealer", "simulated"])
def test_unknown_solver_names_are_refused(name):
    with pytest.raises(ValueError, match=f"Invalid solver: '{name}' .*'neal'"):
        resolve_solver(name)


@pytest.mark.parametrize("solver", [None, 3, object()])
def test_objects_that_do_not_solve_are_refused(solver):
    with pytest.raises(TypeError, match="solver must be one of"):
        resolve_solver(solver)
