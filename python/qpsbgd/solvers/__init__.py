"""Solvers of batches of Ising problems, behind one `QuboSolver` protocol."""

from typing import TYPE_CHECKING, Any

from qpsbgd.solvers.native import NativeSolver, solve_ising, solve_qubo
from qpsbgd.solvers.protocol import QuboSolver

if TYPE_CHECKING:
    from qpsbgd.solvers.dimod_solver import DimodSolver

__all__ = ["DimodSolver", "NativeSolver", "QuboSolver", "solve_ising", "solve_qubo"]


def __getattr__(name: str) -> Any:
    # dimod takes a noticeable part of a second to import, which only this solver needs.
    if name == "DimodSolver":
        from qpsbgd.solvers.dimod_solver import DimodSolver

        return DimodSolver
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
