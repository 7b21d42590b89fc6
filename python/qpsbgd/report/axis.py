"""Experiments whose tasks differ by one number: metrics against that number, as a table and a picture."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from qpsbgd.data.pictures import new_figure, write_picture
from qpsbgd.experiments.core.results import Result
from qpsbgd.experiments.core.task import Experiment

__all__ = ["axis_table", "draw_against_axis"]


def axis_table(experiment: Experiment, results: Sequence[Result], metric: str) -> str:
    """Make a Markdown table of one metric: a line per optimizer, a column per task.

    Parameters
    ----------
    experiment : Experiment
        With an axis.
    results : sequence of Result
        Of its tasks; combinations that are missing are left blank.
    metric : str
        Key of the runs' metrics, shown as mean ± sample standard deviation.

    Returns
    -------
    str
        The table without a final line end.

    Raises
    ------
    ValueError
        If the experiment has no axis.
    """
    found = _by_optimizer(experiment, results, metric)
    heading = [
        f"{metric.replace('_', ' ')} at {experiment.axis}",
        *(f"{at:g}" for at in experiment.positions),
    ]
    lines = [heading, ["---"] * len(heading)]
    for optimizer, values in found.items():
        lines.append([optimizer, *(_spread(values.get(at)) for at in experiment.positions)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def draw_against_axis(
    experiment: Experiment, results: Sequence[Result], path: str | os.PathLike[str]
) -> None:
    """Draw the metrics of an experiment against its axis into a PNG file.

    Lines are means over the seeds; the shade runs from the lowest to the highest seed. The axis is linear
    from 0 to the smallest position above 0, and logarithmic beyond it.

    Parameters
    ----------
    experiment : Experiment
        With an axis; a panel for its tasks' metric, and for each that is also drawn.
    results : sequence of Result
        Of its tasks.
    path : path
        The PNG file; missing folders above it are made.

    Raises
    ------
    ValueError
        If the experiment has no axis.
    ModuleNotFoundError
        If matplotlib is not installed.
    OSError
        If the file cannot be written.
    """
    metrics = (experiment.tasks[0].metric, *experiment.also_drawn)
    figure = new_figure(4.0 * len(metrics), 3.6)
    panels = figure.subplots(1, len(metrics), squeeze=False)[0]
    smallest = min((at for at in experiment.positions if at > 0), default=1.0)
    for axes, metric in zip(panels, metrics, strict=True):
        for optimizer, values in _by_optimizer(experiment, results, metric).items():
            positions = sorted(values)
            runs = [values[at] for at in positions]
            (line,) = axes.plot(positions, [np.mean(one) for one in runs], marker="o", ms=3, label=optimizer)
            low, high = [min(one) for one in runs], [max(one) for one in runs]
            axes.fill_between(positions, low, high, color=line.get_color(), alpha=0.15)
        axes.set_xscale("symlog", linthresh=smallest)
        axes.set_xticks(experiment.positions, [f"{at:g}" for at in experiment.positions])
        axes.minorticks_off()
        label = metric.replace("_", " ")
        axes.set(xlabel=experiment.axis, ylabel=label, title=f"{experiment.name}: {label}")
        axes.grid(alpha=0.3)
    panels[0].legend(loc="best", fontsize="small")
    write_picture(figure, path, dpi=100)


def _by_optimizer(
    experiment: Experiment, results: Sequence[Result], metric: str
) -> dict[str, dict[float, list[float]]]:
    """Optimizer -> position -> values of the runs, in the order of the results."""
    if experiment.axis is None:
        raise ValueError(f"experiment {experiment.name!r} has no axis")
    places = {task.name: at for task, at in zip(experiment.tasks, experiment.positions, strict=True)}
    found: dict[str, dict[float, list[float]]] = {}
    for result in results:
        values = [run.metrics[metric] for run in result.runs if metric in run.metrics]
        if values and result.task in places:
            found.setdefault(result.optimizer, {})[places[result.task]] = values
    return found


def _spread(values: Sequence[float] | None) -> str:
    if values is None:
        return ""
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"
