"""The end of every read, in float64 and by the caller's numbers: a local minimum and its energy.

Products with spins are sums of integers and therefore exact (`fixed.exact_parts`). All other sums have a
fixed order (`fixed.tree_sum`). So energies and the last flips are the same bits whatever the batch is split
into. A read that searched with rounded couplings flips a few spins here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from qpsbgd.solvers.device.batch import TensorBatch
from qpsbgd.solvers.device.fixed import exact_parts, scaled, tree_sum

__all__ = ["finished"]

_MOST_ROUNDS = 100
_ROUNDING = 4.0 * torch.finfo(torch.float64).eps


class _Exact:
    """Fields and energies of spins (m, r, n), r reads for each of m matrices."""

    def __init__(self, couplings: Tensor, own: Tensor) -> None:
        self.couplings, self._own = couplings, own
        self._parts = exact_parts(couplings)
        self.rounding = _ROUNDING * (own.abs() + tree_sum(couplings.abs())[:, None])

    def fields(self, spins: Tensor) -> Tensor:
        fields = self._own
        for part, shifts in reversed(self._parts):
            fields = fields + scaled(torch.bmm(spins.to(torch.float64), part), -shifts[:, None, None])
        return fields

    def energies(self, spins: Tensor, fields: Tensor) -> Tensor:
        return 0.5 * tree_sum(spins * (fields + self._own))


def finished(
    batch: TensorBatch, couplings: Tensor, spins: Tensor, starts: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return local minima and their energies, (m, r, n) and float64 (m, r).

    Parameters
    ----------
    batch : TensorBatch
        The problems.
    couplings : float64 Tensor (m, n, n)
        Of the batch.
    spins : int8 Tensor (m, r, n)
        Where reads have come to; m r is the number of problems times that of reads.
    starts : int8 Tensor (m, r, n), or None
        States whose energy no result exceeds.

    Examples
    --------
    >>> from qpsbgd.problem import ising_problem
    >>> from qpsbgd.solvers.device.batch import batch_of
    >>> batch = batch_of(ising_problem([1.0, 0.5], [[0, -1], [0, 0]]), torch.device("cpu"))
    >>> spins = torch.ones(1, 1, 2, dtype=torch.int8)
    >>> finished(batch, batch.couplings(), spins, None)
    (tensor([[[1, 1]]], dtype=torch.int8), tensor([[0.5000]], dtype=torch.float64))
    """
    m, r = spins.shape[:2]
    reads = m * r // len(batch.h)

    def by_matrix(values: Tensor) -> Tensor:
        return values.repeat_interleave(reads, dim=0).reshape(m, r, *values.shape[1:])

    exact = _Exact(couplings, by_matrix(batch.h))
    fields = exact.fields(spins)
    if starts is not None:
        there = exact.fields(starts)
        worse = exact.energies(starts, there) < exact.energies(spins, fields)
        spins = torch.where(worse[..., None], starts, spins)
        fields = torch.where(worse[..., None], there, fields)
    spins = spins.clone()
    for _ in range(_MOST_ROUNDS):
        if not _descended(exact, spins, fields):
            break
        fields = exact.fields(spins)  # flips have rounded them
    return spins, exact.energies(spins, fields) + by_matrix(batch.constants())


def _descended(exact: _Exact, spins: Tensor, fields: Tensor) -> bool:
    """Flip the spin that gains most until none gains more than rounding, in place; tell whether any did."""
    matrix = torch.arange(len(spins), device=spins.device)[:, None]
    flipped = False
    for _ in range(_MOST_ROUNDS * spins.shape[-1]):
        gain, places = (spins * fields - exact.rounding).max(dim=-1)
        moved = (gain > 0)[..., None]
        if not bool(moved.any()):
            break
        flipped = True
        at = places[..., None]
        own = spins.gather(-1, at)
        changes = (2.0 * own).where(moved, 0.0)
        fields.sub_(exact.couplings[matrix, places] * changes)
        spins.scatter_(-1, at, torch.where(moved, -own, own))
    return flipped
