"""The one interface that projection and optimizer know of a solver."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from qpsbgd.problem import IsingProblem, Solutions

__all__ = ["QuboSolver"]


@runtime_checkable
class QuboSolver(Protocol):
    """Anything that solves a batch of Ising problems."""

    def solve(self, problem: IsingProblem, *, seed: int) -> Solutions:
        """Solve every problem of the batch; `seed` (0 <= seed < 2**64) fixes the random numbers."""
        ...
