"""The moves of `qpsbgd.solvers.device.moves` as Triton kernels: one program a read, its state in registers.

A flip is one reduction over all spins, then one row of couplings from the cache. A gain and its place are one
integer, so that one reduction finds both; the spin there comes along in the lowest bit. All numbers are
integers: the answers are those of `moves`, bit for bit.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from qpsbgd.solvers.device.moves import SWEEP_COUNTERS
from qpsbgd.solvers.device.reads import Reads, Rests

__all__ = ["anneal", "descend", "settings", "tabu"]

_SPINS_OF_WARP = 256
_MOST_WARPS = 16
_NEVER = tl.constexpr(-(2**63))
_SWEEP = tl.constexpr(SWEEP_COUNTERS)


def settings(width: int) -> dict[str, int]:
    """Choose a program's size for reads of so many spins: 8 spins a lane, as far as 16 warps go."""
    size = max(16, triton.next_power_of_2(width))
    return {"SIZE": size, "num_warps": min(_MOST_WARPS, max(1, size // _SPINS_OF_WARP))}


def _launch(kernel: Any, reads: Reads, *arguments: Any) -> None:
    matrices, rows, width = reads.spins.shape
    state = (reads.couplings, reads.fields, reads.spins, reads.best, reads.now, reads.least)
    with torch.cuda.device_of(reads.spins):
        kernel[(matrices * rows,)](*state, *arguments, rows, width, **settings(width))


def descend(reads: Reads) -> None:
    """Flip the spin that gains most until none gains, as `moves.descend`."""
    _launch(_descend, reads)


def tabu(reads: Reads, rests: Rests, first: int, flips: int) -> None:
    """Make flips of tabu search, as `moves.tabu`."""
    _launch(
        _tabu,
        reads,
        rests.left,
        rests.shortest.contiguous(),
        rests.spread.contiguous(),
        rests.since,
        reads.keys,
        first,
        flips,
    )


def anneal(reads: Reads, sweep: int, temperatures: Tensor, quantiles: Tensor) -> None:
    """Make a sweep of annealing, as `moves.anneal`."""
    _launch(_anneal, reads, temperatures.contiguous(), quantiles, reads.keys, sweep)


@triton.jit  # type: ignore[untyped-decorator]
def _random(keys, counters, COUNT: tl.constexpr):  # type: ignore[no-untyped-def]
    """`qpsbgd.solvers.device.streams.bits`."""
    x = keys.to(tl.uint64, bitcast=True) + (counters + 1).to(tl.uint64) * 0x9E3779B97F4A7C15
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB
    return ((x ^ (x >> 31)) >> (64 - COUNT)).to(tl.int32)


@triton.jit
def _flipped(fields, spins, place, spin, couplings, places, width):  # type: ignore[no-untyped-def]
    """Return fields and spins after a flip of the spin at `place`."""
    row = couplings + place.to(tl.int64) * width
    coupling = tl.load(row + places, mask=places < width, other=0).to(tl.int32)
    return fields - 2 * spin * coupling, tl.where(places == place, -spins, spins)


@triton.jit  # type: ignore[untyped-decorator]
def _descend(  # type: ignore[no-untyped-def]
    couplings_pointer,
    fields_pointer,
    spins_pointer,
    best_pointer,
    now_pointer,
    least_pointer,
    rows,
    width,
    SIZE: tl.constexpr,
):
    read = tl.program_id(0).to(tl.int64)
    places = tl.arange(0, SIZE)
    inside = places < width
    fields = tl.load(fields_pointer + read * width + places, mask=inside, other=0)
    spins = tl.load(spins_pointer + read * width + places, mask=inside, other=1).to(tl.int32)
    now = tl.load(now_pointer + read)
    couplings_pointer += (read // rows) * width * width
    order = 2 * (SIZE - 1 - places).to(tl.int64)
    gain = (now * 0 + 1).to(tl.int64)
    while gain > 0:
        keys = ((spins * fields).to(tl.int64) << 32) + order + (spins > 0).to(tl.int64)
        top = tl.max(tl.where(inside, keys, _NEVER), axis=0)
        gain = top >> 32
        if gain > 0:
            low = (top & 0xFFFFFFFF).to(tl.int32)
            place, spin = SIZE - 1 - low // 2, 2 * (low % 2) - 1
            fields, spins = _flipped(fields, spins, place, spin, couplings_pointer, places, width)
            now -= gain
    least = tl.load(least_pointer + read)
    tl.store(fields_pointer + read * width + places, fields, mask=inside)
    tl.store(spins_pointer + read * width + places, spins.to(tl.int8), mask=inside)
    best = tl.load(best_pointer + read * width + places, mask=inside, other=1)
    tl.store(
        best_pointer + read * width + places, tl.where(now < least, spins.to(tl.int8), best), mask=inside
    )
    tl.store(now_pointer + read, now)
    tl.store(least_pointer + read, tl.minimum(now, least))


@triton.jit(do_not_specialize=["first"])  # type: ignore[untyped-decorator]
def _tabu(  # type: ignore[no-untyped-def]
    couplings_pointer,
    fields_pointer,
    spins_pointer,
    best_pointer,
    now_pointer,
    least_pointer,
    left_pointer,
    shortest_pointer,
    spread_pointer,
    since_pointer,
    keys_pointer,
    first,
    flips,
    rows,
    width,
    SIZE: tl.constexpr,
):
    read = tl.program_id(0).to(tl.int64)
    places = tl.arange(0, SIZE)
    inside = places < width
    at = read * width + places
    fields = tl.load(fields_pointer + at, mask=inside, other=0)
    spins = tl.load(spins_pointer + at, mask=inside, other=1).to(tl.int32)
    best = tl.load(best_pointer + at, mask=inside, other=1).to(tl.int32)
    left = tl.load(left_pointer + at, mask=inside, other=0)
    now, least = tl.load(now_pointer + read), tl.load(least_pointer + read)
    shortest, spread = tl.load(shortest_pointer + read), tl.load(spread_pointer + read)
    since, key = tl.load(since_pointer + read), tl.load(keys_pointer + read)
    couplings_pointer += (read // rows) * width * width
    order = 2 * (SIZE - 1 - places).to(tl.int64)
    for turn in range(flips):
        gains = (spins * fields).to(tl.int64)
        allowed = inside & ((left <= turn) | (gains > now - least))
        keys = (gains << 32) + order + (spins > 0).to(tl.int64)
        top = tl.max(tl.where(allowed, keys, _NEVER), axis=0)
        if top != _NEVER:
            low = (top & 0xFFFFFFFF).to(tl.int32)
            place, spin = SIZE - 1 - low // 2, 2 * (low % 2) - 1
            fields, spins = _flipped(fields, spins, place, spin, couplings_pointer, places, width)
            rest = shortest + _random(key, first.to(tl.int64) + turn, 24) % spread
            left = tl.where(places == place, turn + 1 + rest, left)
            now -= top >> 32
        improved = now < least
        best = tl.where(improved, spins, best)
        least = tl.minimum(now, least)
        since = tl.where(improved, 0, since + 1)
    tl.store(fields_pointer + at, fields, mask=inside)
    tl.store(spins_pointer + at, spins.to(tl.int8), mask=inside)
    tl.store(best_pointer + at, best.to(tl.int8), mask=inside)
    tl.store(left_pointer + at, tl.maximum(left - flips, 0), mask=inside)
    tl.store(now_pointer + read, now)
    tl.store(least_pointer + read, least)
    tl.store(since_pointer + read, since)


@triton.jit(do_not_specialize=["sweep"])  # type: ignore[untyped-decorator]
def _anneal(  # type: ignore[no-untyped-def]
    couplings_pointer,
    fields_pointer,
    spins_pointer,
    best_pointer,
    now_pointer,
    least_pointer,
    temperatures_pointer,
    quantiles_pointer,
    keys_pointer,
    sweep,
    rows,
    width,
    SIZE: tl.constexpr,
):
    read = tl.program_id(0).to(tl.int64)
    places = tl.arange(0, SIZE)
    inside = places < width
    at = read * width + places
    fields = tl.load(fields_pointer + at, mask=inside, other=0)
    spins = tl.load(spins_pointer + at, mask=inside, other=1).to(tl.int32)
    now, least = tl.load(now_pointer + read), tl.load(least_pointer + read)
    couplings_pointer += (read // rows) * width * width
    drawn = _random(tl.load(keys_pointer + read), sweep.to(tl.int64) * _SWEEP + places, 24)
    high, low = drawn >> 12, drawn & 4095
    quantile = tl.load(quantiles_pointer + tl.where(high > 0, high, low))
    quantile += tl.where(high > 0, 0.0, tl.load(quantiles_pointer + 4096))
    barriers = quantile * tl.load(temperatures_pointer + read)
    barriers = tl.minimum(barriers, 2147483520.0).to(tl.int32)
    place = tl.sum(places * 0, axis=0) - 1
    while place < SIZE:
        gains = spins * fields
        # The first spin behind the last flip that takes its own: place, gain and spin in one integer.
        found = (places.to(tl.int64) << 33) + ((gains.to(tl.int64) + 2147483648) << 1)
        found += (spins > 0).to(tl.int64)
        taken = inside & (places > place) & (gains >= -barriers)
        chosen = tl.min(tl.where(taken, found, tl.full([], SIZE, tl.int64) << 33), axis=0)
        place = (chosen >> 33).to(tl.int32)
        if place < SIZE:
            now -= ((chosen >> 1) & 0xFFFFFFFF) - 2147483648
            spin = 2 * (chosen & 1).to(tl.int32) - 1
            fields, spins = _flipped(fields, spins, place, spin, couplings_pointer, places, width)
    tl.store(fields_pointer + at, fields, mask=inside)
    tl.store(spins_pointer + at, spins.to(tl.int8), mask=inside)
    best = tl.load(best_pointer + at, mask=inside, other=1)
    tl.store(best_pointer + at, tl.where(now < least, spins.to(tl.int8), best), mask=inside)
    tl.store(now_pointer + read, now)
    tl.store(least_pointer + read, tl.minimum(now, least))
