"""The check of solvers passes those of the package, and finds each mistake that a solver can make."""

from dataclasses import replace

import dimod
import numpy as np
import pytest

from qpsbgd.problem import Solutions
from qpsbgd.solvers import DimodSolver, NativeSolver, NoisySolver
from qpsbgd.testing import check_solver


@pytest.mark.parametrize("method", ["auto", "descent", "tabu", "anneal"])
def test_native_solver_passes(method):
    check_solver(NativeSolver(method=method, num_reads=3))


def test_other_solvers_of_the_package_pass():
    samplers = pytest.importorskip("dwave.samplers")
    check_solver(DimodSolver(samplers.SteepestDescentSampler()))
    check_solver(DimodSolver(dimod.ExactSolver()), largest=8)
    check_solver(NoisySolver(NativeSolver()))


class Changed:
    """A right solver whose answer is changed."""

    def __init__(self, change):
        self.change = change

    def solve(self, problem, *, seed):
        return self.change(problem, NativeSolver(num_reads=3).solve(problem, seed=seed))


def maximised(problem, answer):
    spins = NativeSolver().solve(replace(problem, h=-problem.h, J=_negated(problem.J)), seed=0).samples
    return Solutions.of(problem, 2 * spins - 1 if problem.binary else spins)


def _negated(J):
    return J._replace(data=-J.data) if hasattr(J, "data") and hasattr(J, "indptr") else -J


def spoiled(problem, answer):
    problem.h[...] = 0
    return answer


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda problem, answer: None, "returned NoneType, expected Solutions"),
        (lambda problem, answer: replace(answer, samples=answer.samples[:, :, :-1]), "samples of shape"),
        (
            lambda problem, answer: replace(answer, samples=(answer.samples > 0).astype(np.int8)),
            "the value 0",
        ),
        (lambda problem, answer: replace(answer, energies=answer.energies + 1), "energies are not those"),
        (lambda problem, answer: replace(answer, energies=answer.energies[0]), "energies have shape"),
        (maximised, "does the solver minimise"),
        (spoiled, "has changed the problem's arrays"),
    ],
)
def test_each_mistake_is_found(change, message):
    with pytest.raises(AssertionError, match=message):
        check_solver(Changed(change))


def test_reads_that_are_not_sorted_are_found():
    def upside_down(problem, answer):
        return replace(answer, samples=answer.samples[:, ::-1], energies=answer.energies[:, ::-1])

    class Random:
        def solve(self, problem, *, seed):
            shape = (problem.num_problems, 5, problem.num_spins)
            spins = np.random.default_rng(seed).choice([-1, 1], size=shape).astype(np.int8)
            return upside_down(problem, Solutions.of(problem, spins))

    with pytest.raises(AssertionError, match="not sorted by energy"):
        check_solver(Random())


def test_solver_that_forgets_its_seed_is_found():
    class Forgetful:
        def solve(self, problem, *, seed):
            return NativeSolver(method="anneal", num_sweeps=1).solve(problem, seed=None)

    with pytest.raises(AssertionError, match="the same seed gave other samples"):
        check_solver(Forgetful())
    with pytest.raises(TypeError, match="solver must have solve"):
        check_solver(object())
