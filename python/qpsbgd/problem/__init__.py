"""Batches of Ising problems and QUBOs, checked once at the border, and their solutions."""

from qpsbgd.problem.build import ising_problem, qubo_problem
from qpsbgd.problem.checks import check_finite
from qpsbgd.problem.ising import Couplings, CSRCouplings, IsingProblem, Solutions

__all__ = [
    "CSRCouplings",
    "Couplings",
    "IsingProblem",
    "Solutions",
    "check_finite",
    "ising_problem",
    "qubo_problem",
]


def __dir__() -> list[str]:
    return __all__
