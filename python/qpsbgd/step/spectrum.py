"""A flatter spectrum of p, which lets the small directions of a layer's gradient count as the large ones do.

A QUBO sees one row, and so knows the inputs' correlations (A), but not those of the outputs. Shampoo
(arXiv 1802.09568) and Muon act on both sides of a gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["with_singular_values"]

_LEAST = 1e-2
"""Singular values below this part of the largest are scaled as if they had it: they are mostly noise."""


def with_singular_values(p: Tensor, power: float) -> Tensor:
    """Raise the singular values of matrices to a power; the largest one of each is kept.

    ``U S V' -> U (S / s)^power s V'`` with the largest s. The power ½ gives ``(p p')^(-1/4) p``, Shampoo's
    left factor of one gradient; 0 makes all singular values equal, as Muon does. Singular values below
    s / 100 are multiplied as s / 100 is.

    Cost: ``min(m, d)^3`` and ``min(m, d) m d``, by the eigenvectors of the smaller Gram matrix, in float64.

    Parameters
    ----------
    p : Tensor (..., m, d)
        The matrices.
    power : float
        From 0 to 1; 1 returns p itself.

    Examples
    --------
    >>> import torch
    >>> with_singular_values(torch.tensor([[4.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), 0.5)
    tensor([[4., 0., 0.],
            [0., 2., 0.]])
    """
    if power == 1.0 or not p.numel():
        return p
    wide = p.double()
    tall = wide.shape[-2] > wide.shape[-1]
    squares, vectors = torch.linalg.eigh(wide.mT @ wide if tall else wide @ wide.mT)
    largest = squares[..., -1:].clamp_min(torch.finfo(torch.float64).tiny)
    factors = (squares / largest).clamp_min(_LEAST**2).pow((power - 1) / 2)
    turned = (vectors * factors.unsqueeze(-2)) @ vectors.mT
    flattened: Tensor = wide @ turned if tall else turned @ wide
    # Rounding must not make a step of a row or a column without gradient.
    moved = p.any(dim=-1, keepdim=True) & p.any(dim=-2, keepdim=True)
    return (flattened * moved).to(p.dtype)
