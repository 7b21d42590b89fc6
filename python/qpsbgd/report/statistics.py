"""Comparison of two optimizers over the same seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from qpsbgd.experiments.core import numbers

__all__ = ["Comparison", "compare", "two_sided_p"]

SIGNIFICANT = 0.05
_FEWEST = 3


@dataclass(frozen=True)
class Comparison:
    """Paired differences over common seeds.

    Attributes
    ----------
    pairs : int
        Number of common seeds.
    mean, deviation : float
        Of the differences; the sample standard deviation, 0 for one pair.
    p : float or None
        Two-sided p-value of Student's paired t-test, None for fewer than 3 pairs.
    """

    pairs: int
    mean: float
    deviation: float
    p: float | None

    @property
    def verdict(self) -> str:
        """``"higher"``, ``"lower"`` or ``"tie"``; ``"too few seeds"`` for fewer than 3 pairs."""
        if self.p is None:
            return "too few seeds"
        if self.p >= SIGNIFICANT:
            return "tie"
        return "higher" if self.mean > 0 else "lower"


def compare(values: Mapping[int, float], reference: Mapping[int, float]) -> Comparison | None:
    """Compare values with reference values over the seeds that both have; None if they share no seed.

    Examples
    --------
    >>> compare({0: 0.92, 1: 0.93, 2: 0.95}, {0: 0.90, 1: 0.91, 2: 0.93}).verdict
    'higher'
    >>> compare({0: 0.92, 1: 0.91, 2: 0.93}, {0: 0.92, 1: 0.92, 2: 0.92}).verdict
    'tie'
    """
    seeds = sorted(set(values) & set(reference))
    if not seeds:
        return None
    differences = [values[seed] - reference[seed] for seed in seeds]
    mean = numbers.mean(differences)
    deviation = numbers.deviation(differences) if len(seeds) > 1 else 0.0
    if len(seeds) < _FEWEST:
        return Comparison(len(seeds), mean, deviation, None)
    # The differences are equal up to rounding, so the answer is certain.
    if deviation <= 1e-12 * max(1.0, abs(mean)):
        return Comparison(len(seeds), mean, deviation, 0.0 if abs(mean) > 1e-12 else 1.0)
    t = mean / (deviation / math.sqrt(len(seeds)))
    return Comparison(len(seeds), mean, deviation, two_sided_p(t, len(seeds) - 1))


def two_sided_p(t: float, freedom: int) -> float:
    """Probability that Student's t, with a whole number of degrees of freedom, is at least as far from 0.

    The closed form of Abramowitz and Stegun, 26.7.3 and 26.7.4, with tan(theta) = t / sqrt(freedom).

    Raises
    ------
    ValueError
        If `freedom` is below 1.

    Examples
    --------
    >>> round(two_sided_p(2.776445105, 4), 6)
    0.05
    """
    if freedom < 1:
        raise ValueError(f"freedom is {freedom}, expected at least 1")
    theta = math.atan(abs(t) / math.sqrt(freedom))
    cosine, sine = math.cos(theta), math.sin(theta)
    odd = freedom % 2
    term = cosine if odd else 1.0
    total = 0.0
    for k in range(3 if odd else 2, freedom + 1, 2):
        total += term
        term *= cosine**2 * (k - 1) / k
    inside = 2 / math.pi * (theta + sine * total) if odd else sine * total
    return min(1.0, max(0.0, 1 - inside))
