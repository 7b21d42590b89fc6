"""The one interface that projection and optimizer know of a solver."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from qpsbgd.problem.ising import IsingProblem, Solutions

__all__ = ["AsyncQuboSolver", "PendingSolutions", "QuboSolver"]


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
