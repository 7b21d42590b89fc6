"""The fully connected binary layer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qpsbgd.capture.autograd import binarize, recorded_product
from qpsbgd.capture.weight import BinaryWeight
from qpsbgd.nn.base import BinaryLayer, output_scale, positive_int

__all__ = ["BinaryLinear"]


class BinaryLinear(BinaryLayer):
    """``Z = a X sign(W)' + bias`` with ``a = 1 / sqrt(in_features)`` and sign(0) = +1.

    The gradient passes straight through the sign: ``W.grad = a grad_Z' X`` exactly. The factor a keeps the
    variance of Z at that of X. The state dict has the keys of `torch.nn.Linear`.

    Parameters
    ----------
    in_features, out_features : int
        Sizes d and m.
    bias : bool
        Learn an additive bias of shape (m,). Off by default, since batch norm usually follows.
    device, dtype
        As in `torch.nn.Linear`.

    Raises
    ------
    ValueError
        If a size is not a positive integer.

    Examples
    --------
    >>> import torch
    >>> layer = BinaryLinear(4, 3)
    >>> layer(torch.ones(2, 4)).shape
    torch.Size([2, 3])
    """

    in_features: int
    out_features: int

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_features = positive_int("in_features", in_features)
        self.out_features = positive_int("out_features", out_features)
        values = torch.empty(self.out_features, self.in_features, device=device, dtype=dtype)
        self.weight = BinaryWeight(values)
        if bias:
            self.bias = nn.Parameter(torch.empty(self.out_features, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute Z (..., m) of inputs (..., d)."""
        scale = output_scale(self.in_features)

        def product(binary: Tensor) -> Tensor:
            # Scaled after the product: with ±1 inputs the sum is an exact integer, and its zeros are exact.
            return F.linear(inputs, binary) * scale

        if self.training:
            output = recorded_product(self.weight, inputs, product, scale=scale)
        else:
            output = product(binarize(self.weight))
        return output if self.bias is None else output + self.bias

    def extra_repr(self) -> str:
        """Name the sizes, as `torch.nn.Linear` does."""
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"
