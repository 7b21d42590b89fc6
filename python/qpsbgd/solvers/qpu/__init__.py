"""A quantum annealer as a `QuboSolver`: many rows in one submission, and no QPU time spent unasked."""

from qpsbgd.solvers.qpu.errors import (
    QPUBudgetError,
    QPUConfigError,
    QPUError,
    QPUFallbackWarning,
    QPUTimeoutError,
    QPUUnreachableError,
)
from qpsbgd.solvers.qpu.solver import QPUSolver

__all__ = [
    "QPUBudgetError",
    "QPUConfigError",
    "QPUError",
    "QPUFallbackWarning",
    "QPUSolver",
    "QPUTimeoutError",
    "QPUUnreachableError",
]
