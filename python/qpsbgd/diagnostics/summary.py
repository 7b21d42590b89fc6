"""What `qpsbgd.diagnostics.Diagnostics` keeps of each layer: one record a step, and the summary of all steps.

Two figures of the paper are easily confused, because both are probabilities, over the random batches, of
agreement with the full gradient ∇L. ∇L is the gradient of the loss over all training samples.

==== ============================================================= =============================
name what is compared                                              one figure for
==== ============================================================= =============================
CDP  P(⟨Π(g), ∇L⟩ > 0): does the step Π(g) descend the full loss?  a row, or a whole layer
SP   P(sign(g) = sign(∇L)): is one sign of the batch right?        a coordinate
==== ============================================================= =============================

CDP weighs the coordinates by the size of ∇L and adds them up before it asks. SP asks each coordinate by
itself. So CDP > SP does not say that Π is better than sign. The right comparison is between the CDP of Π(g)
and the CDP of sign(g); `Diagnostics` shows both.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from qpsbgd.diagnostics.measures import Doubles

__all__ = [
    "NOTE",
    "STEPS",
    "Counts",
    "LayerRecord",
    "LayerSummary",
    "html_table",
    "known_mean",
    "markdown_table",
    "summarise",
]

NOTE = (
    "CDP is the probability that the projection Π(g) of a row's batch gradient g descends the full loss, SP "
    "the probability that one coordinate of g has the sign of the full gradient. They are different "
    "quantities: compare CDP of Π(g) with CDP of sign(g), not with SP. The step taken is Π(g) only without "
    "memory."
)
"""This text stands wherever CDP and SP are shown together."""

STEPS = ("projection", "sign", "step")
"""The steps that have a CDP: Π(g), sign(g), and the step taken."""

_HEADINGS: Mapping[str, str] = {
    "layer": "layer",
    "steps": "steps",
    "layer_cdp": "CDP, layer",
    "cdp": "CDP, rows",
    "rows_above_half": "rows with CDP > ½",
    "sign_cdp": "CDP of sign(g), rows",
    "sign_rows_above_half": "rows with it > ½",
    "step_cdp": "CDP of the step, rows",
    "step_rows_above_half": "rows with it > ½",
    "sp": "SP, coordinates",
    "coordinates_above_half": "coordinates with SP > ½",
    "cosine": "cosine",
    "flipped": "flipped",
    "gap": "QUBO gap",
}
"""Field of `LayerSummary` -> heading of its column."""


@dataclass(frozen=True)
class LayerRecord:
    """What `Diagnostics` measured of one layer in one step. None where there is nothing to compare.

    Attributes
    ----------
    step : int
        Number of the step, from 0.
    layer : str
        Name of the weight in the model.
    descends : bool or None
        Whether ⟨Π(g), ∇L⟩ > 0 over the whole layer. The mean over steps is the layer's CDP.
    rows_descending : float or None
        Fraction of rows with ⟨Π(g), ∇L⟩ > 0. The mean over steps is the mean CDP of the rows.
    sign_rows_descending : float or None
        The same for sign(g). Compare `rows_descending` with this one.
    step_rows_descending : float or None
        The same for the step taken. With memory the step taken is not Π(g).
    sign_agreement : float or None
        Fraction of coordinates where sign(g) = sign(∇L). The mean over steps is the mean SP.
    cosine : float or None
        Cosine of the angle between the step taken and ∇L, over the whole layer.
    flipped : float
        Fraction of binary weights that the step changed.
    gap : float or None
        Mean relative QUBO gap of the solver's answers, over the rows looked at.
    gap_proven : bool or None
        Whether the gap is measured against proven optima.
    """

    step: int
    layer: str
    descends: bool | None
    rows_descending: float | None
    sign_rows_descending: float | None
    step_rows_descending: float | None
    sign_agreement: float | None
    cosine: float | None
    flipped: float
    gap: float | None
    gap_proven: bool | None


@dataclass(frozen=True)
class LayerSummary:
    """One layer over all observed steps.

    Rows and coordinates without a full gradient are left out. A figure is None where nothing is left.

    Attributes
    ----------
    layer : str
        Name of the weight in the model.
    steps : int
        Number of observed steps.
    layer_cdp : float or None
        CDP of the layer as a whole.
    cdp, sign_cdp, step_cdp : float or None
        Mean CDP of the layer's rows: of Π(g), of sign(g), and of the step taken.
    rows_above_half, sign_rows_above_half, step_rows_above_half : float or None
        Fraction of rows whose CDP is above ½, of the same three.
    sp : float or None
        Mean SP of the layer's coordinates.
    coordinates_above_half : float or None
        Fraction of coordinates whose SP is above ½.
    cosine, flipped, gap : float or None
        Means of the records.
    """

    layer: str
    steps: int
    layer_cdp: float | None
    cdp: float | None
    rows_above_half: float | None
    sign_cdp: float | None
    sign_rows_above_half: float | None
    step_cdp: float | None
    step_rows_above_half: float | None
    sp: float | None
    coordinates_above_half: float | None
    cosine: float | None
    flipped: float | None
    gap: float | None


class Counts:
    """Counts, for every row or coordinate, in how many steps something held and in how many it was asked.

    Examples
    --------
    >>> counts = Counts()
    >>> counts.add(np.array([1.0, 0.0, np.nan]))
    >>> counts.add(np.array([1.0, 1.0, np.nan]))
    >>> counts.fraction()
    array([1. , 0.5, nan])
    """

    def __init__(self) -> None:
        self.held: npt.NDArray[np.int64] | int = 0
        self.asked: npt.NDArray[np.int64] | int = 0

    def add(self, now: Doubles) -> None:
        """Count one step: 1 where it held, 0 where it did not, NaN where there was nothing to ask."""
        asked = ~np.isnan(now)
        self.asked = self.asked + asked.astype(np.int64)
        self.held = self.held + (asked & (now == 1)).astype(np.int64)

    def fraction(self) -> Doubles:
        """Return the fraction of asked steps where it held; NaN where no step was asked."""
        with np.errstate(invalid="ignore"):
            return cast(Doubles, np.true_divide(self.held, self.asked))


def summarise(layer: str, records: Sequence[LayerRecord], counts: Mapping[str, Counts]) -> LayerSummary:
    """Summarise the observed steps of one layer.

    Parameters
    ----------
    layer : str
        Name of the weight in the model.
    records : sequence of LayerRecord
        Those of this layer.
    counts : mapping
        Each of `STEPS`, and ``"coordinates"`` for SP -> its counts.
    """
    fractions = {of: count.fraction() for of, count in counts.items()}

    def mean(field: str) -> float | None:
        values = [getattr(record, field) for record in records]
        return known_mean(np.array([np.nan if value is None else value for value in values]))

    return LayerSummary(
        layer=layer,
        steps=len(records),
        layer_cdp=mean("descends"),
        cdp=known_mean(fractions["projection"]),
        rows_above_half=_above_half(fractions["projection"]),
        sign_cdp=known_mean(fractions["sign"]),
        sign_rows_above_half=_above_half(fractions["sign"]),
        step_cdp=known_mean(fractions["step"]),
        step_rows_above_half=_above_half(fractions["step"]),
        sp=known_mean(fractions["coordinates"]),
        coordinates_above_half=_above_half(fractions["coordinates"]),
        cosine=mean("cosine"),
        flipped=mean("flipped"),
        gap=mean("gap"),
    )


def markdown_table(summaries: Iterable[LayerSummary]) -> str:
    """Make a Markdown table, one line for each layer, with `NOTE` below it."""
    lines = ["| " + " | ".join(_HEADINGS.values()) + " |", "|---" * len(_HEADINGS) + "|"]
    for summary in summaries:
        figures = asdict(summary)
        lines.append("| " + " | ".join(_cell(figures[field]) for field in _HEADINGS) + " |")
    return "\n".join([*lines, "", NOTE])


def html_table(summaries: Iterable[LayerSummary]) -> str:
    """Make a table for notebooks, one row for each layer, with `NOTE` below it."""
    head = "".join(f"<th>{html.escape(heading)}</th>" for heading in _HEADINGS.values())
    rows = [
        "".join(f"<td>{html.escape(_cell(asdict(summary)[field]))}</td>" for field in _HEADINGS)
        for summary in summaries
    ]
    lines = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{lines}</table><p>{html.escape(NOTE)}</p>"


def known_mean(values: Doubles) -> float | None:
    """Return the mean of all values that are not NaN; None if all are NaN.

    Examples
    --------
    >>> known_mean(np.array([1.0, np.nan, 2.0]))
    1.5
    """
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else None


def _above_half(values: Doubles) -> float | None:
    known = values[~np.isnan(values)]
    return float((known > 0.5).mean()) if known.size else None


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
