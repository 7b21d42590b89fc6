"""A table of figures and a picture of the learning curves."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from qpsbgd.data.pictures import new_figure, write_picture
from qpsbgd.experiments.core.results import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_curves", "table"]


def table(results: Sequence[Result], metric: str = "test_accuracy") -> str:
    """Make a Markdown table of results, aligned so that it reads as plain text too.

    Parameters
    ----------
    results : sequence of Result
        One line each: the metric as mean ± sample standard deviation over the seeds, if there are several;
        mean seconds of training per run, mean QUBOs solved per second; a dash where a task measures no such
        thing.
    metric : str
        Key of the runs' metrics.

    Returns
    -------
    str
        The table without a final line end.

    Examples
    --------
    >>> from qpsbgd.experiments import Run
    >>> metrics = {"test_accuracy": 0.95, "train_loss": 0.1, "seconds": 2.0, "qubos_per_second": 0.0}
    >>> print(table([Result("digits", "signsgd", {}, (Run(0, metrics, (), {}),))]))
    | optimizer | test accuracy | seconds | QUBOs/s |
    |-----------|---------------|---------|---------|
    | signsgd   | 0.9500        | 2.0     | –       |
    """
    headings = ("optimizer", metric.replace("_", " "), "seconds", "QUBOs/s")
    rows = [headings, *(_table_row(result, metric) for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(headings))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _table_row(result: Result, metric: str) -> tuple[str, str, str, str]:
    value, deviation = result.mean_and_deviation(metric)
    measured = result.runs[0].metrics
    seconds = result.mean_and_deviation("seconds")[0] if "seconds" in measured else 0.0
    rate = result.mean_and_deviation("qubos_per_second")[0] if "qubos_per_second" in measured else 0.0
    return (
        result.optimizer,
        f"{value:.4f} ± {deviation:.4f}" if len(result.runs) > 1 else f"{value:.4f}",
        f"{seconds:.1f}" if seconds else "–",
        f"{rate:,.0f}" if rate else "–",
    )


def draw_curves(results: Sequence[Result], path: str | os.PathLike[str]) -> None:
    """Draw the learning curves of several optimizers on one task into a PNG file.

    Lines are means over the seeds; the shade runs from the lowest to the highest seed.

    Parameters
    ----------
    results : sequence of Result
        One line per result in each panel, a panel for each value of the curves.
    path : path
        The PNG file; missing folders above it are made. Nothing is written for results without curves.

    Raises
    ------
    ModuleNotFoundError
        If matplotlib is not installed.
    OSError
        If the file cannot be written.
    """
    curves = [result for result in results if result.runs[0].curve]
    quantities = list(dict.fromkeys(name for result in curves for name in result.runs[0].curve[0].values))
    quantities.sort(key="loss".__eq__)  # the loss stands last
    if not quantities:
        return
    figure = new_figure(4.5 * len(quantities), 3.8)
    panels = figure.subplots(1, len(quantities), squeeze=False)[0]
    for axes, quantity in zip(panels, quantities, strict=True):
        for result in curves:
            if quantity in result.runs[0].curve[0].values:
                _draw(axes, result, quantity)
        label = "training loss" if quantity == "loss" else quantity.replace("_", " ")
        axes.set(xlabel="step", ylabel=label, title=f"{results[0].task}: {label}")
        if quantity == "loss":
            axes.set(yscale="log")
        axes.grid(alpha=0.3)
    panels[0].legend(loc="best")
    write_picture(figure, path)


def _draw(axes: Axes, result: Result, quantity: str) -> None:
    steps = [point.step for point in result.runs[0].curve]
    values = np.array([[point.values[quantity] for point in run.curve] for run in result.runs])
    (line,) = axes.plot(steps, values.mean(axis=0), label=result.optimizer)
    axes.fill_between(steps, values.min(axis=0), values.max(axis=0), color=line.get_color(), alpha=0.2)
