"""The one interface that projection and optimizer know of a solver, and the check of what it answers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from qpsbgd.problem.ising import CSRCouplings, IsingProblem, Solutions

__all__ = [
    "AsyncQuboSolver",
    "PendingSolutions",
    "QuboSolver",
    "UnhelpfulSolverWarning",
    "checked_energies",
    "checked_solutions",
    "timing",
]

_ROUNDING = 1e-4
"""Share of the sum of all terms by which an energy may be wrong: solvers in float32 are far below it."""


class UnhelpfulSolverWarning(UserWarning):
    """Every answer of a solver is worse than the gradient's signs, so that it changes nothing."""


@runtime_checkable
class QuboSolver(Protocol):
    """Anything that solves a batch of Ising problems."""

    def solve(self, problem: IsingProblem, *, seed: int) -> Solutions:
        """Solve every problem of the batch; `seed` (0 <= seed < 2**64) fixes the random numbers."""
        ...


class PendingSolutions(Protocol):
    """The answer of `AsyncQuboSolver.submit`, while it is under way."""

    def result(self) -> Solutions:
        """Wait for the solutions."""
        ...

    def cancel(self) -> None:
        """Give up what is under way; nothing happens to what is done."""
        ...


@runtime_checkable
class AsyncQuboSolver(QuboSolver, Protocol):
    """A solver that works elsewhere: an optimizer submits all layers before it awaits the first answer."""

    def check_budget(self, problems: Sequence[IsingProblem]) -> None:
        """Raise if the budget does not allow these problems together; called before any is submitted."""
        ...

    def submit(self, problem: IsingProblem, *, seed: int) -> PendingSolutions:
        """Start solving every problem of the batch."""
        ...


def checked_solutions(solver: Any, problem: IsingProblem, solutions: Any) -> Solutions:
    """Return what a solver answered, with int8 samples, after checking that it is an answer.

    Parameters
    ----------
    solver : object
        Who answered; errors give the name of its class.
    problem : IsingProblem
        The batch of b problems of n spins that it was asked to solve.
    solutions : Solutions
        The answer.

    Raises
    ------
    TypeError
        If the answer is no `Solutions`.
    ValueError
        If its samples are not (b, reads, n) with one read at least, or hold anything but -1 and +1 (0 and 1
        where the problem is one of bits).

    Examples
    --------
    >>> from qpsbgd.problem import ising_problem
    >>> answer = Solutions(np.array([[[0, 1]]]), np.zeros((1, 1)))
    >>> checked_solutions("a", ising_problem([1.0, -1.0], [[0, 1], [0, 0]]), answer)
    Traceback (most recent call last):
    ...
    ValueError: solver str returned samples with the value 0 at (0, 0, 0), expected only -1 and 1
    """
    name = type(solver).__name__
    if not isinstance(solutions, Solutions):
        raise TypeError(f"solver {name} returned {type(solutions).__name__}, expected Solutions")
    samples = np.asarray(solutions.samples)
    b, n = problem.num_problems, problem.num_spins
    if samples.ndim != 3 or (samples.shape[0], samples.shape[2]) != (b, n) or not samples.shape[1]:
        raise ValueError(
            f"solver {name} returned samples of shape {samples.shape}, expected ({b}, reads, {n})"
        )
    low = 0 if problem.binary else -1
    wrong = (samples != low) & (samples != 1)
    if wrong.any():
        where = tuple(int(index) for index in np.argwhere(wrong)[0])
        raise ValueError(
            f"solver {name} returned samples with the value {samples[where]} at {where}, "
            f"expected only {low} and 1"
        )
    if samples.dtype == np.int8:
        return solutions
    return replace(solutions, samples=samples.astype(np.int8))


def checked_energies(solver: Any, problem: IsingProblem, solutions: Solutions) -> Solutions:
    """Return checked solutions as they are, after checking that they come with the energies of their samples.

    The best energy of the first problem is computed once more; a solver that mixes up signs, factors or
    problems is wrong there too. That costs less than one read of a search.

    Parameters
    ----------
    solver : object
        Who answered; errors give the name of its class.
    problem : IsingProblem
        The batch of b problems.
    solutions : Solutions
        What `checked_solutions` returned.

    Raises
    ------
    ValueError
        If the energies are not (b, reads), are not all finite, do not rise from read to read, or that of the
        first problem is wrong by more than rounding explains.

    Examples
    --------
    >>> from qpsbgd.problem import ising_problem
    >>> answer = Solutions(np.array([[[1, -1]]], np.int8), np.array([[2.0]]))
    >>> checked_energies("a", ising_problem([1.0, -1.0], [[0, 1], [0, 0]]), answer)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: solver str returned the energy 2.0 for the first problem, expected 1.0 (Solutions.of ...)
    """
    name = type(solver).__name__
    energies = np.asarray(solutions.energies)
    shape = solutions.samples.shape[:2]
    if energies.shape != shape:
        raise ValueError(f"solver {name} returned energies of shape {energies.shape}, expected {shape}")
    if not np.isfinite(energies).all():
        raise ValueError(f"solver {name} returned energies that are not finite")
    if not problem.num_problems:
        return solutions
    first = problem.rows(slice(0, 1))
    best = solutions.samples[:1, :1]
    expected = float(first.energies(2 * best - 1 if problem.binary else best)[0, 0])
    couplings = first.J.data if isinstance(first.J, CSRCouplings) else first.J
    terms = (first.coupling_scale * couplings, first.h, first.offset)
    tolerance = _ROUNDING * float(sum(np.abs(term).sum(dtype=np.float64) for term in terms))
    if abs(energies[0, 0] - expected) > tolerance:
        raise ValueError(
            f"solver {name} returned the energy {energies[0, 0]} for the first problem, expected {expected} "
            "(Solutions.of computes energies)"
        )
    if (np.diff(energies, axis=1) < -_ROUNDING * np.abs(energies).max()).any():
        raise ValueError(f"solver {name} returned reads not sorted by energy (Solutions.of sorts them)")
    return solutions


def timing(begin: int, prepared: int, sampled: int) -> dict[str, int]:
    """Return the ``timing`` of `Solutions.info`, for a solve that ends now.

    Parameters
    ----------
    begin, prepared, sampled : int
        ``time.perf_counter_ns()`` at the begin, when the problem was prepared, and when it was solved.

    Examples
    --------
    >>> now = time.perf_counter_ns()
    >>> list(timing(now, now, now))
    ['preprocessing_ns', 'sampling_ns', 'postprocessing_ns']
    """
    return {
        "preprocessing_ns": prepared - begin,
        "sampling_ns": sampled - prepared,
        "postprocessing_ns": time.perf_counter_ns() - sampled,
    }
