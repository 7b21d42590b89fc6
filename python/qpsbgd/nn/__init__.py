"""Layers with binary weights for ordinary torch modules, and torch's own layers with recorded inputs.

The layers import no solver and no optimizer. Their weights are of the types `qpsbgd.capture.BinaryWeight` or
`qpsbgd.capture.RealWeight`. An optimizer that needs a layer's inputs attaches a capture to the weight.
"""

from qpsbgd.extras import needed_for

with needed_for("qpsbgd.nn", "torch", "torch"):
    import torch  # noqa: F401

from qpsbgd.capture.weight import BinaryWeight, RealWeight, relax
from qpsbgd.nn.activation import Activated, BinaryActivation, Scale
from qpsbgd.nn.attention import RecordedMultiheadAttention
from qpsbgd.nn.convert import to_binary, to_recorded
from qpsbgd.nn.convolution import BinaryConv2d
from qpsbgd.nn.graph import BinaryGCNConv
from qpsbgd.nn.linear import BinaryLinear
from qpsbgd.nn.recorded import RecordedConv1d, RecordedConv2d, RecordedLinear
from qpsbgd.nn.recurrent import (
    RecordedGRU,
    RecordedGRUCell,
    RecordedLSTM,
    RecordedLSTMCell,
    RecordedRNN,
    RecordedRNNCell,
)
from qpsbgd.nn.summary import summary

__all__ = [
    "Activated",
    "BinaryActivation",
    "BinaryConv2d",
    "BinaryGCNConv",
    "BinaryLinear",
    "BinaryWeight",
    "RealWeight",
    "RecordedConv1d",
    "RecordedConv2d",
    "RecordedGRU",
    "RecordedGRUCell",
    "RecordedLSTM",
    "RecordedLSTMCell",
    "RecordedLinear",
    "RecordedMultiheadAttention",
    "RecordedRNN",
    "RecordedRNNCell",
    "Scale",
    "relax",
    "summary",
    "to_binary",
    "to_recorded",
]


def __dir__() -> list[str]:
    return __all__
