"""What a reader sees of results: a table of figures and a picture of the learning curves."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsbgd.experiments.results import Result
from qpsbgd.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_curves", "table"]

_HEADINGS = ("optimizer", "test accuracy", "seconds", "QUBOs/s")


def table(results: Sequence[Result]) -> str:
    """Make a Markdown table of results, aligned so that it reads as plain text too.

    Parameters
    ----------
    results : sequence of Result
        One line each: test accuracy as mean ± sample standard deviation over the seeds, mean seconds of
        training per run, mean QUBOs solved per second.

    Returns
    -------
    str
        The table without a final line end.

    Examples
    --------
    >>> from qpsbgd.experiments import Run
    >>> metrics = {"test_accuracy": 0.95, "train_loss": 0.1, "seconds": 2.0, "qubos_per_second": 0.0}
    >>> print(table([Result("digits", "signsgd", {}, (Run(0, metrics, (), {}),))]))
    | optimizer | test accuracy   | seconds | QUBOs/s |
    |-----------|-----------------|---------|---------|
    | signsgd   | 0.9500 ± 0.0000 | 2.0     | –       |
    """
    rows = [_HEADINGS, *(_table_row(result) for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _table_row(result: Result) -> tuple[str, str, str, str]:
    accuracy, deviation = result.mean_and_deviation("test_accuracy")
    seconds, _ = result.mean_and_deviation("seconds")
    rate, _ = result.mean_and_deviation("qubos_per_second")
    return (
        result.optimizer,
        f"{accuracy:.4f} ± {deviation:.4f}",
        f"{seconds:.1f}",
        f"{rate:,.0f}" if rate else "–",
    )


def draw_curves(results: Sequence[Result], path: str | os.PathLike[str]) -> None:
    """Draw the learning curves of several optimizers on one task into a PNG file.

    Lines are means over the seeds; the shade runs from the lowest to the highest seed.

    Parameters
    ----------
    results : sequence of Result
        One line per result in each of the two panels, test accuracy and training loss.
    path : path
        The PNG file; missing folders above it are made.

    Raises
    ------
    ModuleNotFoundError
        If matplotlib is not installed.
    OSError
        If the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "plots are drawn by matplotlib: pip install 'qpsbgd[demo]'", name=error.name
        ) from None
    figure: Any = Figure(figsize=(9.0, 3.8), layout="constrained")
    accuracy, loss = figure.subplots(1, 2)
    for result in results:
        _draw(accuracy, result, "test_accuracy")
        _draw(loss, result, "loss")
    accuracy.set(xlabel="step", ylabel="test accuracy", title=f"{results[0].task}: test accuracy")
    loss.set(xlabel="step", ylabel="training loss", yscale="log", title=f"{results[0].task}: training loss")
    for axes in (accuracy, loss):
        axes.grid(alpha=0.3)
    accuracy.legend(loc="lower right")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150)
    with atomic_write(path) as file:
        file.write(picture.getvalue())


def _draw(axes: Axes, result: Result, quantity: str) -> None:
    steps = [point.step for point in result.runs[0].curve]
    values = np.array([[getattr(point, quantity) for point in run.curve] for run in result.runs])
    (line,) = axes.plot(steps, values.mean(axis=0), label=result.optimizer)
    axes.fill_between(steps, values.min(axis=0), values.max(axis=0), color=line.get_color(), alpha=0.2)
