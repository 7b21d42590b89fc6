"""Which descent a device gets: the Triton kernel where it runs, or torch operations."""

from __future__ import annotations

import functools
import importlib.util

from qpsbgd.step.device.descent import Rows
from qpsbgd.step.device.descent import descend as descend_by_torch

__all__ = ["descend", "has_triton", "uses_kernel"]


@functools.cache
def has_triton() -> bool:
    """Tell whether Triton is installed, without an import of it; CUDA builds of torch bring it along."""
    return importlib.util.find_spec("triton") is not None


def uses_kernel(device: str, width: int) -> bool:
    """Tell whether rows of so many spins on this kind of device descend by the Triton kernel.

    Examples
    --------
    >>> uses_kernel("cpu", 100)
    False
    """
    return device == "cuda" and 0 < width <= _MOST_SPINS and has_triton()


_MOST_SPINS = 8192
"""Of a row whose fields and spins fit into the registers of a program."""


def descend(rows: Rows) -> None:
    """Flip spins until no flip gains, in place."""
    if uses_kernel(rows.fields.device.type, rows.fields.shape[-1]):
        from qpsbgd.step.device.kernel import descend as descend_by_kernel

        descend_by_kernel(rows)
    else:
        descend_by_torch(rows)
