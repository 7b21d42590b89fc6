"""Which descent a device gets: the Triton kernel where it runs, or torch operations."""

from __future__ import annotations

from qpsbgd.solvers.device.choose import has_triton, uses_kernel
from qpsbgd.step.device.descent import Rows
from qpsbgd.step.device.descent import descend as descend_by_torch

__all__ = ["descend", "has_triton", "uses_kernel"]


def descend(rows: Rows) -> None:
    """Flip spins until no flip gains, in place."""
    if uses_kernel(rows.fields.device.type, rows.fields.shape[-1]):
        from qpsbgd.step.device.kernel import descend as descend_by_kernel

        descend_by_kernel(rows)
    else:
        descend_by_torch(rows)
