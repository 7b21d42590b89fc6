"""Solvers of batches of Ising problems, behind one `QuboSolver` protocol."""

from qpsbgd.solvers.native import NativeSolver, solve_ising, solve_qubo
from qpsbgd.solvers.protocol import QuboSolver

__all__ = ["NativeSolver", "QuboSolver", "solve_ising", "solve_qubo"]
