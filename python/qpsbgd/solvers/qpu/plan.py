"""How a batch is cut into submissions, and what that costs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from qpsbgd.solvers.qpu.options import Options
from qpsbgd.solvers.qpu.session import Device

__all__ = ["Plan", "make_plan"]

_BLOCK = 40
"""Spins of a block of a wide row. On a Zephyr chip of 4800 qubits wide layers take about the same QPU time
with blocks of 8 to 40 spins, and more with larger ones, of which fewer fit side by side."""


@dataclass(frozen=True)
class Plan:
    """The shape of a batch's submissions.

    Attributes
    ----------
    num_spins : int
        Spins of a row.
    num_blocks : int
        Blocks that a row is solved in; 1: as a whole.
    clique_size : int
        Spins of the largest block; others have one less.
    num_visits : int
        Rounds of submissions: the blocks times the passes over them.
    parts : tuple of int
        Rows in each submission of a round: no more than cliques of `clique_size` fit on the chip.
    reads : tuple of int
        Reads of each spin-reversal transform; every part is submitted once for each.
    seconds : float
        Estimated QPU time of the batch.
    """

    num_spins: int
    num_blocks: int
    clique_size: int
    num_visits: int
    parts: tuple[int, ...]
    reads: tuple[int, ...]
    seconds: float


def make_plan(device: Device, options: Options, rows: int, num_spins: int) -> Plan:
    """Cut `rows` rows into as few submissions as the packing allows, of sizes as equal as can be.

    Raises
    ------
    ValueError
        If `block_size` exceeds the largest clique of the sampler's graph.
    """
    largest = device.store.largest
    if options.block_size is not None and options.block_size > largest:
        raise ValueError(
            f"block_size is {options.block_size}, but the largest clique of the sampler has {largest} spins"
        )
    if num_spins <= (options.block_size or largest):
        num_blocks = 1
    else:
        num_blocks = math.ceil(num_spins / (options.block_size or min(_BLOCK, largest)))
    size = math.ceil(num_spins / num_blocks)
    parts = _shared(rows, math.ceil(rows / device.capacity(size)))
    num_visits = 1 if num_blocks == 1 else num_blocks * options.block_passes
    transforms = max(1, min(options.num_spin_reversal_transforms, options.num_reads))
    reads = _shared(options.num_reads, transforms)
    seconds = num_visits * sum(
        device.timing.seconds(len(device.layout(size, part).qubits), count, options.annealing_time)
        for part in parts
        for count in reads
    )
    return Plan(num_spins, num_blocks, size, num_visits, parts, reads, seconds)


def _shared(total: int, count: int) -> tuple[int, ...]:
    """`total` as a sum of `count` numbers that differ by 1 at most."""
    less, more = divmod(total, count)
    return (less + 1,) * more + (less,) * (count - more)
