"""Replica exchange on a device: every read is a ladder of replicas at temperatures of its own.

Source: Hukushima and Nemoto (1996), as the native search within a time limit. Each replica keeps its
temperature for some sweeps of annealing. Then neighbours on the ladder swap theirs by the Metropolis rule:
pairs that begin at an even rung, and at an odd one in the next round. A read's answer is the best state that
any of its replicas has seen.

Cost: a sweep of a ladder is a sweep of annealing for each of its 16 rungs; all ladders go in step. A swap
costs some operations on one number a replica. Energies are sums of integers, and a random number is a
function of seed, problem, read and counter. So an answer does not depend on the rest of the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from qpsbgd.solvers.device.fixed import FixedCouplings, tree_sum
from qpsbgd.solvers.device.reads import placed
from qpsbgd.solvers.device.search import (
    MOVES,
    START,
    Found,
    Search,
    betas_of,
    counted,
    drawn,
    moves_of,
    quantiles,
    temperature_range,
)
from qpsbgd.solvers.device.streams import bits, read_keys

__all__ = ["RUNGS", "exchange"]

RUNGS = 16
"""Replicas of a read."""
_SWAPS = 3
"""Purpose of random numbers, beside those of `qpsbgd.solvers.device.search`."""
_SWEEPS_OF_ROUND = 4


def exchange(
    couplings: FixedCouplings,
    own: Tensor,
    starts: Tensor | None,
    problems: Tensor,
    numbers: Tensor,
    how: Search,
) -> Found:
    """Search the reads of some problems, each by a ladder, as `qpsbgd.solvers.device.search.search`.

    A number of sweeps is that of each replica. The sweeps that it returns are of all replicas of a read.

    Examples
    --------
    >>> from qpsbgd.solvers.device.fixed import fixed_couplings, fixed_fields
    >>> C = fixed_couplings(torch.tensor([[[0.0, -1.0], [-1.0, 0.0]]], dtype=torch.float64))
    >>> own = fixed_fields(torch.tensor([[[0.5, 0.0]]], dtype=torch.float64), C.shifts)
    >>> one = torch.zeros(1, 1, dtype=torch.int64)
    >>> exchange(C, own, None, one, one, Search("exchange", 4, None, seed=0)).spins
    tensor([[[-1, -1]]], dtype=torch.int8)
    """
    m, r, n = own.shape
    chosen = moves_of(own.device.type, n)
    problems_of = problems.repeat_interleave(RUNGS, dim=1)
    replicas = (numbers[..., None] * RUNGS + torch.arange(RUNGS, device=own.device)).flatten(1)
    fields = own.repeat_interleave(RUNGS, dim=1)
    if starts is None:
        starts = drawn(
            fields, read_keys(how.seed, START, problems_of, replicas), couplings.norms, leaning=False
        )
    else:
        starts = starts.repeat_interleave(RUNGS, dim=1)
    reads = placed(couplings.values, fields, starts, read_keys(how.seed, MOVES, problems_of, replicas))
    energies = reads.levels()
    chosen.descend(reads)  # where typical fields are measured, and the first state to keep
    typical, hot, cold, unit = temperature_range(reads, couplings, how)
    typical = tree_sum(typical.unflatten(1, (r, RUNGS))) / RUNGS
    ladders = Ladders.of(typical, hot, cold)
    table = quantiles(own.device)
    keys = read_keys(how.seed, _SWAPS, problems, numbers)
    done = 0
    for sweep in counted(how):
        if how.ended(sweep, reads):
            break
        if sweep and sweep % _SWEEPS_OF_ROUND == 0:
            ladders.swap(energies + 4 * reads.now, keys, sweep // _SWEEPS_OF_ROUND, table)
        chosen.anneal(reads, sweep, ladders.of_replicas(), table)
        done += 1
    chosen.descend(reads)
    best = (energies + 4 * reads.least).unflatten(1, (r, RUNGS)).argmin(dim=-1)
    states = reads.best.unflatten(1, (r, RUNGS))
    spins = states.gather(2, best[..., None, None].expand(m, r, 1, n))[:, :, 0]
    return Found(spins, done * RUNGS, betas_of(typical, hot, cold, unit))


@dataclass
class Ladders:
    """Which replica is at which rung, from hot to cold.

    Attributes
    ----------
    temperatures : float64 Tensor (m, r, RUNGS)
        Of the rungs, in the unit of gains: a flip that costs a gain g is taken with probability exp(-g / T).
    replicas : int64 Tensor (m, r, RUNGS)
        The replica at each rung.
    """

    temperatures: Tensor
    replicas: Tensor

    @classmethod
    def of(cls, typical: Tensor, hot: float, cold: float) -> Ladders:
        """Return ladders from hot to cold in equal ratios, in parts of what is typical of each read."""
        steps = [0.5 * hot * (cold / hot) ** (rung / (RUNGS - 1)) for rung in range(RUNGS)]
        device = typical.device
        parts = torch.tensor(steps, dtype=torch.float64, device=device)
        replicas = torch.arange(RUNGS, device=device).expand(*typical.shape, RUNGS)
        return cls(typical[..., None] * parts, replicas.contiguous())

    def of_replicas(self) -> Tensor:
        """Return the temperature of each replica, float32 (m, r * RUNGS)."""
        own = torch.empty_like(self.temperatures).scatter_(-1, self.replicas, self.temperatures)
        return own.to(torch.float32).flatten(1)

    def swap(self, levels: Tensor, keys: Tensor, number: int, table: Tensor) -> None:
        """Swap neighbours; pairs begin at even rungs in rounds of even numbers.

        Parameters
        ----------
        levels : int64 Tensor (m, r * RUNGS)
            Twice the energies of the replicas: four gains make a difference of one.
        keys : int64 Tensor (m, r)
            Of each read's random numbers.
        number : int
            Of the round.
        table : float32 Tensor
            `qpsbgd.solvers.device.search.quantiles`.
        """
        first = number % 2
        pairs = (RUNGS - first) // 2
        inside = slice(first, first + 2 * pairs)
        at = self.replicas[..., inside].unflatten(-1, (pairs, 2))
        of_rungs = levels.unflatten(1, (-1, RUNGS)).gather(-1, self.replicas)
        hot, cold = of_rungs[..., inside].unflatten(-1, (pairs, 2)).unbind(-1)
        betas = 0.25 / self.temperatures[..., inside].unflatten(-1, (pairs, 2))
        # A swap multiplies the probability of both states by exp(-risen).
        risen = (betas[..., 1] - betas[..., 0]) * (hot - cold).to(torch.float64)
        places = torch.arange(pairs, device=levels.device)
        high, low = self._halves(bits(keys[..., None], number * RUNGS + places, 24))
        barriers = torch.where(high > 0, table[high], table[low] + table[4096]).to(torch.float64)
        taken = (risen <= barriers)[..., None]
        self.replicas[..., inside] = torch.where(taken, at.flip(-1), at).flatten(-2)

    @staticmethod
    def _halves(drawn: Tensor) -> tuple[Tensor, Tensor]:
        return drawn >> 12, drawn & 4095
