"""Mean and deviation of finite numbers of any size: a loss may end at 1e308, and sums overflow."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection

__all__ = ["deviation", "mean"]

_LARGE = 1e150
"""Squares and sums of smaller numbers are finite."""


def mean(values: Collection[float]) -> float:
    """Mean of at least one number.

    Examples
    --------
    >>> mean([1.0, 2.0])
    1.5
    >>> mean([1.7e308, 1.7e308])
    1.7e+308
    """
    largest = max(abs(value) for value in values)
    if largest <= _LARGE or math.isinf(largest):
        return statistics.fmean(values)
    return largest * statistics.fmean([value / largest for value in values])


def deviation(values: Collection[float]) -> float:
    """Sample standard deviation of at least two numbers; infinite where it is beyond float64.

    Examples
    --------
    >>> deviation([1.0, 3.0]) ** 2
    2.0000000000000004
    >>> deviation([1.7e308, -1.7e308])
    inf
    """
    largest = max(abs(value) for value in values)
    if math.isinf(largest):
        return math.inf
    if largest <= _LARGE:
        return statistics.stdev(values)
    return largest * statistics.stdev([value / largest for value in values])
