"""Moves of many reads in step, in torch operations: the reference of the Triton kernels, on any device.

Descent and tabu search flip the spin of the largest gain, the first of equals. A sweep of annealing offers a
flip to each spin in turn and takes it by Metropolis' rule. Cost of a flip: a look at all spins of a read and
one row of couplings; all reads make theirs together.
"""

from __future__ import annotations

import torch
from torch import Tensor

from qpsbgd.solvers.device.reads import Reads, Rests
from qpsbgd.solvers.device.streams import bits

__all__ = ["SWEEP_COUNTERS", "anneal", "descend", "tabu"]

SWEEP_COUNTERS = 8192
"""Counters of random numbers that a sweep takes; a spin has the one of its place."""

_NEVER = -(2**63)
_LOW = 2**32 - 1
_MOST_BARRIER = float(2**31 - 128)


def descend(reads: Reads) -> None:
    """Flip the spin that gains most until none gains."""
    everywhere = torch.ones_like(reads.spins, dtype=torch.bool)
    while True:
        gain, places = _largest(reads.spins * reads.fields, everywhere)
        moved = gain > 0
        if not bool(moved.any()):
            break
        _flip(reads, places, moved)
        reads.now.sub_(gain.where(moved, 0))
    _keep_best(reads)


def tabu(reads: Reads, rests: Rests, first: int, flips: int) -> None:
    """Make flips number `first` and on: of spins that do not rest, or that lead to a new best state."""
    for turn in range(flips):
        gains = reads.spins * reads.fields
        allowed = (rests.left <= turn) | (gains > (reads.now - reads.least)[..., None])
        gain, places = _largest(gains, allowed)
        moved = allowed.any(dim=-1)
        _flip(reads, places, moved)
        reads.now.sub_(gain.where(moved, 0))
        rest = rests.shortest + bits(reads.keys, first + turn, 24) % rests.spread
        left = rests.left.gather(-1, places[..., None])
        rests.left.scatter_(
            -1, places[..., None], (turn + 1 + rest)[..., None].where(moved[..., None], left).int()
        )
        improved = _keep_best(reads)
        rests.since.copy_((rests.since + 1).where(~improved, 0))
    rests.left.sub_(flips).clamp_(min=0)


def anneal(reads: Reads, sweep: int, temperatures: Tensor, quantiles: Tensor) -> None:
    """Offer each spin a flip, in order, at a temperature (float32 (m, r)) in the units of gains.

    A flip is taken if ``-gain <= T x``, x a quantile of the exponential distribution: of 4096, and in the
    first of them of 4096 again.
    """
    places = torch.arange(reads.spins.shape[-1], device=reads.spins.device)
    drawn = bits(reads.keys[..., None], sweep * SWEEP_COUNTERS + places, 24)
    high, low = drawn >> 12, drawn & 4095
    x = torch.where(high > 0, quantiles[high], quantiles[low] + quantiles[4096])
    barriers = (x * temperatures[..., None]).clamp_(max=_MOST_BARRIER).to(torch.int32)
    last = torch.full_like(reads.now, -1)
    while True:
        gains = reads.spins * reads.fields
        taken = (places > last[..., None]) & (gains >= -barriers)
        moved = taken.any(dim=-1)
        if not bool(moved.any()):
            break
        place = taken.to(torch.int8).argmax(dim=-1)  # the first
        gain = gains.gather(-1, place[..., None])[..., 0]
        _flip(reads, place, moved)
        reads.now.sub_(gain.where(moved, 0))
        last = place.where(moved, len(places))
    _keep_best(reads)


def _largest(gains: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
    """Give the largest allowed gain (m, r) and its first place; any place where none is allowed."""
    n = gains.shape[-1]
    order = torch.arange(n - 1, -1, -1, device=gains.device)
    keys = ((gains.to(torch.int64) << 32) + order).where(allowed, _NEVER)
    top = keys.amax(dim=-1)
    return top >> 32, n - 1 - (top & _LOW)


def _flip(reads: Reads, places: Tensor, moved: Tensor) -> None:
    """Flip one spin of each read, where it moves."""
    at = places[..., None]
    spins = reads.spins.gather(-1, at)
    matrix = torch.arange(len(places), device=places.device)[:, None]
    changes = (2 * spins.to(torch.int32)).where(moved[..., None], 0)
    reads.fields.sub_(reads.couplings[matrix, places] * changes)
    reads.spins.scatter_(-1, at, torch.where(moved[..., None], -spins, spins))


def _keep_best(reads: Reads) -> Tensor:
    """Take the state as the best one where it is; return where."""
    improved = reads.now < reads.least
    reads.best.copy_(torch.where(improved[..., None], reads.spins, reads.best))
    reads.least.copy_(torch.minimum(reads.now, reads.least))
    return improved
