"""The search of many reads on a device: where they start, what they do in each sweep, and when they end.

Tabu search is Glover's (1989), annealing that of Kirkpatrick, Gelatt and Vecchi (1983), both with the rules
of the native search: rests, restarts and temperatures. A sweep is one launch of a kernel. Every random number
is a function of seed, problem, read and a counter (`streams`), and all numbers are integers. So an answer
does not depend on the rest of the batch.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from qpsbgd.solvers.device import moves
from qpsbgd.solvers.device.choose import uses_kernel
from qpsbgd.solvers.device.fixed import FixedCouplings, scaled
from qpsbgd.solvers.device.reads import Reads, Rests, placed
from qpsbgd.solvers.device.streams import bits, read_keys

__all__ = ["Found", "Search", "counted", "drawn", "moves_of", "quantiles", "search", "temperature_range"]

START, MOVES, _RESTARTS = range(3)
"""Purposes of random numbers."""

_DEFAULT_SWEEPS = {"anneal": 1000, "tabu": 200, "exchange": 1000}
_FIRST_ROUND = 100
"""Sweeps of the first of ever longer annealing runs, where only the time is limited."""
_HOT, _COLD = 0.3, 0.05
"""Temperatures, in units of what a typical flip of a local minimum changes the energy by."""
_PATIENCE = 5
"""Sweeps without a new best state before tabu search moves elsewhere."""
_SMALL_FIELDS = 0.8
_LOOK = 32
"""Sweeps that the host may be ahead of the device by: Ctrl-C waits for them."""


@dataclass(frozen=True)
class Search:
    """How to search.

    Attributes
    ----------
    method : {"descent", "anneal", "tabu", "exchange"}
    num_sweeps : int or None
        None: the default, or as many as the time allows.
    beta_range : (float, float) or None
        First and last inverse temperature.
    seed : int
        Of all random numbers.
    is_over : function or None
        Tells between sweeps whether the search is to end.
    has_deadline : bool
        Whether a search without a number of sweeps goes on until `is_over`.
    """

    method: str
    num_sweeps: int | None
    beta_range: tuple[float, float] | None
    seed: int
    is_over: Callable[[], bool] | None = None
    has_deadline: bool = False

    def ended(self, sweep: int, reads: Reads) -> bool:
        """Tell whether to end before this sweep; waits for the device, if anything depends on the time."""
        if self.is_over is None:
            if sweep % _LOOK == _LOOK - 1:
                reads.now[0, 0].item()
            return False
        reads.now[0, 0].item()
        return self.is_over()


@dataclass(frozen=True)
class Found:
    """What a search ends with: best states (m, r, n), sweeps of each read, and the betas of the first."""

    spins: Tensor
    sweeps: int
    beta_range: tuple[float, float] | None


def search(
    couplings: FixedCouplings,
    own: Tensor,
    starts: Tensor | None,
    problems: Tensor,
    numbers: Tensor,
    how: Search,
) -> Found:
    """Search the reads of some problems.

    Parameters
    ----------
    couplings : FixedCouplings
        Of m matrices.
    own : int32 Tensor (m, r, n)
        Fields of each read.
    starts : int8 Tensor (m, r, n), or None
        Spins to start from.
    problems, numbers : int64 Tensor (m, r)
        The problem of each read, and its number among the reads of that problem.
    how : Search
        What to do.

    Examples
    --------
    >>> from qpsbgd.solvers.device.fixed import fixed_couplings, fixed_fields
    >>> C = fixed_couplings(torch.tensor([[[0.0, -1.0], [-1.0, 0.0]]], dtype=torch.float64))
    >>> own = fixed_fields(torch.tensor([[[0.5, 0.0]]], dtype=torch.float64), C.shifts)
    >>> one = torch.zeros(1, 1, dtype=torch.int64)
    >>> search(C, own, None, one, one, Search("tabu", 2, None, seed=0)).spins
    tensor([[[-1, -1]]], dtype=torch.int8)
    """
    device, n = own.device, own.shape[-1]
    if starts is None:
        keys = read_keys(how.seed, START, problems, numbers)
        starts = drawn(own, keys, couplings.norms, leaning=how.method == "tabu")
    reads = placed(couplings.values, own, starts, read_keys(how.seed, MOVES, problems, numbers))
    chosen = moves_of(device.type, n)
    if how.method != "anneal" or how.beta_range is None:
        chosen.descend(reads)
    if how.method == "descent":
        return Found(reads.best, 1, None)
    if how.method == "tabu":
        restarts = read_keys(how.seed, _RESTARTS, problems, numbers)
        return Found(reads.best, _tabu(reads, couplings.norms, restarts, chosen, how), None)
    sweeps, beta_range = _anneal(
        reads, couplings, read_keys(how.seed, _RESTARTS, problems, numbers), chosen, how
    )
    return Found(reads.best, sweeps, beta_range)


def moves_of(device: str, width: int) -> ModuleType:
    """Return the module whose `descend`, `tabu` and `anneal` move the reads."""
    if uses_kernel(device, width):
        from qpsbgd.solvers.device import kernel

        return kernel
    return moves


def drawn(own: Tensor, keys: Tensor, norms: Tensor, *, leaning: bool) -> Tensor:
    """Random spins; leaning ones follow their fields, where these exceed half a row's norm."""
    places = torch.arange(own.shape[-1], device=own.device)
    noise = bits(keys[..., None], places, 24)
    if not leaning:
        return (2 * (noise & 1) - 1).to(torch.int8)
    total = (own.to(torch.int64) << 24) + (noise - (1 << 23)) * norms[:, None, None]
    negative = torch.where(total == 0, noise & 1 == 0, total > 0)
    return torch.where(negative, -1, 1).to(torch.int8)


def _mean_fields(reads: Reads) -> Tensor:
    """Return means of the absolute fields, float64 (m, r), of exact sums."""
    return reads.fields.to(torch.int64).abs().sum(dim=-1).to(torch.float64) / reads.fields.shape[-1]


def _tabu(reads: Reads, norms: Tensor, keys: Tensor, chosen: ModuleType, how: Search) -> int:
    """Sweeps of n flips each; return how many."""
    n = reads.spins.shape[-1]
    shortest, spread = _rests(n, _mean_fields(reads) < _SMALL_FIELDS * norms[:, None])
    left = torch.zeros_like(reads.fields)
    rests = Rests(left, shortest.clone(), spread, torch.zeros_like(reads.now))
    for sweep in counted(how):
        if how.ended(sweep, reads):
            return sweep
        if sweep >= _PATIENCE:
            stuck = rests.since >= _PATIENCE * n
            if bool(stuck.any()):
                _move_elsewhere(reads, rests, shortest, stuck, keys, sweep)
        chosen.tabu(reads, rests, sweep * n, n)
    return how.num_sweeps or _DEFAULT_SWEEPS["tabu"]


def counted(how: Search) -> Iterator[int]:
    """Numbers of sweeps, without end where only the time is limited."""
    if how.num_sweeps is None and how.has_deadline:
        return itertools.count()
    return iter(range(how.num_sweeps or _DEFAULT_SWEEPS[how.method]))


def _rests(n: int, small: Tensor) -> tuple[Tensor, Tensor]:
    """Shortest rests and their spread, as of the native search: by whether fields of minima are small."""
    shortest = torch.where(small, min(2, n // 4), min(4 + n // 100, 20, n // 4))
    spread = torch.where(small, 4, min(6 + n // 200, 10))
    return shortest.to(torch.int32), spread.to(torch.int32)


def _move_elsewhere(
    reads: Reads, rests: Rests, shortest: Tensor, stuck: Tensor, keys: Tensor, sweep: int
) -> None:
    """Go back to the best state with a twentieth of the spins flipped; every third time with longer rests."""
    n = reads.spins.shape[-1]
    places = torch.arange(n, device=keys.device)
    flipped = bits(keys[..., None], sweep * moves.SWEEP_COUNTERS + places, 24) * n < max(3, n // 20) << 24
    elsewhere = torch.where(flipped, -reads.best, reads.best)
    reads.move_to(torch.where(stuck[..., None], elsewhere, reads.spins))
    longer = (4 * shortest).clamp(max=n // 4)
    third = bits(keys, -(sweep + 1), 24) % 3 == 0
    rests.shortest.copy_(torch.where(stuck, torch.where(third, longer, shortest), rests.shortest))
    rests.left.masked_fill_(stuck[..., None], 0)
    rests.since.masked_fill_(stuck, 0)


def _anneal(
    reads: Reads, couplings: FixedCouplings, keys: Tensor, chosen: ModuleType, how: Search
) -> tuple[int, tuple[float, float]]:
    """One run, or ever longer ones until the time is up; return the sweeps and the first read's betas."""
    typical, hot, cold, unit = temperature_range(reads, couplings, how)
    betas = betas_of(typical, hot, cold, unit)
    table = quantiles(reads.now.device)
    done, length = 0, _FIRST_ROUND
    endless = how.num_sweeps is None and how.has_deadline
    if not endless:
        length = how.num_sweeps or _DEFAULT_SWEEPS["anneal"]
    while True:
        for step in range(length):
            if how.ended(done, reads):
                return done, betas
            # A flip changes the energy by twice its gain.
            part = 0.5 * hot * (cold / hot) ** (step / max(1, length - 1)) if length > 1 else 0.5 * cold
            chosen.anneal(reads, done, (typical * part).to(torch.float32), table)
            done += 1
        chosen.descend(reads)
        if not endless:
            return done, betas
        length *= 2
        places = torch.arange(reads.spins.shape[-1], device=keys.device)
        drawn = bits(keys[..., None], done * moves.SWEEP_COUNTERS + places, 1)
        reads.move_to((2 * drawn - 1).to(torch.int8))


def temperature_range(
    reads: Reads, couplings: FixedCouplings, how: Search
) -> tuple[Tensor, float, float, Tensor]:
    """Return what is typical of each read, the first and last temperature in parts of it, and a unit.

    Temperatures are those of energies. What is typical, float64 (m, r), is in the unit of the matrix, and so
    is the unit: that of the caller's energies.
    """
    ones = torch.ones(reads.now.shape, dtype=torch.float64, device=reads.now.device)
    unit = scaled(ones, couplings.shifts[:, None])
    if how.beta_range is None:
        return 2.0 * _mean_fields(reads), _HOT, _COLD, unit
    hot, cold = (1.0 / float(beta) for beta in how.beta_range)
    return unit, hot, cold, unit


def betas_of(typical: Tensor, hot: float, cold: float, unit: Tensor) -> tuple[float, float]:
    """Return the inverse temperatures of the first read, in the caller's energies."""
    in_energies = float(typical[0, 0] / unit[0, 0])
    first, last = (1.0 / (part * in_energies) if in_energies else 1.0 for part in (hot, cold))
    return first, last


def quantiles(device: torch.device) -> Tensor:
    """4096 quantiles of the exponential distribution, then the most that they leave; float32."""
    values = [-math.log((k + 0.5) / 4096) for k in range(4096)]
    return torch.tensor([*values, math.log(4096)], dtype=torch.float32, device=device)
