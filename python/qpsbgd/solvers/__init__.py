"""Solvers of batches of Ising problems, behind one `QuboSolver` protocol."""

from typing import TYPE_CHECKING, Any

from qpsbgd.solvers.native import NativeSolver, solve_ising, solve_qubo
from qpsbgd.solvers.protocol import AsyncQuboSolver, QuboSolver

if TYPE_CHECKING:
    from qpsbgd.solvers.dimod import DimodSolver
    from qpsbgd.solvers.noise import DeviceNoise, NoisySolver
    from qpsbgd.solvers.qpu import QPUSolver

__all__ = [
    "AsyncQuboSolver",
    "DeviceNoise",
    "DimodSolver",
    "NativeSolver",
    "NoisySolver",
    "QPUSolver",
    "QuboSolver",
    "solve_ising",
    "solve_qubo",
]


def __getattr__(name: str) -> Any:
    # dimod takes a noticeable part of a second to import, which only these solvers need.
    if name == "QPUSolver":
        from qpsbgd.solvers.qpu import QPUSolver

        return QPUSolver
    if name == "DimodSolver":
        from qpsbgd.solvers.dimod import DimodSolver

        return DimodSolver
    if name in ("DeviceNoise", "NoisySolver"):
        from qpsbgd.solvers import noise

        return getattr(noise, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
