"""What the commands that train share: shorter runs, and the lines printed about them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qpsbgd.experiments import Result, Task
    from qpsbgd.experiments.core.store import Record

__all__ = ["announce_plots", "print_outcome", "say", "with_steps"]


def announce_plots() -> bool:
    """Return whether plots can be drawn; if not, say so, before hours of training rather than after."""
    from qpsbgd.data.pictures import can_draw

    if can_draw():
        return True
    print("qpsbgd: plots need matplotlib and are left out: pip install 'qpsbgd[plots]'", file=sys.stderr)
    return False


def with_steps(task: Task, steps: int | None) -> Task:
    """Return the task with another number of steps, if one is given."""
    return task if steps is None else task.replaced(steps=steps)


def print_outcome(result: Result, task: Task) -> None:
    """Print the mean of the task's metric, on the last line, for scripts to read."""
    print(f"{task.metric.replace('_', ' ')}: {result.mean_and_deviation(task.metric)[0]:.4f}")


def say(record: Record) -> None:
    """Print one line about a run that has just finished."""
    name = f"{record.task['name']}, {record.optimizer}, seed {record.seed}"
    if record.split == "validation":
        name += f", {', '.join(f'{key}={value}' for key, value in record.settings.items())}"
    if record.run is None:
        outcome = f"failed: {record.failure}"
    else:
        metric = record.task["metric" if record.split == "test" else "tuning_metric"]
        outcome = f"{metric.replace('_', ' ')} {record.run.metrics[metric]:.4f}"
        if "seconds" in record.run.metrics:
            outcome += f" after {record.run.metrics['seconds']:.1f} s"
    print(f"{name}: {outcome}", file=sys.stderr)
