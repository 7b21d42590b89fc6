"""Couplings and fields as integers: sums are then exact, in any order and on every device.

A matrix is scaled by a power of two, 2^k, and rounded. k is as large as sums of a row allow: below 2^29, and
fields are cut off at 2^30, so no local field leaves int32. Dyadic fractions that fit become int16 without
rounding, integers first of all. k depends on the matrix alone, so that no answer depends on the rest of a
batch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["FixedCouplings", "exact_parts", "fixed_couplings", "fixed_fields", "scaled", "tree_sum"]

_ROW_BITS = 29
_FIELD = 2**30
_EXACT_BITS = 52


class FixedCouplings(NamedTuple):
    """Integer couplings of some matrices."""

    values: Tensor
    """int16 or int32 (m, n, n), symmetric and with zeros on the diagonal."""
    shifts: Tensor
    """k, int64 (m,)."""
    norms: Tensor
    """Root of the mean sum of squares of a row, rounded down, int64 (m,)."""


def tree_sum(x: Tensor) -> Tensor:
    """Sum along the last axis in one order, whatever the shape: sums of `torch.sum` depend on the batch.

    Examples
    --------
    >>> tree_sum(torch.tensor([[1.0, 2.0, 4.0]]))
    tensor([7.])
    """
    while x.shape[-1] > 1:
        half = x.shape[-1] // 2
        rest = x[..., 2 * half :]
        x = x[..., :half] + x[..., half : 2 * half]
        if rest.shape[-1]:
            x = torch.cat((x, rest), dim=-1)
    return x[..., 0]


def scaled(x: Tensor, shifts: Tensor) -> Tensor:
    """``x 2^k`` of float64 numbers x and int64 k; in two steps, since 2^k alone may be beyond float64."""
    half = shifts >> 1
    return x * _power(half) * _power(shifts - half)


def _power(k: Tensor) -> Tensor:
    """2^k, made of its bits: devices round what ``torch.pow`` gives."""
    return ((k + 1023) << 52).view(torch.float64)


def _exponents(matrices: Tensor) -> Tensor:
    """Return e of every matrix, whose entries are below 2^e; 0 where all are 0."""
    return torch.frexp(matrices.abs().amax(dim=(-2, -1))).exponent.to(torch.int64)


def fixed_couplings(matrices: Tensor) -> FixedCouplings:
    """Round symmetric float64 matrices (m, n, n) with zeros on the diagonal.

    Examples
    --------
    >>> fixed_couplings(torch.tensor([[[0.0, 1.5], [1.5, 0.0]]], dtype=torch.float64)).values
    tensor([[[    0, 24576],
             [24576,     0]]], dtype=torch.int16)
    """
    n = matrices.shape[-1]
    exponents = _exponents(matrices)
    short = 15 - exponents
    values = scaled(matrices, short[:, None, None])
    fits = (values == values.round()).all(dim=-1).all(dim=-1)
    shifts = torch.where(fits, short, _ROW_BITS - (n - 1).bit_length() - exponents)
    if bool(fits.all()):
        integers = values.to(torch.int16)
    else:
        integers = scaled(matrices, shifts[:, None, None]).round_().to(torch.int32)
    return FixedCouplings(integers, shifts, _norms(integers))


def _norms(integers: Tensor) -> Tensor:
    """Norms by exact sums: of the highest 15 bits of each integer."""
    sizes = integers.to(torch.int64).abs()
    surplus = (_exponents(sizes.to(torch.float64)) - 15).clamp_(min=0)
    squares = (sizes >> surplus[:, None, None]).square_().sum(dim=(-2, -1))
    return (squares.to(torch.float64) / integers.shape[-1]).sqrt().to(torch.int64) << surplus


def fixed_fields(fields: Tensor, shifts: Tensor) -> Tensor:
    """Round float64 fields (m, r, n) as the couplings of their matrices; int32."""
    return scaled(fields, shifts[:, None, None]).round_().clamp_(-_FIELD, _FIELD).to(torch.int32)


def exact_parts(matrices: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return float64 matrices of integers and their shifts, whose products with spins are exact.

    One part is the matrix, where its integers have few digits; else two are, up to 2^-77 of its largest
    entry.

    Examples
    --------
    >>> [(part, shift)] = exact_parts(torch.tensor([[[0.0, 3.0], [3.0, 0.0]]], dtype=torch.float64))
    >>> scaled(part, -shift[:, None, None])
    tensor([[[0., 3.],
             [3., 0.]]], dtype=torch.float64)
    """
    room = _EXACT_BITS - (matrices.shape[-1] - 1).bit_length()
    shifts = room - _exponents(matrices)
    first = scaled(matrices, shifts[:, None, None]).round_()
    rest = matrices - scaled(first, -shifts[:, None, None])
    parts = [(first, shifts)]
    if bool(rest.any()):
        shifts = shifts + room
        parts.append((scaled(rest, shifts[:, None, None]).round_(), shifts))
    return parts
