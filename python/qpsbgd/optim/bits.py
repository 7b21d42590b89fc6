"""Steps as bits: a sign for each entry, and which entries are zero where some are.

Zeros are rare, and mostly whole rows and columns, see `qpsbgd.optim.packed`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qpsbgd.step.arrays import Spins

__all__ = [
    "Bits",
    "Bytes",
    "clear_still",
    "decode_step",
    "encode_step",
    "pack_bits",
    "pack_still",
    "unpack_bits",
]

Bits = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]

_KINDS = (None, "lines", "entries")


def pack_bits(bits: Bits) -> Bytes:
    """Pack eight flags into a byte."""
    return np.packbits(bits)


def unpack_bits(packed: Bytes, count: int) -> Bits:
    """Give the first `count` flags back."""
    return np.unpackbits(packed, count=count).astype(np.bool_)


def pack_still(step: Spins) -> tuple[str | None, Bytes]:
    """Tell which entries of a step (m, d) are zero: by rows and columns where these tell all of them.

    Examples
    --------
    >>> pack_still(np.array([[1, 0], [-1, 0]], dtype=np.int8))
    ('lines', array([16], dtype=uint8))
    """
    still: Bits = np.equal(step, 0)
    if not still.any():
        return None, np.zeros(0, np.uint8)
    rows = np.logical_and.reduce(still, axis=1)
    columns = np.logical_and.reduce(still[~rows], axis=0)
    if np.array_equal(np.logical_or(rows[:, None], columns), still):
        return "lines", pack_bits(np.concatenate([rows, columns]))
    return "entries", pack_bits(still)


def clear_still(step: Spins, by: str, packed: Bytes) -> None:
    """Set the entries of a step (m, d) to zero that `pack_still` found."""
    rows, width = step.shape
    if by == "lines":
        lines = unpack_bits(packed, rows + width)
        step[lines[:rows]] = 0
        step[:, lines[rows:]] = 0
    else:
        step[unpack_bits(packed, rows * width).reshape(rows, width)] = 0


def encode_step(step: Spins) -> bytes:
    """Write a step (m, d) as bytes: one for the kind of zeros, the zeros if any, and the signs.

    Examples
    --------
    >>> step = np.array([[1, -1], [0, 0]], dtype=np.int8)
    >>> decode_step(encode_step(step), 0, (2, 2))[0]
    array([[ 1, -1],
           [ 0,  0]], dtype=int8)
    """
    by, still = pack_still(step)
    return bytes([_KINDS.index(by)]) + still.tobytes() + pack_bits(step > 0).tobytes()


def decode_step(data: bytes, start: int, shape: tuple[int, int]) -> tuple[Spins, int]:
    """Read the step (m, d) that begins at byte `start`; return it, and where the next one begins."""
    count = shape[0] * shape[1]
    by = _KINDS[data[start]]
    flags = {None: 0, "lines": sum(shape), "entries": count}[by]
    signs = start + 1 + (flags + 7) // 8
    end = signs + (count + 7) // 8
    received = np.frombuffer(data, np.uint8)
    step = np.where(unpack_bits(received[signs:end], count), 1, -1).astype(np.int8).reshape(shape)
    if by is not None:
        clear_still(step, by, received[start + 1 : signs])
    return step, end
