"""Networks that compute as a trained binary network does: from bits, or of torch's own layers."""

from __future__ import annotations

import copy
from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qpsbgd import _core
from qpsbgd.export.bits import pack_signs, signs_of, unpack_signs
from qpsbgd.nn.activation import BinaryActivation
from qpsbgd.nn.base import BinaryLayer, output_scale
from qpsbgd.nn.convolution import BinaryConv2d
from qpsbgd.nn.linear import BinaryLinear

__all__ = ["PackedLinear", "to_packed", "to_plain"]

_ModuleT = TypeVar("_ModuleT", bound=nn.Module)

_WORD_BYTES = 4
"""Rows of bits are whole words, which the native product reads."""

_FEW_SAMPLES = 8
"""Samples up to which the native product is faster than unpacking for torch's: measured, d = 512 and 4096."""

_ROWS_OF_PRODUCT = 256
"""Rows that are unpacked at a time, so that the unpacked weights never lie in memory as a whole."""


class PackedLinear(nn.Module):
    """`qpsbgd.nn.BinaryLinear` for inference, with one bit for each weight.

    ``Z = a X sign(W)' + bias`` with ``a = 1 / sqrt(in_features)``. Samples of -1 and +1 alone are multiplied
    by XNOR and counts of bits, exactly. `to_packed` makes it of a trained layer.

    Attributes
    ----------
    in_features, out_features : int
        Sizes d and m.
    bits : uint8 tensor (m, 4 ceil(d / 32))
        Signs, set for -1, the first one lowest.
    bias : Parameter (m,) or None
        Additive bias.

    Examples
    --------
    >>> from qpsbgd.nn import BinaryLinear
    >>> layer = BinaryLinear(64, 3).eval()
    >>> packed = to_packed(layer)
    >>> with torch.no_grad():
    ...     bool((packed(torch.ones(2, 64)) == layer(torch.ones(2, 64))).all())
    True
    """

    in_features: int
    out_features: int
    bits: Tensor
    bias: nn.Parameter | None

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute Z (..., m) of inputs (..., d); there is no gradient.

        Raises
        ------
        RuntimeError
            If a gradient is asked for.
        """
        if torch.is_grad_enabled() and inputs.requires_grad:
            raise RuntimeError("PackedLinear has no gradient: call it under torch.no_grad()")
        samples = inputs.detach().reshape(-1, self.in_features)
        with torch.no_grad():
            product = self._product(samples) * output_scale(self.in_features)
            output = product if self.bias is None else product + self.bias
        return output.reshape(*inputs.shape[:-1], self.out_features)

    def _product(self, samples: Tensor) -> Tensor:
        few = len(samples) <= _FEW_SAMPLES
        if few and samples.device.type == "cpu" and samples.dtype is not torch.float64:
            words = self.bits.numpy().view("uint32")
            values = samples.float().contiguous().numpy()
            product = _core.packed_product(words, values, torch.get_num_threads())
            return torch.from_numpy(product).to(samples.dtype)
        return torch.cat(
            [
                F.linear(samples, unpack_signs(rows, self.in_features, samples.dtype))
                for rows in self.bits.split(_ROWS_OF_PRODUCT)
            ],
            dim=-1,
        )

    def extra_repr(self) -> str:
        """Name the sizes, as `torch.nn.Linear` does."""
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


def to_packed(model: _ModuleT) -> _ModuleT:
    """Make a copy of a trained network whose `BinaryLinear` layers hold one bit for each weight.

    Binary convolutions and graph convolutions stay as they are.

    Parameters
    ----------
    model : torch.nn.Module
        A trained network, or one layer; it stays as it is.

    Returns
    -------
    torch.nn.Module
        The copy, in evaluation mode.

    Raises
    ------
    TypeError
        If `model` is no module.
    ValueError
        If a weight holds NaN.

    Examples
    --------
    >>> from qpsbgd.nn import BinaryLinear
    >>> to_packed(torch.nn.Sequential(BinaryLinear(4, 3), torch.nn.ReLU()))[0]
    PackedLinear(4, 3, bias=False)
    """
    packed = _copied(model)
    for name, layer in packed.named_modules():
        if isinstance(layer, BinaryLinear):
            _pack(name, layer)
    return packed


def to_plain(model: _ModuleT) -> _ModuleT:
    """Make a copy of a trained network of torch's own layers: linear layers and convolutions with weights ±a.

    It needs no module of this package, so every exporter knows it. Outputs are equal up to rounding.

    Parameters
    ----------
    model : torch.nn.Module
        A trained network, or one layer; it stays as it is.

    Returns
    -------
    torch.nn.Module
        The copy, in evaluation mode.

    Raises
    ------
    TypeError
        If `model` is no module, or holds a binary layer that torch has no like of (`BinaryGCNConv`).
    ValueError
        If a weight holds NaN.

    Examples
    --------
    >>> from qpsbgd.nn import BinaryLinear
    >>> to_plain(torch.nn.Sequential(BinaryLinear(4, 3), torch.nn.ReLU()))[0]
    Linear(in_features=4, out_features=3, bias=False)
    """
    plain = _copied(model)
    made: dict[int, nn.Parameter] = {}  # tied layers stay tied
    for name, layer in plain.named_modules():
        if isinstance(layer, BinaryActivation):
            cast(Any, layer).__class__ = _Signs
        elif isinstance(layer, (BinaryLinear, BinaryConv2d)):
            before = layer.weight
            if id(before) not in made:
                signs = signs_of(_weight_of(name), before).to(before.dtype)
                made[id(before)] = nn.Parameter(signs * output_scale(signs[0].numel()))
            cast(Any, layer).__class__ = nn.Linear if isinstance(layer, BinaryLinear) else nn.Conv2d
            layer._parameters["weight"] = made[id(before)]
        elif isinstance(layer, BinaryLayer):
            raise TypeError(f"model holds {name!r}, a {type(layer).__name__}, which has no form in torch")
    return plain


class _Signs(nn.Module):
    """`BinaryActivation` without a gradient of its own, for exporters that trace."""

    def forward(self, z: Tensor) -> Tensor:
        return torch.where(z >= 0, 1.0, -1.0).to(z.dtype)


def _copied(model: _ModuleT) -> _ModuleT:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, but is {type(model).__name__}")
    return copy.deepcopy(model).eval()


def _weight_of(layer: str) -> str:
    return f"{layer}.weight" if layer else "weight"


def _pack(name: str, layer: BinaryLinear) -> None:
    """Turn a layer into a `PackedLinear` in place, so that its hooks and ties stay."""
    bits = pack_signs(signs_of(_weight_of(name), layer.weight))
    bits = F.pad(bits, (0, -bits.shape[1] % _WORD_BYTES))
    device = layer.weight.device
    packed = cast(Any, layer)
    del layer._parameters["weight"]
    packed.__class__ = PackedLinear
    packed.register_buffer("bits", bits.to(device))
