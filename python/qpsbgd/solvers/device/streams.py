"""Random numbers as a function of seed, problem, read and a counter: SplitMix64 in int64 tensors.

Source: Steele, Lea and Flood (2014), whose generator is a hash of a counter. Numbers depend neither on the
batch that a problem is in nor on any state, and are the same bits on every device. int64 wraps around as
uint64 does.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["GOLDEN", "bits", "read_keys"]


def _signed(value: int) -> int:
    """Return the int64 of the same 64 bits."""
    value %= 2**64
    return value - 2**64 if value >= 2**63 else value


GOLDEN = 0x9E3779B97F4A7C15
"""The odd integer nearest to 2^64 over the golden ratio: what the counter is multiplied by."""
_STEP = _signed(GOLDEN)
_FIRST = _signed(0xBF58476D1CE4E5B9)
_SECOND = _signed(0x94D049BB133111EB)


def _without(x: Tensor, low: int) -> Tensor:
    """Take the lowest bits away from x, as from an unsigned number."""
    return (x >> low) & ((1 << (64 - low)) - 1)


def _mixed(x: Tensor) -> Tensor:
    x = (x ^ _without(x, 30)) * _FIRST
    x = (x ^ _without(x, 27)) * _SECOND
    return x ^ _without(x, 31)


def read_keys(seed: int, purpose: int, problems: Tensor, reads: Tensor) -> Tensor:
    """Return a key for each pair of problem and read: what `bits` takes.

    Parameters
    ----------
    seed : int
        0 <= seed < 2**64.
    purpose : int
        Keys of different purposes have nothing in common.
    problems, reads : int64 Tensor
        Numbers of the problem in the whole batch, and of the read.

    Examples
    --------
    >>> read_keys(1, 0, torch.tensor([0, 1]), torch.tensor([0, 0])).tolist()
    [-5653703133376969021, -6999744197445191651]
    """
    key = _mixed(torch.tensor(_signed(seed + GOLDEN * (purpose + 1)), device=problems.device))
    return _mixed(_mixed(key + (problems + 1) * _STEP) + (reads + 1) * _STEP)


def bits(keys: Tensor, counters: Tensor | int, count: int) -> Tensor:
    """Return random integers below 2**count, one for each counter of each key; int64.

    Examples
    --------
    >>> bits(torch.tensor([1234567]), torch.arange(2), 63).tolist()  # half of SplitMix64's published ones
    [3228913858555182658, 1601584105599403986]
    """
    steps = _signed((counters + 1) * _STEP) if isinstance(counters, int) else (counters + 1) * _STEP
    return _without(_mixed(keys + steps), 64 - count)
