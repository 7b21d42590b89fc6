"""Which weights are binary, and the layer inputs behind their gradients."""

from qpsbgd.extras import needed_for

with needed_for("qpsbgd.capture", "torch", "torch"):
    import torch  # noqa: F401

from qpsbgd.capture.autograd import binarize, record_slopes, recorded_product
from qpsbgd.capture.record import Capture, Record, Unfolding, attach
from qpsbgd.capture.weight import BinaryWeight, _rebuild, as_binary_weight, relax  # noqa: F401 (saved networks)

RowForm = Unfolding
"""Earlier name of `Unfolding`."""

__all__ = [
    "BinaryWeight",
    "Capture",
    "Record",
    "RowForm",
    "Unfolding",
    "as_binary_weight",
    "attach",
    "binarize",
    "record_slopes",
    "recorded_product",
    "relax",
]
