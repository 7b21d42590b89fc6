"""Line plots as SVG elements to stand inside an HTML page: no library, no script, no reference to outside."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Line", "plot"]

_WIDTH, _HEIGHT = 440, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 12, 28, 42
_COLOURS = ("#0b5394", "#cc4125", "#38761d", "#8e4ec6", "#b8860b", "#117a8b", "#a64d79", "#5f6368")
_DASHES = ("", "6 3", "2 3")
_TICKS = 5
_FEWEST_TICKS = 3
_MOST_DECADES = 12
_LARGEST = 1e250
"""Larger numbers are not drawn, nor below its inverse on a logarithmic axis: the arithmetic overflows."""


_Point = tuple[float, float, float, float]
"""x, y, low, high."""


@dataclass(frozen=True)
class Line:
    """One line: points (x, y) and, if given, a band from low to high at the same x.

    Lines of one `colour`, a number, look alike in every plot; without it they are told apart by their order.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    colour: int | None = None


class _Axis:
    """Maps numbers to pixels, on a linear or a logarithmic scale."""

    def __init__(self, values: Sequence[float], first: float, last: float, logarithmic: bool) -> None:
        self.logarithmic = logarithmic
        numbers = [self._scaled(value) for value in values]
        low, high = min(numbers), max(numbers)
        margin = 0.04 * (high - low)
        if high - low <= 1e-12 * max(abs(low), abs(high), 1e-250):  # equal, or so up to rounding
            margin = max(0.5, 1e-6 * max(abs(low), abs(high)))
        self.low, self.high = low - margin, high + margin
        self.first, self.last = first, last

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.logarithmic else value

    def pixel(self, value: float) -> float:
        share = (self._scaled(value) - self.low) / (self.high - self.low)
        return self.first + share * (self.last - self.first)

    def ticks(self) -> list[float]:
        if self.logarithmic and self.high - self.low >= 1:
            decades = math.ceil((self.high - self.low) / _MOST_DECADES)
            first = decades * math.ceil(self.low / decades)
            powers = [10.0**power for power in range(first, math.floor(self.high) + 1, decades)]
            if len(powers) >= _FEWEST_TICKS:
                return powers
            between = (
                factor * 10.0**power
                for power in range(math.floor(self.low), math.ceil(self.high) + 1)
                for factor in (1, 2, 5)
            )
            return [value for value in between if self.low <= math.log10(value) <= self.high]
        low, high = (10**self.low, 10**self.high) if self.logarithmic else (self.low, self.high)
        step = 10.0 ** math.floor(math.log10((high - low) / _TICKS))
        step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (factor * step) <= _TICKS + 1)
        return [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def plot(
    lines: Sequence[Line],
    *,
    title: str,
    x_label: str,
    y_label: str,
    logarithmic_x: bool = False,
    logarithmic_y: bool = False,
) -> str:
    """Draw lines, each with its band, and a legend.

    Points that are not finite (or beyond 1e250), or not positive on a logarithmic axis, are left out.

    Parameters
    ----------
    lines : sequence of Line
        What to draw.
    title, x_label, y_label : str
        Texts, escaped here.
    logarithmic_x, logarithmic_y : bool
        Scales.

    Returns
    -------
    str
        An ``<svg>`` element; an empty string if there is no point to draw.

    Examples
    --------
    >>> plot([Line("a", [1, 2], [3, 4])], title="t", x_label="x", y_label="y").startswith("<svg")
    True
    """
    drawn = [(line, _drawable(line, logarithmic_x, logarithmic_y)) for line in lines]
    kept = [(line, points) for line, points in drawn if points]
    if not kept:
        return ""
    x_axis = _Axis([x for _, points in kept for x, *_ in points], _LEFT, _WIDTH - _RIGHT, logarithmic_x)
    y_axis = _Axis(
        [y for _, points in kept for _, *ys in points for y in ys], _HEIGHT - _BOTTOM, _TOP, logarithmic_y
    )
    height = _HEIGHT + 16 * math.ceil(len(kept) / 2)
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" role="img" '
        f'aria-label="{html.escape(title)}">',
        f'<text class="title" x="{_LEFT}" y="17">{html.escape(title)}</text>',
        *_grid(x_axis, y_axis, x_label, y_label),
    ]
    for number, (line, points) in enumerate(kept):
        parts += _line(line, points, x_axis, y_axis, number)
    return "".join([*parts, "</svg>"])


def _drawable(
    line: Line, logarithmic_x: bool, logarithmic_y: bool
) -> list[tuple[float, float, float, float]]:
    low = line.y if line.low is None else line.low
    high = line.y if line.high is None else line.high

    def fits(x: float, *ys: float) -> bool:
        finite = all(abs(value) <= _LARGEST for value in (x, *ys))  # false for NaN
        smallest = 1 / _LARGEST
        return finite and (x > smallest or not logarithmic_x) and (min(ys) > smallest or not logarithmic_y)

    return [point for point in zip(line.x, line.y, low, high, strict=True) if fits(*point)]


def _grid(x_axis: _Axis, y_axis: _Axis, x_label: str, y_label: str) -> list[str]:
    parts = []
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    for value in x_axis.ticks():
        x = x_axis.pixel(value)
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 14}" text-anchor="middle">{value:g}</text>')
    for value in y_axis.ticks():
        y = y_axis.pixel(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 5}" y="{y + 3.5:.1f}" text-anchor="end">{value:.6g}</text>')
    middle = (_TOP + bottom) / 2
    centre = (_LEFT + right) / 2
    parts.append(f'<text x="{centre}" y="{bottom + 30}" text-anchor="middle">{html.escape(x_label)}</text>')
    parts.append(
        f'<text x="13" y="{middle}" text-anchor="middle" transform="rotate(-90 13 {middle})">'
        f"{html.escape(y_label)}</text>"
    )
    return parts


def _line(
    line: Line,
    points: Sequence[_Point],
    x_axis: _Axis,
    y_axis: _Axis,
    number: int,
) -> list[str]:
    style = number if line.colour is None else line.colour
    colour = _COLOURS[style % len(_COLOURS)]
    dash = _DASHES[style // len(_COLOURS) % len(_DASHES)]
    parts = []

    def path(pairs: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{x_axis.pixel(x):.1f},{y_axis.pixel(y):.1f}" for x, y in pairs)

    if line.low is not None and len(points) > 1:
        band = [(x, low) for x, _, low, _ in points] + [(x, high) for x, _, _, high in reversed(points)]
        parts.append(f'<polygon points="{path(band)}" fill="{colour}" opacity="0.15"/>')
    parts.append(
        f'<polyline points="{path([(x, y) for x, y, *_ in points])}" fill="none" stroke="{colour}" '
        f'stroke-width="1.6" stroke-dasharray="{dash}"/>'
    )
    if len(points) <= 12:
        parts += [
            f'<circle cx="{x_axis.pixel(x):.1f}" cy="{y_axis.pixel(y):.1f}" r="2.5" fill="{colour}"/>'
            for x, y, *_ in points
        ]
    x, y = _LEFT + 190 * (number % 2), _HEIGHT + 16 * (number // 2) + 4
    parts.append(
        f'<line x1="{x}" y1="{y}" x2="{x + 18}" y2="{y}" stroke="{colour}" stroke-width="2" '
        f'stroke-dasharray="{dash}"/><text x="{x + 23}" y="{y + 4}">{html.escape(line.name)}</text>'
    )
    return parts
