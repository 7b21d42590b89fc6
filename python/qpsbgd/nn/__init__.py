"""Layers with binary weights, for ordinary torch modules.

The layers import no solver and no optimizer. Their weights are of the type `qpsbgd.capture.BinaryWeight`; an
optimizer that needs a layer's inputs attaches a capture to the layer's weight.
"""

from qpsbgd.extras import needed_for

with needed_for("qpsbgd.nn", "torch", "torch"):
    import torch  # noqa: F401

from qpsbgd.capture.weight import BinaryWeight, relax
from qpsbgd.nn.activation import Activated, BinaryActivation, Scale
from qpsbgd.nn.convert import to_binary
from qpsbgd.nn.convolution import BinaryConv2d
from qpsbgd.nn.graph import BinaryGCNConv
from qpsbgd.nn.linear import BinaryLinear
from qpsbgd.nn.summary import summary

__all__ = [
    "Activated",
    "BinaryActivation",
    "BinaryConv2d",
    "BinaryGCNConv",
    "BinaryLinear",
    "BinaryWeight",
    "Scale",
    "relax",
    "summary",
    "to_binary",
]
