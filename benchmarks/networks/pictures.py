"""Pictures of runs: learning curves against steps and time, and final losses of variants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qpsbgd.data.pictures import new_figure, write_picture

__all__ = ["LABELS", "draw_curves", "draw_losses"]

LABELS = {
    "qpsbgd": "QP-SBGD",
    "signs": "its signs, without the QUBO",
    "adamw": "AdamW",
    "muon": "Muon",
    "sgd": "SGD with momentum",
    "signum": "Signum",
    "lion": "Lion",
}
_SMOOTHED = 20

Floats = npt.NDArray[np.float64]


def draw_curves(
    runs: dict[str, list[dict[str, Any]]], milliseconds: dict[str, float], path: Path, title: str
) -> None:
    """Draw the loss of the batches, each a mean of 20 steps, against steps and processor seconds.

    `milliseconds` are those of a step of each optimizer, measured in turns.

    Lines are means over the seeds, bands go from the lowest seed to the highest.
    """
    figure = new_figure(10, 4)
    panels = figure.subplots(1, 2, sharey=True)
    lowest, highest = np.inf, 0.0
    for name, of_seeds in runs.items():
        curves = np.array([_means(run["curve"]) for run in of_seeds])
        steps = _SMOOTHED * (0.5 + np.arange(curves.shape[1]))
        seconds = milliseconds[name] / 1000
        lowest, highest = min(lowest, curves.min()), max(highest, curves[:, 1].max())
        for panel, x in zip(panels, (steps, steps * seconds), strict=True):
            (line,) = panel.plot(x, curves.mean(axis=0), label=LABELS[name])
            panel.fill_between(x, curves.min(axis=0), curves.max(axis=0), color=line.get_color(), alpha=0.2)
    panels[0].set(ylabel="training loss", xlabel="steps", ylim=(lowest - 0.05, highest))
    panels[1].set(xlabel="processor seconds, one thread")
    panels[0].legend()
    figure.suptitle(title)
    write_picture(figure, path)


def _means(curve: list[float]) -> Floats:
    whole = len(curve) // _SMOOTHED * _SMOOTHED
    means: Floats = np.array(curve[:whole]).reshape(-1, _SMOOTHED).mean(axis=1)
    return means


def draw_losses(losses: dict[str, list[float]], path: Path, title: str) -> None:
    """Draw the final losses of variants, one point a seed; the first variant is a line through all."""
    figure = new_figure(7, 0.6 + 0.3 * len(losses))
    panel = figure.subplots()
    for row, values in enumerate(losses.values()):
        panel.plot(values, np.full(len(values), row), "o", markersize=4, color="C0", alpha=0.7)
    panel.axvline(float(np.mean(next(iter(losses.values())))), color="C1", linewidth=1)
    panel.set_yticks(range(len(losses)), list(losses))
    panel.invert_yaxis()
    panel.set(xlabel="training loss", xscale="log", title=title)
    panel.xaxis.set_minor_formatter("{x:g}")
    panel.xaxis.set_major_formatter("{x:g}")
    panel.grid(axis="x", alpha=0.3)
    write_picture(figure, path)
