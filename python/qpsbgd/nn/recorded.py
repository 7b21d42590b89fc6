"""Torch's own layers, whose real weights record the inputs behind their gradients.

A layer computes what torch's layer computes, by torch's functions: outputs and gradients have the same bits.
Its weight is a `qpsbgd.capture.RealWeight`, to which an optimizer attaches a capture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from qpsbgd.capture.autograd import recorded_weight
from qpsbgd.capture.weight import as_real_weight
from qpsbgd.nn.convolution import ImageUnfolding, image_unfolding

__all__ = [
    "RecordedConv1d",
    "RecordedConv2d",
    "RecordedLayer",
    "RecordedLinear",
    "RecordedOutputProjection",
    "record",
]

_LayerT = TypeVar("_LayerT", bound="RecordedLayer")


class RecordedLayer(nn.Module):
    """Keep the weights of a layer marked as real weights whose inputs are recorded."""

    recorded_names: ClassVar[tuple[str, ...]] = ("weight",)
    """Names of the parameters that are marked."""

    @classmethod
    def is_recorded(cls, name: str) -> bool:
        """Tell whether a parameter of this name is marked."""
        return name in cls.recorded_names

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        """Register as `torch.nn.Module` does, and mark a weight."""
        # Every assignment calls this method, load_state_dict(assign=True) too.
        if self.is_recorded(name) and param is not None:
            param = as_real_weight(param)
        super().register_parameter(name, param)

    def _apply(self: _LayerT, fn: Callable[..., Any], recurse: bool = True) -> _LayerT:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        _mark_weights(self, type(self))  # torch makes new plain parameters where it cannot swap memory
        return self


def record(layer: nn.Module, kind: type[RecordedLayer]) -> None:
    """Make a layer one of `kind`, in place, which keeps hooks, ties and references.

    Raises
    ------
    TypeError
        If a weight is no plain floating-point parameter; nothing has changed then.
    """
    _mark_weights(layer, kind)
    layer.__class__ = kind


def _mark_weights(layer: nn.Module, kind: type[RecordedLayer]) -> None:
    for name, weight in layer._parameters.items():  # pruning and parametrizations move weights elsewhere
        if weight is not None and kind.is_recorded(name):
            as_real_weight(weight)


class RecordedLinear(RecordedLayer, nn.Linear):
    """`torch.nn.Linear`, whose weight takes binary steps under `qpsbgd.QPSBGD`.

    Arguments, attributes, state dict and results are those of `torch.nn.Linear`.

    Examples
    --------
    >>> import torch
    >>> RecordedLinear(4, 3)(torch.ones(2, 4)).shape
    torch.Size([2, 3])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute Z (..., m) of inputs (..., d)."""
        return F.linear(input, _recorded(self.weight, input), self.bias)


class RecordedOutputProjection(RecordedLayer, NonDynamicallyQuantizableLinear):
    """What `torch.nn.MultiheadAttention` ends with; it reads the weight and does not call this layer."""

    forward = RecordedLinear.forward


class RecordedConv1d(RecordedLayer, nn.Conv1d):
    """`torch.nn.Conv1d`, whose weight takes binary steps under `qpsbgd.QPSBGD`.

    Arguments, attributes, state dict and results are those of `torch.nn.Conv1d`.

    Examples
    --------
    >>> import torch
    >>> RecordedConv1d(2, 3, 5)(torch.ones(1, 2, 9)).shape
    torch.Size([1, 3, 5])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute outputs (N, out_channels, L') of inputs (N, in_channels, L), or of one without N."""
        if torch.is_grad_enabled():
            weight = recorded_weight(self.weight, input, _SequenceUnfolding(image_unfolding(self)))
        else:
            weight = self.weight
        output: Tensor = self._conv_forward(input, weight, self.bias)
        return output


class RecordedConv2d(RecordedLayer, nn.Conv2d):
    """`torch.nn.Conv2d`, whose weight takes binary steps under `qpsbgd.QPSBGD`.

    Arguments, attributes, state dict and results are those of `torch.nn.Conv2d`.

    Examples
    --------
    >>> import torch
    >>> RecordedConv2d(1, 4, 3)(torch.ones(2, 1, 8, 8)).shape
    torch.Size([2, 4, 6, 6])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute Z (N, out_channels, H', W') of images (N, in_channels, H, W), or of one without N."""
        if torch.is_grad_enabled():
            weight = recorded_weight(self.weight, input, image_unfolding(self))
        else:
            weight = self.weight
        output: Tensor = self._conv_forward(input, weight, self.bias)
        return output


def _recorded(weight: Tensor, inputs: Tensor) -> Tensor:
    """Give `weight` for a product; without gradients no compiled graph is broken."""
    return recorded_weight(weight, inputs) if torch.is_grad_enabled() else weight


@dataclass(frozen=True)
class _SequenceUnfolding:
    """Unfold sequences (N, C, L) as images of height 1; implements `qpsbgd.capture.Unfolding`."""

    image: ImageUnfolding

    @property
    def groups(self) -> int:
        """Number of channel groups."""
        return self.image.groups

    def num_samples(self, inputs: Tensor) -> int:
        """Count the samples (rows of X) that the sequences have."""
        return self.image.num_samples(self.batched(inputs).unsqueeze(-2))

    def batched(self, inputs: Tensor) -> Tensor:
        """Give sequences (N, C, L); a single one may come without N."""
        return inputs if inputs.dim() == 3 else inputs[None]

    def input_samples(self, inputs: Tensor) -> Tensor:
        """Give X (groups, n, d) of sequences (N, C, L)."""
        return self.image.input_samples(inputs.unsqueeze(-2))

    def output_samples(self, outputs: Tensor) -> Tensor:
        """Give Z (groups, n, m / groups) of output sequences (N, m, L')."""
        return self.image.output_samples(self.batched(outputs).unsqueeze(-2))
