"""Which weights are marked, as binary or real, and the layer inputs behind their gradients."""

from qpsbgd.extras import needed_for

with needed_for("qpsbgd.capture", "torch", "torch"):
    import torch  # noqa: F401

from qpsbgd.capture.autograd import binarize, record_slopes, recorded_product, recorded_weight
from qpsbgd.capture.record import Capture, Record, Unfolding, attach
from qpsbgd.capture.weight import (
    BinaryWeight,
    RealWeight,
    _rebuild,  # noqa: F401 (saved networks)
    _rebuild_real,  # noqa: F401
    as_binary_weight,
    as_real_weight,
    relax,
)

RowForm = Unfolding
"""Earlier name of `Unfolding`."""

__all__ = [
    "BinaryWeight",
    "Capture",
    "RealWeight",
    "Record",
    "RowForm",
    "Unfolding",
    "as_binary_weight",
    "as_real_weight",
    "attach",
    "binarize",
    "record_slopes",
    "recorded_product",
    "recorded_weight",
    "relax",
]


def __dir__() -> list[str]:
    return __all__
