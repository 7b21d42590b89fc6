"""The base class of the binary layers, and the checks of their arguments."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from torch import Tensor, nn

from qpsbgd.capture.operands import LatentValues, plain_tensor
from qpsbgd.capture.weight import BinaryWeight, as_binary_weight

__all__ = ["BinaryLayer", "output_scale", "pair_of_int", "positive_int"]

_LayerT = TypeVar("_LayerT", bound="BinaryLayer")

_INITIAL_RANGE = 0.1
"""Latent weights start in U(-.1, .1): far enough from the clip at 1, near enough to 0 to flip."""


class BinaryLayer(nn.Module):
    """Keep the parameter `weight` of a layer marked as a latent binary weight."""

    weight: BinaryWeight
    bias: nn.Parameter | None

    def reset_parameters(self) -> None:
        """Draw the latent weights from U(-.1, .1) and set the bias to zero."""
        nn.init.uniform_(self.weight, -_INITIAL_RANGE, _INITIAL_RANGE)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        """Register as `torch.nn.Module` does, and mark a parameter named "weight" as binary."""
        # Every assignment calls this method, load_state_dict(assign=True) too.
        if name == "weight" and param is not None:
            param = as_binary_weight(param)
        super().register_parameter(name, param)

    def _apply(self: _LayerT, fn: Callable[..., Any], recurse: bool = True) -> _LayerT:
        def plain(tensor: Tensor) -> Tensor:
            # A parameter cannot be made of a converted weight that still has the weight's guard.
            converted: Tensor = fn(tensor)
            return plain_tensor(converted) if type(converted) is LatentValues else converted

        # torch makes new plain parameters where it cannot swap memory, as in Module.to_empty.
        super()._apply(plain, recurse)  # type: ignore[no-untyped-call]
        weight = self._parameters.get("weight")  # pruning and parametrizations move it elsewhere
        if weight is not None:
            as_binary_weight(weight)
        return self


def positive_int(name: str, value: Any) -> int:
    """Give a size as an int, whatever kind of integer it is; raise unless it is at least 1."""
    size = _as_int(value)
    if size is None or size < 1:
        raise ValueError(f"{name} must be a positive integer, but is {value!r}")
    return size


def pair_of_int(name: str, value: Any, least: int) -> tuple[int, int]:
    """Give the sizes for height and width; one number stands for both, as in torch's layers."""
    single = _as_int(value) is not None or not isinstance(value, Iterable)
    values = (value, value) if single else tuple(value)
    if len(values) != 2:
        raise ValueError(f"{name} must be an integer or a pair of them, but is {value!r}")
    sizes = [size for size in map(_as_int, values) if size is not None and size >= least]
    if len(sizes) != 2:
        kind = "a positive integer" if least == 1 else f"an integer of at least {least}"
        raise ValueError(f"{name} must be {kind} or a pair of them, but is {value!r}")
    return sizes[0], sizes[1]


def _as_int(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def output_scale(fan_in: int) -> float:
    """Give the factor ``a = 1 / sqrt(fan_in)``, which keeps the variance of Z at that of X.

    A layer without inputs, which `to_binary` may meet, has outputs of zero at any scale.
    """
    return float(max(fan_in, 1) ** -0.5)
