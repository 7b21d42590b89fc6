"""Types of the arrays of a step, and the way between tensors and arrays."""

from __future__ import annotations

from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["Doubles", "Floats", "Matrix", "Spins", "to_host"]

Floats: TypeAlias = npt.NDArray[np.floating[Any]]
Doubles: TypeAlias = npt.NDArray[np.float64]
Spins: TypeAlias = npt.NDArray[np.int8]
Matrix: TypeAlias = Any
"""A Gram matrix: a `Floats` array, or a Tensor where a step stays on the device of its weight."""


def to_host(tensor: Tensor, dtype: torch.dtype) -> Floats:
    """Make a tensor a contiguous numpy array of `dtype`, without a copy where it is one already."""
    if tensor.requires_grad:
        tensor = tensor.detach()
    if tensor.dtype != dtype or not tensor.is_cpu:
        tensor = tensor.to("cpu", dtype)
    return cast(Floats, tensor.contiguous().numpy())
