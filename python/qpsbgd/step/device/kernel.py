"""Descent by single flips as a Triton kernel: one program a row, its fields and spins in registers.

A turn of a row is one reduction for the best spin of each part of the coordinates, then a choice among these
few as in `qpsbgd.step.device.descent`, then one row of A for each flip. With one part this is the greedy
descent: one argmax and one row of A a flip. With several parts, rows of A are read side by side, which hides
the time that each takes to come. A turn costs d operations in registers, and d numbers from the cache a flip.

A gain and the place it is at are one integer, so that one reduction finds both: the bits of a positive
float32 are in its order, and the spin at the place comes along in the lowest bits.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from qpsbgd.step.device.descent import Rows

__all__ = ["descend", "settings"]

_LEAST_SHARE = tl.constexpr(0.25)
"""Of the best gain, as in `qpsbgd.step.device.descent`."""
_WIDE = 2048
_PARTS_OF_WIDE = 4
_SPINS_OF_WARP = 256
_MOST_WARPS = 16
_FLIPS_OF_SPIN = 100
"""At most: rounding could let undecided spins alternate for ever, where real descents flip each some once."""


def settings(width: int) -> dict[str, int]:
    """Choose a program's size for rows of so many spins.

    The number of warps keeps 8 spins a lane, as far as that many warps go; wide rows, whose flips wait for
    rows of A, get several parts.
    """
    size = max(16, triton.next_power_of_2(width))
    warps = min(_MOST_WARPS, max(1, size // _SPINS_OF_WARP))
    return {"SIZE": size, "PARTS": _PARTS_OF_WIDE if width >= _WIDE else 1, "num_warps": warps}


def descend(rows: Rows, **chosen: int) -> None:
    """Flip spins until no flip gains, in place; `chosen` takes the place of `settings`."""
    matrices, rows_of_matrix, width = rows.fields.shape
    if not rows.fields.numel():
        return
    whole = (rows.fields, rows.spins, rows.matrices, rows.thresholds)
    fields, spins, couplings, thresholds = (tensor.contiguous() for tensor in whole)
    grid = (matrices * rows_of_matrix,)
    options: dict[str, Any] = {**settings(width), **chosen}
    with torch.cuda.device_of(fields):
        _descend[grid](
            fields,
            spins,
            couplings,
            thresholds,
            rows.active.contiguous(),
            rows_of_matrix,
            width,
            rows.factor,
            _FLIPS_OF_SPIN * width,
            **options,
        )
    for tensor, result in ((rows.fields, fields), (rows.spins, spins)):
        if tensor.data_ptr() != result.data_ptr():
            tensor.copy_(result)


@triton.jit  # type: ignore[untyped-decorator]
def _descend(  # type: ignore[no-untyped-def]
    fields_pointer,
    spins_pointer,
    couplings_pointer,
    thresholds_pointer,
    active_pointer,
    rows_of_matrix,
    width,
    factor,
    most_turns,
    SIZE: tl.constexpr,
    PARTS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    matrix = row // rows_of_matrix
    places = tl.arange(0, SIZE)
    inside = places < width
    fields = tl.load(fields_pointer + row * width + places, mask=inside, other=0.0)
    spins = tl.load(spins_pointer + row * width + places, mask=inside, other=1.0)
    thresholds = tl.load(thresholds_pointer + matrix * width + places, mask=inside, other=0.0)
    couplings_pointer += matrix * width * width
    part = tl.arange(0, PARTS)
    left = tl.where(tl.load(active_pointer + row), most_turns, 0)
    while left > 0:
        gains = spins * fields - thresholds
        # Above 0 wherever a flip gains, even by less than float32 can tell from 0.
        low = 2 * places + (spins > 0).to(tl.int32) + 1
        high = gains.to(tl.float32).to(tl.int32, bitcast=True).to(tl.int64) << 32
        keys = tl.where(inside & (gains > 0), high | low.to(tl.int64), 0)
        best = tl.max(tl.reshape(keys, (SIZE // PARTS, PARTS)), axis=0)
        best_low = (best & 0xFFFFFFFF).to(tl.int32) - 1
        gain = (best >> 32).to(tl.int32).to(tl.float32, bitcast=True)
        flipped = best_low // 2
        direction = (2 * (best_low % 2) - 1).to(fields.dtype)
        made = (best > 0) & (gain >= _LEAST_SHARE * tl.max(gain, axis=0))
        if PARTS > 1:
            # A flip stays if it gains whatever subset of the better ones is made too.
            both = made[:, None] & made[None, :]
            address = flipped[:, None].to(tl.int64) * width + flipped[None, :]
            coupled = tl.load(couplings_pointer + address, mask=both, other=0.0)
            lost = tl.maximum(factor * direction[:, None] * direction[None, :] * coupled, 0.0)
            lost = tl.where(both & (best[None, :] > best[:, None]), lost, 0.0)
            made = made & (gain > tl.sum(lost, axis=1).to(tl.float32))
        for k in tl.static_range(PARTS):
            one = made & (part == k)
            place = tl.sum(tl.where(one, flipped + 1, 0), axis=0) - 1  # -1 where the flip is not made
            spin = tl.sum(tl.where(one, direction, 0.0), axis=0)
            address = couplings_pointer + tl.maximum(place, 0).to(tl.int64) * width + places
            coupling = tl.load(address, mask=places < tl.where(place < 0, 0, width), other=0.0)
            fields -= factor * spin * coupling
            spins = tl.where(places == place, -spins, spins)
        left = tl.where(tl.max(best, axis=0) > 0, left - 1, 0)
    tl.store(fields_pointer + row * width + places, fields, mask=inside)
    tl.store(spins_pointer + row * width + places, spins, mask=inside)
