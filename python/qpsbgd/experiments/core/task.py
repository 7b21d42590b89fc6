"""What an experiment is made of: tasks, the optimizers' settings, and the grids these are tuned on.

A family of tasks (networks on data, functions to minimise, graphs, ...) is a subclass of `Task` that knows
how to do one run. Each task is one object of such a class, and so it is data. A task does not tune, repeat,
keep or resume its runs: `qpsbgd.experiments.core.runner` does.
"""

from __future__ import annotations

import dataclasses
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from qpsbgd.experiments.core.search import Grid, Setting, Settings

if TYPE_CHECKING:
    from qpsbgd.experiments.core.results import Run

__all__ = ["Experiment", "Setting", "Settings", "Split", "Task"]

Split = Literal["validation", "test"]

_TaskT = TypeVar("_TaskT", bound="Task")


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """One thing to train or minimise, and the optimizers that do it.

    A subclass adds what defines the task (network, data set, number of steps, ...) as fields of numbers,
    strings, tuples, dataclasses, and implements `run`.

    Attributes
    ----------
    name : str
        The task's name on the command line.
    description : str
        One line for the report.
    optimizers : mapping
        Optimizer name -> the settings it runs with when it is not tuned.
    grids : mapping
        Optimizer name -> the settings to choose from on the validation split, or the search that draws
        them. All grids have the same size, so that every optimizer has the same budget.
    seeds, tuning_seeds : int
        Number of runs on the test split, and of runs per setting on the validation split.
    published : mapping
        What the paper reports for this task: a short label -> the metric's value.
    metric, tuning_metric : str
        Keys of ``Run.metrics``: what runs on the test split are compared by, and what settings are chosen
        by on the validation split.
    higher_is_better : bool
        Direction of both metrics.
    version : int
        Class attribute. Raise it when the family's code changes what a run gives: runs kept from before are
        then done again.
    """

    name: str
    description: str
    optimizers: Mapping[str, Settings]
    grids: Mapping[str, Grid] = field(default_factory=dict)
    seeds: int = 5
    tuning_seeds: int = 1
    published: Mapping[str, float] = field(default_factory=dict)
    metric: str = "test_accuracy"
    tuning_metric: str = "validation_accuracy"
    higher_is_better: bool = True

    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not self.optimizers:
            raise ValueError(f"task {self.name!r} has no optimizer")
        unknown = set(self.grids) - set(self.optimizers)
        if unknown:
            raise ValueError(
                f"grids of task {self.name!r} name {sorted(unknown)}, which are no optimizers of it"
            )
        sizes = {name: len(grid) for name, grid in self.grids.items()}
        if len(set(sizes.values())) > 1 or 0 in sizes.values():
            raise ValueError(f"grids of task {self.name!r} have sizes {sizes}, expected one size for all")
        for count in ("seeds", "tuning_seeds"):
            value = getattr(self, count)
            if value < 1:
                raise ValueError(f"{count} of task {self.name!r} is {value}, expected at least 1")

    @abstractmethod
    def run(
        self,
        optimizer: str,
        settings: Settings,
        seed: int,
        *,
        split: Split = "test",
        data_dir: str | os.PathLike[str] | None = None,
    ) -> Run:
        """Do one run; the same arguments give the same run, its times aside.

        Parameters
        ----------
        optimizer : str
            A key of `optimizers`.
        settings : mapping
            The optimizer's settings.
        seed : int
            Fixes initial weights, batches and noise alike for all optimizers.
        split : {"validation", "test"}
            What the run is judged on. Runs on the validation split must not see test samples.
        data_dir : path, optional
            Data folder, see `qpsbgd.data.datasets.data_folder`.

        Returns
        -------
        Run
            With `metric` among its metrics, or `tuning_metric` for the validation split.

        Raises
        ------
        FloatingPointError
            If the loss becomes infinite or NaN. While tuning, such settings only lose.
        """

    def definition(self) -> dict[str, Any]:
        """Return the fields that the subclass adds, as JSON-able values; a dataclass becomes its text.

        Together with optimizer, settings, seed and split they define a run.
        """
        common = {one.name for one in dataclasses.fields(Task)}
        own = [one.name for one in dataclasses.fields(self) if one.name not in common]
        return {name: _jsonable(getattr(self, name)) for name in own}

    def replaced(self: _TaskT, **changes: Any) -> _TaskT:
        """Return a copy with some fields changed.

        Raises
        ------
        ValueError
            If the task has no such field.
        """
        unknown = set(changes) - {one.name for one in dataclasses.fields(self)}
        if unknown:
            raise ValueError(f"task {self.name!r} has no {', '.join(sorted(unknown))}")
        return dataclasses.replace(self, **changes)


def _jsonable(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _jsonable(one) for key, one in value.items()}
    if isinstance(value, (tuple, list)):
        return [_jsonable(one) for one in value]
    return value


@dataclass(frozen=True)
class Experiment:
    """Tasks that belong together: one figure or table.

    Attributes
    ----------
    name : str
        Its name on the command line.
    description : str
        The question it answers, in one line.
    tasks : tuple of Task
        What is run.
    axis : str, optional
        What differs between the tasks by a number: the report draws the metric against it.
    positions : tuple of float
        These numbers, one per task, if there is an axis.
    also_drawn : tuple of str
        Keys of ``Run.metrics`` that are drawn against the axis beside the tasks' metric.
    """

    name: str
    description: str
    tasks: tuple[Task, ...]
    axis: str | None = None
    positions: tuple[float, ...] = ()
    also_drawn: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.axis is not None and len(self.positions) != len(self.tasks):
            raise ValueError(
                f"experiment {self.name!r} has {len(self.tasks)} tasks, but {len(self.positions)} positions"
            )
