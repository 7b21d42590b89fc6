"""A quantum annealer as a `QuboSolver`: many rows in one submission, and no QPU time spent unasked."""

from qpsbgd.extras import needed_for

with needed_for("QPUSolver", "dwave-system", "qpu"):
    import dimod  # noqa: F401  # what all modules below take for granted

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


def __dir__() -> list[str]:
    return __all__
