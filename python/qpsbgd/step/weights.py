"""The move of latent weights: one step down, kept within the clip."""

from __future__ import annotations

import torch
from torch import Tensor

from qpsbgd import _core

__all__ = ["move_weights"]

_NATIVE_DTYPES = (torch.float32, torch.float64)


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
