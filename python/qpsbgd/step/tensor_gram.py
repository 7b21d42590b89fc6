"""Gram matrices on the device of the inputs, in torch operations; the counterpart of `qpsbgd.step.gram`.

Half-precision inputs are multiplied as they are: a product of two such numbers is exact in float32, in which
the sums are kept. A float32 product follows torch's own switch, ``torch.set_float32_matmul_precision``.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = ["tensor_grams", "weighted_tensor_grams"]

_HALF = (torch.float16, torch.bfloat16)
_FLOAT32_SUMS = ("cuda", "xpu")
"""Devices whose products of half-precision matrices can be kept in float32."""


def tensor_grams(blocks: Iterable[Tensor], num_samples: int) -> Tensor:
    """Return ``A = (a²/n) X'X`` of every channel group of a layer, (groups, d, d), in at least float32.

    Parameters
    ----------
    blocks : iterable of Tensor (groups, k, d)
        In every block some rows of X for each group; there is one block at least.
    num_samples : int
        Rows n of all blocks together.

    Examples
    --------
    >>> tensor_grams([torch.ones(1, 2, 4), torch.ones(1, 1, 4)], num_samples=3)[0, 0, :2]
    tensor([0.2500, 0.2500])
    """
    total: Tensor | None = None
    for X in blocks:
        part = _gram(X)
        total = part if total is None else total.add_(part)
    if total is None:
        raise ValueError("blocks is empty, expected at least one block of inputs")
    return total.mul_(1.0 / (num_samples * total.shape[-1]))


def weighted_tensor_grams(blocks: Iterable[tuple[Tensor, Tensor]], num_samples: int) -> Tensor:
    """Return the Gram matrices ``A_j = (a²/n) X' diag(D_j²) X`` of post-activation Jacobians, (m, d, d).

    Parameters
    ----------
    blocks : iterable of pairs of Tensor (k, d) and (k, m)
        Rows of X, and the slopes D of the activation there; there is one block at least.
    num_samples : int
        Rows n of all blocks together.

    Examples
    --------
    >>> slopes = torch.tensor([[1.0, 0.0], [1.0, 2.0]])
    >>> weighted_tensor_grams([(torch.ones(2, 4), slopes)], num_samples=2)[:, 0, 0]
    tensor([0.2500, 0.5000])
    """
    totals: list[Tensor] = []
    for X, slopes in blocks:
        dtype = _sum_dtype(X)
        parts = [_gram((X.to(dtype) * slopes[:, j, None].to(dtype))[None])[0] for j in range(slopes.shape[1])]
        totals = [total.add_(part) for total, part in zip(totals, parts, strict=True)] if totals else parts
    if not totals:
        raise ValueError("blocks is empty, expected at least one block of inputs and slopes")
    return torch.stack(totals).mul_(1.0 / (num_samples * totals[0].shape[-1]))


def _sum_dtype(X: Tensor) -> torch.dtype:
    return torch.float64 if X.dtype == torch.float64 else torch.float32


def _gram(X: Tensor) -> Tensor:
    """X'X of every group."""
    with torch.autocast(X.device.type, enabled=False):  # a forward pass folds what earlier ones recorded
        return _product(X)


def _product(X: Tensor) -> Tensor:
    if X.dtype in _HALF and X.device.type in _FLOAT32_SUMS:
        return torch.bmm(X.mT, X, out_dtype=torch.float32)
    X = X.to(_sum_dtype(X))
    return torch.bmm(X.mT, X)
