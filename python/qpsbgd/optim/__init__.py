"""The optimizers: gather, work, commit."""

from qpsbgd.optim.qpsbgd import (
    QPSBGD,
    Projection,
)

__all__ = [
    "QPSBGD",
    "Projection",
]
