"""Descent by single flips of many rows at once, in torch operations.

Row j has spins h, fields f and gains ``h f - own``, own = t A_kk / 2. A flip of spin k lowers its energy by
``2 t gain_k`` and changes its fields by ``-t h_k A_k``.

A pass cuts the coordinates into parts, as the native descent does. It takes the best of each part that gains
a quarter of what the best of all gains. Of these, a flip is made if it gains whatever better ones are made
too. So the best of all is always made, and no pass raises the energy. A pass costs a look at all gains and
one product with A: m d² operations, which is work for tensor cores.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Rows", "descend"]

_PARTS = 32
_LEAST_SHARE = 0.25
"""Of the best gain: what gains less may well not gain any more after the better ones."""
_FEWEST_PASSES = 32
_WIDTH_OF_PASS = 8
"""On a device that nobody looks at in between there is one more pass for so many coordinates."""


@dataclass
class Rows:
    """Rows that share matrices: the first r of them the first one, and so on.

    Attributes
    ----------
    fields : Tensor (q, r, d)
        f, changed by a descent.
    spins : Tensor (q, r, d)
        h, -1 or +1 in the dtype of the fields, changed by a descent.
    matrices : Tensor (q, d, d)
        A.
    thresholds : Tensor (q, d)
        A flip of spin k is made if ``h f`` is above it: own, and what rounding explains.
    factor : float
        t: 2, or 1 where spins stand for steps of 0 and 1.
    active : Tensor (q, r) of bool
        Rows that descend.
    columns : Tensor (q, d), optional
        r, where the matrices are int8 and stand for ``A_ij = r_i r_j matrices_ij``; the diagonal is then that
        of the thresholds.
    """

    fields: Tensor
    spins: Tensor
    matrices: Tensor
    thresholds: Tensor
    factor: float
    active: Tensor
    columns: Tensor | None = None

    def whole_matrices(self) -> Tensor:
        """Return A as numbers of the type of the fields."""
        if self.columns is None:
            return self.matrices
        r = self.columns
        matrices = r[:, :, None] * self.matrices.to(r.dtype) * r[:, None, :]
        matrices.diagonal(dim1=-2, dim2=-1).copy_(2.0 / self.factor * self.thresholds)
        return matrices


def descend(rows: Rows) -> None:
    """Flip spins until no flip gains, in place.

    On the CPU it ends when that is so. On other devices it makes as many passes as nearly all rows need: a
    look whether all have ended would wait for the device.

    Examples
    --------
    >>> A = torch.tensor([[[1.0, 0.9], [0.9, 1.0]]])
    >>> spins = torch.ones(1, 1, 2)
    >>> fields = spins @ A - torch.tensor([[[0.1, 0.05]]])
    >>> rows = Rows(fields, spins, A, torch.ones(1, 2), 2.0, torch.ones(1, 1, dtype=torch.bool))
    >>> descend(rows)
    >>> rows.spins
    tensor([[[ 1., -1.]]])
    """
    if rows.spins.shape[-1] == 0:
        return
    if rows.columns is not None:
        rows.matrices, rows.columns = rows.whole_matrices(), None
    looks = _is_looked_at(rows.fields.device)
    width = rows.spins.shape[-1]
    # Rounding could let undecided spins alternate for ever, where real descents flip each some once.
    passes = 100 * width if looks else _FEWEST_PASSES + width // _WIDTH_OF_PASS
    for _ in range(passes):
        gains, places = _best_of_parts(rows)
        made = _made(rows, gains, places)
        if looks and not bool(made.any()):
            return
        _flip(rows, places, made)


def _is_looked_at(device: torch.device) -> bool:
    return device.type == "cpu"


def _best_of_parts(rows: Rows) -> tuple[Tensor, Tensor]:
    """Give the gain of each part's best spin (q, r, parts), zero if it is not to flip, and its place."""
    gains = rows.spins * rows.fields - rows.thresholds[:, None]
    width = gains.shape[-1]
    parts = min(_PARTS, width)
    size = -(-width // parts)
    gains = F.pad(gains, (0, parts * size - width), value=-torch.inf)
    best, which = gains.unflatten(-1, (size, parts)).max(dim=-2)
    places = which * parts + torch.arange(parts, device=gains.device)
    least = _LEAST_SHARE * best.amax(dim=-1, keepdim=True)
    wanted = (best > 0) & (best >= least) & rows.active[..., None]
    return best.where(wanted, 0.0), places


def _made(rows: Rows, gains: Tensor, places: Tensor) -> Tensor:
    """Tell which of the flips gain, whatever better ones are made too."""
    places = places.clamp(max=rows.spins.shape[-1] - 1)  # of parts that are padding
    matrix = torch.arange(len(places), device=places.device)[:, None, None, None]
    couplings = rows.matrices[matrix, places[..., :, None], places[..., None, :]]
    spins = rows.spins.gather(-1, places)
    lost = rows.factor * (spins[..., :, None] * spins[..., None, :] * couplings).clamp(min=0)
    one, other = gains[..., :, None], gains[..., None, :]
    order = torch.arange(gains.shape[-1], device=gains.device)
    better = (other > one) | ((other == one) & (order[None, :] < order[:, None]))
    return gains > (lost * (better & (other > 0))).sum(dim=-1)


def _flip(rows: Rows, places: Tensor, made: Tensor) -> None:
    width = rows.spins.shape[-1]
    # A part that is padding writes into an entry of its own, which is cut off.
    flips = rows.spins.new_zeros((*rows.spins.shape[:-1], width + 1))
    flips = flips.scatter_(-1, places.clamp(max=width), made.to(flips.dtype))[..., :width]
    changes = -2.0 * flips * rows.spins
    rows.fields.baddbmm_(changes, rows.matrices, alpha=rows.factor / 2)
    rows.spins.add_(changes)
