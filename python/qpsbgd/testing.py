"""What a solver of your own has to fulfil, as one function for its tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from qpsbgd.problem import CSRCouplings, IsingProblem, Solutions, ising_problem, qubo_problem
from qpsbgd.solvers.protocol import AsyncQuboSolver, QuboSolver, checked_solutions

__all__ = ["check_solver"]

_RANDOM_STATES = 64


def check_solver(solver: Any, *, deterministic: bool = True, largest: int = 24) -> None:
    """Run a solver on problems of every kind, and check what it answers.

    A solver that passes can be given to `QPSBGD`, `project` and everything else here that takes a
    `QuboSolver`. The problems are batches of 1 to 5, of spins and of bits, with shared and own, dense and
    sparse couplings in float32 and float64, with and without initial states.

    Parameters
    ----------
    solver : QuboSolver or AsyncQuboSolver
        An object with ``solve(problem, *, seed)``.
    deterministic : bool
        Whether the same seed has to give the same answer, as several processes that train together need it.
    largest : int
        Variables of the largest problem, at least 2.

    Raises
    ------
    AssertionError
        If an answer is wrong; it names the problem and what is wrong with its answer.
    TypeError
        If `solver` has no such method.

    Examples
    --------
    >>> from qpsbgd.solvers import NativeSolver
    >>> check_solver(NativeSolver())
    """
    if not isinstance(solver, QuboSolver):
        raise TypeError(f"solver must have solve(problem, *, seed), but is {type(solver).__name__}")
    for name, problem in _problems(largest):
        before = _arrays(problem)
        answer = solver.solve(problem, seed=7)
        for array, unchanged in zip(_arrays(problem), before, strict=True):
            assert np.array_equal(array, unchanged), f"{name}: the solver has changed the problem's arrays"
        _check_answer(solver, name, problem, answer)
        if deterministic:
            again = checked_solutions(solver, problem, solver.solve(problem, seed=7))
            assert np.array_equal(answer.samples, again.samples), f"{name}: the same seed gave other samples"
        if isinstance(solver, AsyncQuboSolver):
            solver.check_budget([problem])
            pending = solver.submit(problem, seed=7)
            _check_answer(solver, f"{name}, submitted", problem, pending.result())
            pending.cancel()  # of what is done changes nothing
    _check_that_it_minimises(solver, largest)


def _problems(largest: int) -> Iterator[tuple[str, IsingProblem]]:
    random = np.random.default_rng(0)
    for n in sorted({1, 2, largest}):
        J, h = random.normal(size=(n, n)), random.normal(size=(5, n))
        yield f"5 problems of {n} spins, one matrix", ising_problem(h, J)
        yield f"3 problems of {n} spins, a matrix each", ising_problem(h[:3], random.normal(size=(3, n, n)))
        yield f"one problem of {n} spins without fields", ising_problem(None, J)
        yield f"one problem of {n} spins without couplings", ising_problem(h[0], np.zeros((n, n)))
        yield f"one problem of {n} spins in float32", ising_problem(h[0], J.astype(np.float32))
        yield f"4 problems of {n} bits", qubo_problem(J, random.normal(size=(4, n)))
        starts = random.choice([-1, 1], size=(5, n))
        yield f"5 problems of {n} spins with initial states", ising_problem(h, J, initial_states=starts)
        rows, columns = np.nonzero(np.triu(np.ones((n, n)), 1))
        sparse = CSRCouplings.of_triplets(n, rows, columns, J[rows, columns])
        yield f"2 problems of {n} spins, sparse", IsingProblem(h[:2], sparse, np.zeros(2))
        yield f"one problem of {n} spins without anything", ising_problem(np.zeros(n), np.zeros((n, n)))


def _arrays(problem: IsingProblem) -> list[Any]:
    couplings = list(problem.J[1:]) if isinstance(problem.J, CSRCouplings) else [problem.J]
    starts = [] if problem.initial_states is None else [problem.initial_states]
    return [np.array(array) for array in (problem.h, problem.offset, *couplings, *starts)]


def _check_answer(solver: Any, name: str, problem: IsingProblem, answer: Any) -> None:
    try:
        solutions: Solutions = checked_solutions(solver, problem, answer)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"{name}: {error}") from error
    shape = solutions.samples.shape[:2]
    energies = np.asarray(solutions.energies)
    assert energies.shape == shape, f"{name}: energies have shape {energies.shape}, expected {shape}"
    spins = 2 * solutions.samples - 1 if problem.binary else solutions.samples
    expected = problem.energies(spins)
    size = 1e-6 * max(1.0, float(np.abs(expected).max()))
    assert np.allclose(energies, expected, atol=size), (
        f"{name}: energies are not those of the samples: {energies.ravel()[0]}, "
        f"expected {expected.ravel()[0]} (Solutions.of computes them)"
    )
    assert (np.diff(energies, axis=1) >= -size).all(), f"{name}: reads are not sorted by energy"


def _check_that_it_minimises(solver: Any, largest: int) -> None:
    """Compare with random states: a solver that maximises, or mixes up signs, is above them."""
    random = np.random.default_rng(1)
    h, J = random.normal(size=(8, largest)), random.normal(size=(largest, largest))
    problem = ising_problem(h, J)
    best = solver.solve(problem, seed=7).best_energies
    states = random.choice([-1, 1], size=(8, _RANDOM_STATES, largest)).astype(np.int8)
    middle = np.median(replace(problem, initial_states=None).energies(states), axis=1)
    assert (best < middle).mean() > 0.5, (
        f"answers are above the median of random states in {(best >= middle).sum()} of 8 problems of "
        f"{largest} spins: does the solver minimise?"
    )
