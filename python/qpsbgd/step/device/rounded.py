"""Descents whose flips read int8 couplings, and end by the matrices themselves.

A flip reads a row of A: d numbers from the cache, which is what binds wide layers on a GPU. So rows first
descend by couplings of one byte, ``A_ij ≈ r_i r_j q_ij``. r holds the roots of the diagonal, so that inputs
of any sizes are rounded alike: q are correlations in units of the largest one / 127. The diagonal is not
rounded; a program knows it. Then one product makes the fields exact again, and few flips are left.

Measured in torch operations, random layers, rows of float32 couplings read 4 d bytes a flip:

| inputs, samples | flips | of them by int8 | bytes of A a row | with int8 |
|---|---|---|---|---|
| 4096, 256, normal | 350 | 353, then 6 | 5.7 MB | 1.5 MB + .5 MB for the product |
| 4096, 1024, positive and correlated | 598 | 599, then 0 | 9.8 MB | 2.5 MB + .5 MB |

Objectives are equal within noise. Passes over blocks of coordinates, whose field update is one product,
left half of the flips to do, and were not worth their launches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from qpsbgd.step.device.descent import Rows

__all__ = ["descend_rounded", "is_rounded", "rounded_matrices"]

_WIDTH = 1024
_ROWS = 128
"""Of a matrix, at least: rounding it reads all of it some times."""
_LARGEST = 127


def is_rounded(rows: Rows) -> bool:
    """Tell whether rows are so wide, and so many share a matrix, that int8 couplings come first."""
    return rows.fields.shape[-1] > _WIDTH and rows.fields.shape[1] >= _ROWS


def rounded_matrices(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Return q, int8 (m, d, d) with zeros on the diagonal, and r (m, d), so that ``A_ij ≈ r_i r_j q_ij``.

    Examples
    --------
    >>> q, r = rounded_matrices(torch.tensor([[[4.0, 1.0], [1.0, 1.0]]]))
    >>> q
    tensor([[[  0, 127],
             [127,   0]]], dtype=torch.int8)
    >>> round((r[0, 0] * r[0, 1] * 127).item(), 4)
    1.0
    """
    sizes = matrices.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt()
    sizes = sizes.where(sizes > 0, 1.0)
    ratios = matrices / sizes[:, :, None]
    ratios /= sizes[:, None, :]
    ratios.diagonal(dim1=-2, dim2=-1).zero_()
    units = ratios.abs().amax(dim=(-2, -1)) / _LARGEST
    units = units.where(units > 0, 1.0)
    ratios /= units[:, None, None]
    return ratios.round_().to(torch.int8), sizes * units.sqrt()[:, None]


def descend_rounded(rows: Rows, descend: Callable[[Rows], None]) -> None:
    """Flip spins until no flip gains, most of them by int8 couplings; `descend` takes both parts.

    Examples
    --------
    >>> from qpsbgd.step.device.descent import descend
    >>> A = torch.tensor([[[1.0, 0.9], [0.9, 1.0]]])
    >>> spins = torch.ones(1, 1, 2)
    >>> fields = spins @ A - torch.tensor([[[0.1, 0.05]]])
    >>> rows = Rows(fields, spins, A, torch.ones(1, 2), 2.0, torch.ones(1, 1, dtype=torch.bool))
    >>> descend_rounded(rows, descend)
    >>> rows.spins
    tensor([[[ 1., -1.]]])
    """
    q, r = rounded_matrices(rows.matrices)
    coarse = replace(rows, matrices=q, columns=r, fields=rows.fields.clone(), spins=rows.spins.clone())
    descend(coarse)
    changes = coarse.spins - rows.spins
    rows.fields = torch.baddbmm(rows.fields, changes, rows.matrices, alpha=rows.factor / 2)
    rows.spins = coarse.spins
    del q, coarse
    descend(rows)
