"""The rows of a layer, projected on the device of its weight; the counterpart of `qpsbgd.step.rows`.

Row j descends ``s_j G'AG - 2 p_j'G`` from sign(p_j). Its fields are ``f = A G - p_j / s_j``, so that a flip
of spin k gains ``h_k f_k - t A_kk / 2``: see `qpsbgd.step.device.descent`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from qpsbgd.step.device.descent import Rows
from qpsbgd.step.device.together import Descents, alone

__all__ = ["project_tensors", "projection", "raw_tensors", "rounding_of"]


class _Start(NamedTuple):
    """What the rows start from, p in units of its largest entry: (q, r, d), or (q, r) one number a row."""

    p: Tensor
    signs: Tensor
    products: Tensor
    """A sign(p)."""
    scales: Tensor
    """s, and 1 where the row does not descend."""
    active: Tensor
    """Whether there is anything to descend."""


def project_tensors(P: Tensor, matrices: Tensor, **options: Any) -> Tensor:
    """Project fields by Gram matrices on their device at once: `projection`, to its end.

    Examples
    --------
    >>> project_tensors(torch.tensor([[0.3, -0.1]]), torch.eye(2)[None])
    tensor([[ 1, -1]], dtype=torch.int8)
    """
    return alone(projection(P, matrices, **options))


def projection(
    P: Tensor,
    matrices: Tensor,
    *,
    scale: str | float = "relative",
    kappa: float = 1.0,
    domain: str = "spin",
    num_samples: int | None = None,
) -> Descents[Tensor]:
    """Project fields by Gram matrices on their device; nothing waits for the device, unless it is the CPU.

    It yields the rows that are to descend; see `qpsbgd.step.device.together`.

    Parameters
    ----------
    P : float32 or float64 Tensor (m, d)
        Gradient plus memory, finite.
    matrices : Tensor (q, d, d) of the dtype of P
        A: one for each m / q rows, in order.
    scale, kappa, domain, num_samples
        As in `qpsbgd.projection.project_gradient`.

    Returns
    -------
    int8 Tensor (m, d)
        The binary step G. No row's objective is above that of sign(p).

    Examples
    --------
    >>> alone(projection(torch.tensor([[0.3, -0.1]]), torch.eye(2)[None]))
    tensor([[ 1, -1]], dtype=torch.int8)
    """
    count, width = P.shape
    p = P.reshape(len(matrices), count // len(matrices), width)
    if scale == "raw":
        if num_samples is None:
            raise ValueError("num_samples is needed with scale 'raw'")
        p, matrices = raw_tensors(p, matrices, num_samples)
        scale, kappa = 1.0, 1.0
    diagonal = matrices.diagonal(dim1=-2, dim2=-1)
    start = _start(p, matrices, scale, kappa)
    spins = start.signs
    if scale == "auto" or (kappa if isinstance(scale, str) else scale) > 0:
        spins = yield from _descended(start, matrices, diagonal, scale == "auto", domain == "mask")
    step = spins.to(torch.int8)
    # Nothing is known of a weight without input and gradient, nor of a row without any gradient.
    unknown = (p == 0) & ((diagonal[:, None] == 0) | (p == 0).all(dim=-1, keepdim=True))
    return step.masked_fill_(unknown, 0).reshape(count, width)


def _start(p: Tensor, matrices: Tensor, scale: str | float, kappa: float) -> _Start:
    # The binary step does not depend on a common factor of p and s.
    size = p.abs().amax(dim=-1)
    p = p / size.where(size > 0, 1.0)[..., None]
    signs = torch.where(p >= 0, 1.0, -1.0).to(p.dtype)
    products = torch.bmm(signs, matrices)
    if isinstance(scale, str):
        curvature = (signs * products).sum(dim=-1)
        # Without curvature the sign is best at any step.
        scales = p.abs().sum(dim=-1) / curvature.where(curvature > 0, torch.inf)
        scales = scales if scale == "auto" else kappa * scales
    else:
        scales = scale / size
    active = (size > 0) & (scales > 0) & scales.isfinite() & scales.reciprocal().isfinite()
    return _Start(p, signs, products, scales.where(active, 1.0), active)


def _descended(
    start: _Start, matrices: Tensor, diagonal: Tensor, fitted: bool, mask: bool
) -> Descents[Tensor]:
    """Give the steps G of all rows: what descents reach, or sign(p) where that is not worse."""
    factor = 1.0 if mask else 2.0
    over = start.p / start.scales[..., None]
    rows = Rows(
        fields=start.products - over,
        spins=start.signs.clone(),
        matrices=matrices,
        thresholds=0.5 * factor * diagonal + rounding_of(matrices),
        factor=factor,
        active=start.active,
    )
    yield rows
    scales = start.scales
    if fitted:
        scales = _fitted(start, rows, over, mask)
        refitted = start.p / scales[..., None]
        rows.fields += over - refitted
        over = refitted
        yield rows
    steps = 0.5 * (start.signs + rows.spins) if mask else rows.spins
    better = _is_better(start, rows, steps, over, scales)
    return torch.where(better[..., None], steps, start.signs)


def _fitted(start: _Start, rows: Rows, over: Tensor, mask: bool) -> Tensor:
    """Give the length of step that fits X G best to v: ``s = p'G / G'AG``, where that is a length."""
    steps = 0.5 * (start.signs + rows.spins) if mask else rows.spins
    slope = (start.p * steps).sum(dim=-1)
    curvature = (steps * (rows.fields + over)).sum(dim=-1)
    scales = slope / curvature
    usable = (slope > 0) & (curvature > 0) & (scales > 0) & scales.isfinite() & scales.reciprocal().isfinite()
    return torch.where(usable & start.active, scales, start.scales)


def _is_better(start: _Start, rows: Rows, steps: Tensor, over: Tensor, scales: Tensor) -> Tensor:
    """Whether the objective of the steps is below that of sign(p) by more than rounding explains.

    With D = G - sign(p) the difference is ``D'(s (A sign(p) + A G) - 2 p)``, and A G follows from the fields.
    """
    change = steps - start.signs
    both = scales[..., None] * (start.products + rows.fields + over)
    difference = (change * (both - 2.0 * start.p)).sum(dim=-1)
    terms = (change.abs() * (both.abs() + 2.0 * start.p.abs())).sum(dim=-1)
    rounding = torch.finfo(steps.dtype).eps * (8.0 + change.count_nonzero(dim=-1))
    return difference < -rounding * terms


def rounding_of(matrices: Tensor) -> Tensor:
    """Give a bound of the rounding of ``A h`` for spins h, and so of what gains may be by rounding alone."""
    return torch.finfo(matrices.dtype).eps * matrices.abs().sum(dim=-1)


def raw_tensors(p: Tensor, matrices: Tensor, num_samples: int) -> tuple[Tensor, Tensor]:
    """Fields and couplings of ``scale="raw"``, as `qpsbgd.step.rows.raw_form`.

    Examples
    --------
    >>> raw_tensors(torch.ones(1, 1, 2), torch.eye(2)[None], num_samples=2)[1]
    tensor([[[0.1250, 0.0000],
             [0.0000, 0.1250]]])
    """
    width = matrices.shape[-1]
    squares = num_samples * width * matrices.diagonal(dim1=-2, dim2=-1)
    inverse = squares.reciprocal().where(squares > 0, 0.0)
    couplings = matrices * (inverse[:, :, None] * inverse[:, None, :] * width)
    return p * (inverse * width**0.5)[:, None], couplings
