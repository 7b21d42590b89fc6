"""Descent by single flips as a Triton kernel: one program a row, its fields and spins in registers.

A turn of a row is one reduction for the best spin of each part of the coordinates, then a choice among these
few as in `qpsbgd.step.device.descent`, then one row of A for each flip. With one part this is the greedy
descent: one argmax and one row of A a flip. With several parts, rows of A are read side by side, which hides
the time that each takes to come. A turn costs d operations in registers, and d numbers from the cache a flip.

A gain and the place it is at are one integer, so that one reduction finds both: the bits of a positive
float32 are in its order, and the spin at the place comes along in the lowest bits.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from qpsbgd.step.device.descent import Rows

__all__ = ["descend", "settings"]

_LEAST_SHARE = tl.constexpr(0.25)
"""Of the best gain, as in `qpsbgd.step.device.descent`."""
_WIDE = 256
_PARTS_OF_WIDE = 4
_MOST_ALIGNED = 16
_SPINS_OF_WARP = 256
_MOST_WARPS = 16
_FLIPS_OF_SPIN = 100
"""At most: rounding could let undecided spins alternate for ever, where real descents flip each some once."""


def settings(*widths: int) -> dict[str, int]:
    """Choose a program's size for rows of so many spins.

    The number of warps keeps 8 spins a lane, as far as that many warps go. Wide rows, whose flips wait for
    rows of A, get several parts: a third of the turns. Widths with a common power of two are read in pieces
    of that many numbers.
    """
    size = max(16, triton.next_power_of_2(max(widths)))
    return {
        "SIZE": size,
        "PARTS": _PARTS_OF_WIDE if size > _WIDE else 1,
        "ALIGNED": math.gcd(_MOST_ALIGNED, *widths),
        "num_warps": min(_MOST_WARPS, max(1, size // _SPINS_OF_WARP)),
    }


def descend(all_rows: Sequence[Rows], **chosen: int) -> None:
    """Flip spins of all these rows until no flip gains, by one launch.

    `chosen` takes the place of what `settings` chooses. The rows have one dtype and one factor, and may have
    other widths and matrices; rows of int8 couplings come alone. No row's answer depends on the others.
    Fields and spins are changed in place, or replaced where arrays are put together.
    """
    all_rows = [rows for rows in all_rows if rows.fields.numel()]
    if not all_rows:
        return
    layers = tuple((rows.fields.shape[0], rows.fields.shape[1], rows.fields.shape[2]) for rows in all_rows)
    fields, spins, couplings, thresholds, active = (
        _in_one([getattr(rows, name) for rows in all_rows])
        for name in ("fields", "spins", "matrices", "thresholds", "active")
    )
    columns = None if all_rows[0].columns is None else all_rows[0].columns.contiguous()
    options: dict[str, Any] = {**settings(*(width for _, _, width in layers)), **chosen}
    with torch.cuda.device_of(fields):
        _descend[(len(active),)](
            fields,
            spins,
            couplings,
            thresholds,
            active,
            _places(layers, fields.device),
            thresholds if columns is None else columns,
            all_rows[0].factor,
            _FLIPS_OF_SPIN,
            ROUNDED=columns is not None,
            **options,
        )
    for name, results in (("fields", fields), ("spins", spins)):
        parts = results.split([rows.fields.numel() for rows in all_rows])
        for rows, part in zip(all_rows, parts, strict=True):
            setattr(rows, name, part.view(rows.fields.shape))


def _in_one(tensors: list[Tensor]) -> Tensor:
    """Put tensors behind each other, flat; one alone stays where it is."""
    flat = [tensor.contiguous().view(-1) for tensor in tensors]
    return flat[0] if len(flat) == 1 else torch.cat(flat)


def _places(layers: tuple[tuple[int, int, int], ...], device: torch.device) -> Tensor:
    """Return for each row where its fields, thresholds and matrix begin, and its width; int64 (rows, 4).

    They depend on shapes alone, so that a training run makes them once; made on the device, nothing waits.
    A stream has its own, since another one may not have made them yet.
    """
    if device.type != "cuda":
        return _made_places(layers, device, 0)
    if torch.cuda.is_current_stream_capturing():
        return _made_places.__wrapped__(layers, device, 0)
    return _made_places(layers, device, torch.cuda.current_stream(device).cuda_stream)


@functools.lru_cache(maxsize=64)
def _made_places(layers: tuple[tuple[int, int, int], ...], device: torch.device, stream: int) -> Tensor:
    parts = []
    field = threshold = coupling = 0
    for matrices, rows, width in layers:
        row = torch.arange(matrices * rows, device=device)
        matrix = row // rows
        columns = (
            field + row * width,
            threshold + matrix * width,
            coupling + matrix * width**2,
            torch.full_like(row, width),
        )
        parts.append(torch.stack(columns, dim=1))
        field += matrices * rows * width
        threshold += matrices * width
        coupling += matrices * width**2
    return torch.cat(parts)


@triton.jit  # type: ignore[untyped-decorator]
def _best_of_parts(gains, spins, places, inside, SIZE: tl.constexpr, PARTS: tl.constexpr):  # type: ignore[no-untyped-def]
    # Above 0 wherever a flip gains, even by less than float32 can tell from 0.
    low = 2 * places + (spins > 0).to(tl.int32) + 1
    high = gains.to(tl.float32).to(tl.int32, bitcast=True).to(tl.int64) << 32
    keys = tl.where(inside & (gains > 0), high | low.to(tl.int64), 0)
    best = tl.max(tl.reshape(keys, (SIZE // PARTS, PARTS)), axis=0)
    best_low = (best & 0xFFFFFFFF).to(tl.int32) - 1
    gain = (best >> 32).to(tl.int32).to(tl.float32, bitcast=True)
    direction = (2 * (best_low % 2) - 1).to(gains.dtype)
    return best, gain, best_low // 2, direction


@triton.jit  # type: ignore[untyped-decorator]
def _gain_together(flips, couplings_pointer, columns_pointer, factor, width, ROUNDED: tl.constexpr):  # type: ignore[no-untyped-def]
    best, gain, flipped, direction, made = flips
    # A flip stays if it gains whatever subset of the better ones is made too.
    both = made[:, None] & made[None, :]
    address = flipped[:, None].to(tl.int64) * width + flipped[None, :]
    coupled = tl.load(couplings_pointer + address, mask=both, other=0)
    if ROUNDED:
        sizes = tl.load(columns_pointer + tl.maximum(flipped, 0), mask=made, other=0.0)
        coupled = sizes[:, None] * coupled.to(direction.dtype) * sizes[None, :]
    lost = tl.maximum(factor * direction[:, None] * direction[None, :] * coupled, 0.0)
    lost = tl.where(both & (best[None, :] > best[:, None]), lost, 0.0)
    return gain > tl.sum(lost, axis=1).to(tl.float32)


@triton.jit  # type: ignore[untyped-decorator]
def _descend(  # type: ignore[no-untyped-def]
    fields_pointer,
    spins_pointer,
    couplings_pointer,
    thresholds_pointer,
    active_pointer,
    places_pointer,
    columns_pointer,
    factor,
    flips_of_spin,
    SIZE: tl.constexpr,
    PARTS: tl.constexpr,
    ALIGNED: tl.constexpr,
    ROUNDED: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    places_pointer += 4 * row
    # What the compiler knows to be multiples it reads in wider pieces.
    fields_pointer += tl.multiple_of(tl.load(places_pointer), ALIGNED)
    spins_pointer += tl.multiple_of(tl.load(places_pointer), ALIGNED)
    thresholds_pointer += tl.multiple_of(tl.load(places_pointer + 1), ALIGNED)
    couplings_pointer += tl.multiple_of(tl.load(places_pointer + 2), ALIGNED)
    width = tl.multiple_of(tl.load(places_pointer + 3), ALIGNED).to(tl.int32)
    places = tl.arange(0, SIZE)
    inside = places < width
    fields = tl.load(fields_pointer + places, mask=inside, other=0.0)
    spins = tl.load(spins_pointer + places, mask=inside, other=1.0)
    thresholds = tl.load(thresholds_pointer + places, mask=inside, other=0.0)
    columns = thresholds
    if ROUNDED:
        columns_pointer += tl.multiple_of(tl.load(places_pointer + 1), ALIGNED)
        columns = tl.load(columns_pointer + places, mask=inside, other=0.0)
    part = tl.arange(0, PARTS)
    left = tl.where(tl.load(active_pointer + row), flips_of_spin * width, 0)
    while left > 0:
        gains = spins * fields - thresholds
        best, gain, flipped, direction = _best_of_parts(gains, spins, places, inside, SIZE, PARTS)
        made = (best > 0) & (gain >= _LEAST_SHARE * tl.max(gain, axis=0))
        if PARTS > 1:
            flips = (best, gain, flipped, direction, made)
            made &= _gain_together(flips, couplings_pointer, columns_pointer, factor, width, ROUNDED)
        for k in tl.static_range(PARTS):
            one = made & (part == k)
            place = tl.sum(tl.where(one, flipped + 1, 0), axis=0) - 1  # -1 where the flip is not made
            spin = tl.sum(tl.where(one, direction, 0.0), axis=0)
            address = couplings_pointer + tl.maximum(place, 0).to(tl.int64) * width + places
            coupling = tl.load(address, mask=places < tl.where(place < 0, 0, width), other=0)
            change = factor * spin * coupling.to(fields.dtype)
            if ROUNDED:
                change *= columns * tl.load(columns_pointer + tl.maximum(place, 0))
                # The couplings have no diagonal; thresholds are half of what a flip does to its own field.
                change = tl.where(places == place, 2.0 * spin * thresholds, change)
            fields -= change
            spins = tl.where(places == place, -spins, spins)
        left = tl.where(tl.max(best, axis=0) > 0, left - 1, 0)
    tl.store(fields_pointer + places, fields, mask=inside)
    tl.store(spins_pointer + places, spins, mask=inside)
