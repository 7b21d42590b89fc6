"""Pictures of runs: learning curves against steps and time, and final losses of variants.

The ground is transparent, and lines and words are grey, so each picture can be read on light and dark pages.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qpsbgd.data.pictures import new_figure, write_picture

__all__ = ["LABELS", "draw_curves", "draw_losses"]

LABELS = {
    "flat": "QP-SBGD, singular_power ½",
    "qpsbgd": "QP-SBGD",
    "flat-signs": "signs, singular_power ½, without the QUBO",
    "signs": "its signs, without the QUBO",
    "adamw": "AdamW",
    "muon": "Muon",
    "sgd": "SGD with momentum",
    "signum": "Signum",
    "lion": "Lion",
    "kfac": "K-FAC",
    "soap": "SOAP",
    "shampoo": "Shampoo",
}
_SMOOTHED = 20
_GREY = "#7f868f"
_TICKS = (0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56)

Floats = npt.NDArray[np.float64]


def draw_curves(
    runs: dict[str, list[dict[str, Any]]], milliseconds: dict[str, float], path: Path, title: str
) -> None:
    """Draw the loss of the batches, each a mean of 20 steps, against steps and processor time.

    `milliseconds` are those of a step of each optimizer, measured in turns. The unit of time is a step of
    AdamW (of the fastest optimizer if AdamW is not there), since a busy machine slows all of them down.

    Lines are means over the seeds, bands go from the lowest seed to the highest.
    """
    figure = new_figure(10, 4)
    panels = figure.subplots(1, 2, sharey=True)
    lowest, highest = np.inf, 0.0
    unit = milliseconds.get("adamw", min(milliseconds.values()))
    for name, of_seeds in runs.items():
        curves = np.array([_means(run["curve"]) for run in of_seeds])
        steps = _SMOOTHED * (0.5 + np.arange(curves.shape[1]))
        lowest, highest = min(lowest, curves.min()), max(highest, curves[:, 1].max())
        for panel, x in zip(panels, (steps, steps * milliseconds[name] / unit), strict=True):
            (line,) = panel.plot(x, curves.mean(axis=0), label=LABELS[name])
            panel.fill_between(x, curves.min(axis=0), curves.max(axis=0), color=line.get_color(), alpha=0.2)
    panels[0].set(ylabel="training loss", xlabel="steps", ylim=(lowest - 0.05, highest))
    whose = "AdamW" if "adamw" in milliseconds else "the fastest"
    panels[1].set(xlabel=f"processor time, in steps of {whose}")
    panels[1].legend(fontsize="small", labelcolor=_GREY, framealpha=0)
    figure.suptitle(title, color=_GREY)
    _write_in_grey(figure, path)


def _means(curve: list[float]) -> Floats:
    whole = len(curve) // _SMOOTHED * _SMOOTHED
    means: Floats = np.array(curve[:whole]).reshape(-1, _SMOOTHED).mean(axis=1)
    return means


def _write_in_grey(figure: Any, path: Path) -> None:
    figure.patch.set_alpha(0)
    for panel in figure.axes:
        panel.patch.set_alpha(0)
        panel.tick_params(colors=_GREY, which="both")
        for part in (panel.title, panel.xaxis.label, panel.yaxis.label):
            part.set_color(_GREY)
        for spine in panel.spines.values():
            spine.set_color(_GREY)
    write_picture(figure, path)


def draw_losses(losses: dict[str, list[float]], path: Path, title: str) -> None:
    """Draw the final losses of variants, one point a seed; the first variant is a line through all."""
    figure = new_figure(8, 0.8 + 0.26 * len(losses))
    panel = figure.subplots()
    for row, values in enumerate(losses.values()):
        panel.plot(values, np.full(len(values), row), "o", markersize=4, color="C0", alpha=0.7)
    panel.axvline(float(np.mean(next(iter(losses.values())))), color="C1", linewidth=1)
    panel.set_yticks(range(len(losses)), list(losses))
    panel.invert_yaxis()
    panel.set(xlabel="training loss", xscale="log", title=title)
    low, high = panel.get_xlim()
    panel.set_xticks(
        ticks := [tick for tick in _TICKS if low <= tick <= high], [f"{tick:g}" for tick in ticks]
    )
    panel.minorticks_off()
    panel.grid(alpha=0.3)
    _write_in_grey(figure, path)
