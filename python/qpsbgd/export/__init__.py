"""Trained networks for use: weights of one bit each, in a file and in memory, and plain torch layers.

`save_packed` and `load_packed` keep a network with one bit for each binary weight. `to_packed` makes a
network that computes with these bits. `to_plain` makes one of torch's own layers, for exporters such as ONNX.
"""

from qpsbgd.extras import needed_for

with needed_for("qpsbgd.export", "torch", "torch"):
    import torch  # noqa: F401

from qpsbgd.export.bits import binary_weights
from qpsbgd.export.layers import PackedLinear, to_packed, to_plain
from qpsbgd.export.packed_file import load_packed, save_packed

__all__ = ["PackedLinear", "binary_weights", "load_packed", "save_packed", "to_packed", "to_plain"]


def __dir__() -> list[str]:
    return __all__
