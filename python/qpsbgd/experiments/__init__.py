"""Experiments as data: tasks, optimizers with their settings and grids, seeds.

`catalogue` lists them; `task` says what a task is; `runner` tunes, repeats, keeps and resumes.
"""

from qpsbgd.extras import needed_for

with needed_for("qpsbgd.experiments", "torch", "torch"):
    import torch  # noqa: F401

from qpsbgd.experiments.catalogue import EXPERIMENTS, TASKS
from qpsbgd.experiments.core.results import CurvePoint, Result, Run
from qpsbgd.experiments.core.task import Experiment, Settings, Task
from qpsbgd.experiments.optimizers import OPTIMIZERS

__all__ = [
    "EXPERIMENTS",
    "OPTIMIZERS",
    "TASKS",
    "CurvePoint",
    "Experiment",
    "Result",
    "Run",
    "Settings",
    "Task",
]


def __dir__() -> list[str]:
    return __all__
