"""Solvers of batches of Ising problems, behind one `QuboSolver` protocol."""

from typing import TYPE_CHECKING

from qpsbgd.extras import lazy_names as _lazy_names

if TYPE_CHECKING:
    from qpsbgd.solvers.dimod import DimodSolver
    from qpsbgd.solvers.native import NativeSolver, solve_ising, solve_qubo
    from qpsbgd.solvers.noise import DeviceNoise, NoisySolver
    from qpsbgd.solvers.protocol import AsyncQuboSolver, QuboSolver, UnhelpfulSolverWarning
    from qpsbgd.solvers.qpu import QPUSolver

__all__ = [
    "AsyncQuboSolver",
    "DeviceNoise",
    "DimodSolver",
    "NativeSolver",
    "NoisySolver",
    "QPUSolver",
    "QuboSolver",
    "UnhelpfulSolverWarning",
    "solve_ising",
    "solve_qubo",
]

__getattr__, __dir__ = _lazy_names(
    __name__,
    {
        "AsyncQuboSolver": "qpsbgd.solvers.protocol",
        "DeviceNoise": "qpsbgd.solvers.noise",
        "DimodSolver": "qpsbgd.solvers.dimod",
        "NativeSolver": "qpsbgd.solvers.native",
        "NoisySolver": "qpsbgd.solvers.noise",
        "QPUSolver": "qpsbgd.solvers.qpu",
        "QuboSolver": "qpsbgd.solvers.protocol",
        "UnhelpfulSolverWarning": "qpsbgd.solvers.protocol",
        "solve_ising": "qpsbgd.solvers.native",
        "solve_qubo": "qpsbgd.solvers.native",
    },
)
