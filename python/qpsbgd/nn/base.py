"""What binary layers share: a weight that stays marked as binary, and how latent weights start."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from torch import Tensor, nn

from qpsbgd.capture.autograd import BinaryWeight, as_binary_weight
from qpsbgd.capture.operands import LatentValues, plain_tensor

__all__ = ["BinaryLayer", "output_scale", "pair", "positive_int"]

_LayerT = TypeVar("_LayerT", bound="BinaryLayer")

_INITIAL_RANGE = 0.1
"""Latent weights start in U(-.1, .1): far enough from the clip at 1, near enough to 0 to flip."""


class BinaryLayer(nn.Module):
    """Base of the layers whose parameter `weight` is a latent binary weight."""

    weight: BinaryWeight
    bias: nn.Parameter | None

    def reset_parameters(self) -> None:
        """Draw the latent weights from U(-.1, .1) and set the bias to zero."""
        nn.init.uniform_(self.weight, -_INITIAL_RANGE, _INITIAL_RANGE)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        """Register as `torch.nn.Module` does; whatever becomes the weight is marked as binary."""
        # Assignments come through here, load_state_dict(assign=True) among them.
        if name == "weight" and param is not None:
            param = as_binary_weight(param)
        super().register_parameter(name, param)

    def _apply(self: _LayerT, fn: Callable[..., Any], recurse: bool = True) -> _LayerT:
        def plain(tensor: Tensor) -> Tensor:
            # A parameter cannot be made of a converted weight that still has the weight's guard.
            converted: Tensor = fn(tensor)
            return plain_tensor(converted) if type(converted) is LatentValues else converted

        # torch makes new plain parameters where memory cannot be swapped, as in Module.to_empty.
        super()._apply(plain, recurse)  # type: ignore[no-untyped-call]
        weight = self._parameters.get("weight")  # pruning and parametrizations keep it elsewhere
        if weight is not None:
            as_binary_weight(weight)
        return self


def positive_int(name: str, value: Any) -> int:
    """Give a size as an int; numpy's integers are sizes too. Raise unless it is at least 1."""
    if not isinstance(value, bool):
        with contextlib.suppress(TypeError):
            size = operator.index(value)
            if size >= 1:
                return size
    raise ValueError(f"{name} must be a positive integer, but is {value!r}")


def pair(name: str, value: Any) -> tuple[Any, Any]:
    """Give the value for height and width as a pair; one number stands for both, as in torch's layers."""
    values = tuple(value) if isinstance(value, Iterable) else (value, value)
    if len(values) != 2:
        raise ValueError(f"{name} must be an integer or a pair of them, but is {value!r}")
    return values


def output_scale(fan_in: int) -> float:
    """Give the factor ``a = 1 / sqrt(fan_in)``, which keeps the variance of Z at that of X.

    A layer without inputs, which `to_binary` may meet, has outputs of zero at any scale.
    """
    return float(max(fan_in, 1) ** -0.5)
