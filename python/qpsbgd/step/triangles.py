"""Symmetric matrices without their lower half: d (d + 1) / 2 numbers instead of d², for messages."""

from __future__ import annotations

from torch import Tensor

__all__ = ["pack_symmetric", "packed_size", "unpack_symmetric"]


def packed_size(d: int) -> int:
    """Return how many numbers a packed matrix (d, d) has.

    Examples
    --------
    >>> packed_size(4)
    10
    """
    return d * (d + 1) // 2


def pack_symmetric(matrices: Tensor) -> Tensor:
    """Pack symmetric matrices (b, d, d) into (b, d (d + 1) / 2) by copies of blocks.

    With A11 of ceil(d/2) rows the upper half of A11 and the lower half of A22 fit into one rectangle, as in
    LAPACK's rectangular full packed format (Gustavson et al. 2010). A12 follows it.

    Examples
    --------
    >>> import torch
    >>> pack_symmetric(torch.tensor([[[1.0, 2.0], [2.0, 3.0]]]))
    tensor([[1., 3., 2.]])
    """
    batch, d, _ = matrices.shape
    first = (d + 1) // 2
    second = d - first
    packed = matrices.new_empty((batch, packed_size(d)))
    halves = packed[:, : (second + 1) * first].view(batch, second + 1, first)
    halves[:, :first] = matrices[:, :first, :first].triu()
    halves[:, first:] = 0.0
    halves[:, 1:, :second] += matrices[:, first:, first:].tril()
    packed[:, (second + 1) * first :] = matrices[:, :first, first:].reshape(batch, -1)
    return packed


def unpack_symmetric(packed: Tensor, d: int) -> Tensor:
    """Give the symmetric matrices (b, d, d) that `pack_symmetric` packed.

    Examples
    --------
    >>> import torch
    >>> unpack_symmetric(torch.tensor([[1.0, 3.0, 2.0]]), 2)
    tensor([[[1., 2.],
             [2., 3.]]])
    """
    batch = len(packed)
    first = (d + 1) // 2
    second = d - first
    halves = packed[:, : (second + 1) * first].view(batch, second + 1, first)
    corner = packed[:, (second + 1) * first :].view(batch, first, second)
    matrices = packed.new_empty((batch, d, d))
    upper, lower = halves[:, :first], halves[:, 1:, :second]
    matrices[:, :first, :first] = upper.triu() + upper.triu(1).mT
    matrices[:, first:, first:] = lower.tril() + lower.tril(-1).mT
    matrices[:, :first, first:] = corner
    matrices[:, first:, :first] = corner.mT
    return matrices
