"""The optimizers: gather, work, commit."""

from qpsbgd.extras import needed_for

with needed_for("qpsbgd.optim", "torch", "torch"):
    import torch  # noqa: F401

from qpsbgd.optim.qpsbgd import (
    QPSBGD,
    Projection,
)

__all__ = [
    "QPSBGD",
    "Projection",
]


def __dir__() -> list[str]:
    return __all__
