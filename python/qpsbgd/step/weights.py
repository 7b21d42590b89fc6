"""The move of weights by a binary step."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from qpsbgd import _core

__all__ = ["Move", "move_weights"]

_NATIVE_DTYPES = (torch.float32, torch.float64)


class Move(NamedTuple):
    """How a weight moves by its step G: ``W <- clip(decay W - size G, -clip, clip)``, or ``W <- G``.

    Examples
    --------
    >>> import torch
    >>> weight = torch.tensor([[0.5, -0.5]])
    >>> Move(size=0.25, decay=0.5).apply(weight, torch.tensor([[1, 1]], dtype=torch.int8))
    >>> weight
    tensor([[ 0.0000, -0.5000]])
    """

    size: float
    decay: float = 1.0
    clip: float = math.inf
    replaces: bool = False
    """Whether G are the next weights."""

    def apply(self, weight: Tensor, step: Tensor, only: Tensor | None = None) -> None:
        """Move `weight` in place; if `only` is given, only where that bool on its device is true."""
        if only is not None:
            self._apply_only(weight, step, only)
            return
        if self.replaces:
            weight.copy_(step)
            return
        if self.decay != 1.0:
            weight.mul_(self.decay)
        move_weights(weight, step, self.size, self.clip)

    def _apply_only(self, weight: Tensor, step: Tensor, only: Tensor) -> None:
        """Move a weight as `apply`, or to where it is."""
        if self.replaces:
            weight.copy_(torch.where(only, step.to(weight.dtype), weight))
            return
        if self.decay != 1.0:
            weight.mul_(torch.where(only, self.decay, 1.0))
        weight.add_((step * only).to(weight.dtype), alpha=-self.size)
        bound = torch.where(only, self.clip, math.inf)
        weight.clamp_(-bound, bound)


def move_weights(weight: Tensor, step: Tensor, lr: float, clip: float) -> None:
    """``W <- clip(W - lr G, -clip, clip)`` in place and in one pass, for a binary step of int8.

    Parameters
    ----------
    weight : Tensor
        Changed as an in-place operation of torch would.
    step : Tensor of the same shape
        The step G, on the same device; int8, or any other type.
    lr, clip : float
        Size of the step, and bound of the weights.

    Examples
    --------
    >>> import torch
    >>> weight = torch.tensor([[0.5, -0.9]])
    >>> move_weights(weight, torch.tensor([[1, 1]], dtype=torch.int8), lr=0.25, clip=1.0)
    >>> weight
    tensor([[ 0.2500, -1.0000]])
    """
    native = step.dtype == torch.int8 and weight.dtype in _NATIVE_DTYPES
    if not native or weight.device.type != "cpu" or not weight.is_contiguous():
        weight.add_(step.to(weight.dtype), alpha=-lr)
        weight.clamp_(-clip, clip)
        return
    _core.move_weights(weight.detach().numpy(), step.numpy(), lr, clip, torch.get_num_threads())
    # Autograd refuses to use a tensor that was written to after it was saved.
    torch.autograd.graph.increment_version(weight)
