"""Which descent a device gets: the Triton kernel where it runs, or torch operations."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from qpsbgd.solvers.device.choose import has_triton, uses_kernel
from qpsbgd.step.device.descent import Rows
from qpsbgd.step.device.descent import descend as descend_by_torch
from qpsbgd.step.device.rounded import descend_rounded, is_rounded

__all__ = ["descend_all", "has_triton", "joined", "launches", "uses_kernel"]

_MOST_COUPLINGS = 2**22
"""Of matrices that are copied to share a launch."""
_CLASSES = (256, 1024)
"""Widths up to which rows share a launch. Its programs are as wide as the widest rows need, and those of one
class have the same number of parts: so no answer depends on which rows are together."""


def joined(rows: Rows) -> bool:
    """Tell whether these rows are to share a launch with those of other layers."""
    width = rows.fields.shape[-1]
    return _by_kernel(rows) and width <= _CLASSES[-1] and rows.matrices.numel() <= _MOST_COUPLINGS


def launches(all_rows: Sequence[Rows]) -> list[list[Rows]]:
    """Put rows together that share a launch of the kernel, of those that are to share one.

    Examples
    --------
    >>> import torch
    >>> def of_width(d):
    ...     parts = torch.zeros(1, 1, d), torch.ones(1, 1, d), torch.zeros(1, d, d), torch.zeros(1, d)
    ...     return Rows(*parts, 2.0, torch.ones(1, 1, dtype=torch.bool))
    >>> grouped = launches([of_width(784), of_width(512), of_width(128), of_width(10)])
    >>> [[rows.fields.shape[-1] for rows in one] for one in grouped]
    [[128, 10], [784, 512]]
    """

    def kind(rows: Rows) -> tuple[Any, ...]:
        width = rows.fields.shape[-1]
        place = next(place for place, most in enumerate(_CLASSES) if width <= most)
        return place, str(rows.fields.device), str(rows.fields.dtype), rows.factor

    return [list(one) for _, one in groupby(sorted(all_rows, key=kind), key=kind)]


def descend_all(all_rows: Sequence[Rows]) -> None:
    """Flip spins of all these rows until no flip gains; the answers are those of each alone, bit for bit."""
    for together in launches([rows for rows in all_rows if joined(rows)]):
        _descend_by_kernel(together)
    for rows in all_rows:
        if joined(rows):
            continue
        if not _by_kernel(rows):
            descend_by_torch(rows)
        elif is_rounded(rows):
            descend_rounded(rows, lambda part: _descend_by_kernel([part]))
        else:
            _descend_by_kernel([rows])


def _descend_by_kernel(all_rows: list[Rows]) -> None:
    from qpsbgd.step.device.kernel import descend

    descend(all_rows)


def _by_kernel(rows: Rows) -> bool:
    return uses_kernel(rows.fields.device.type, rows.fields.shape[-1])
