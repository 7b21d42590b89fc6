"""What names a run to do, and what is kept of a finished one."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from qpsbgd._core import build_info
from qpsbgd.experiments.core.fields import Fields, check_plain
from qpsbgd.experiments.core.results import Run
from qpsbgd.experiments.core.task import Settings, Split, Task

__all__ = ["Job", "Record"]

_FORMAT = 1


@dataclass(frozen=True)
class Job:
    """One run to do.

    Examples
    --------
    >>> from qpsbgd.experiments import TASKS
    >>> job = Job(TASKS["digits"], "signsgd", {"lr": 0.01}, 0, "test")
    >>> job.key == Job(TASKS["digits"], "signsgd", {"lr": 0.01}, 0, "test").key
    True
    >>> job.key == Job(TASKS["digits"], "signsgd", {"lr": 0.03}, 0, "test").key
    False
    """

    task: Task
    optimizer: str
    settings: Settings
    seed: int
    split: Split

    @property
    def key(self) -> str:
        """Hash of task, its definition and version, optimizer, settings, seed and split."""
        parts = {
            "task": self.task.name,
            "family": type(self.task).__qualname__,
            "definition": self.task.definition(),
            "version": self.task.version,
            "optimizer": self.optimizer,
            "settings": dict(self.settings),
            "seed": self.seed,
            "split": self.split,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]

    def execute(self, data_dir: str | os.PathLike[str] | None = None) -> Run:
        """Do the run; raises what `Task.run` raises."""
        return self.task.run(self.optimizer, self.settings, self.seed, split=self.split, data_dir=data_dir)


@dataclass(frozen=True)
class Record:
    """A finished run, with all that its file says about it.

    Attributes
    ----------
    task : mapping
        Name, description, definition, metrics and published figures of the task.
    optimizer, settings, seed, split
        As in `Job`.
    made_with : mapping
        Versions and machine.
    run : Run or None
        The run without its weights; None if it failed.
    failure : str or None
        Why it failed: the loss became infinite or NaN.
    """

    task: Mapping[str, Any]
    optimizer: str
    settings: Mapping[str, Any]
    seed: int
    split: str
    made_with: Mapping[str, str]
    run: Run | None
    failure: str | None

    @classmethod
    def of(cls, job: Job, run: Run | None, failure: str | None = None) -> Record:
        """Make the record of a job that has just finished on this machine."""
        return cls(
            _describe(job.task),
            job.optimizer,
            dict(job.settings),
            job.seed,
            job.split,
            _made_with(),
            run,
            failure,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON-able values."""
        return {
            "format": _FORMAT,
            "task": self.task,
            "optimizer": self.optimizer,
            "settings": self.settings,
            "seed": self.seed,
            "split": self.split,
            "made_with": self.made_with,
            "failure": self.failure,
            "run": None if self.run is None else self.run.to_json(),
        }

    @classmethod
    def from_json(cls, content: Any) -> Record:
        """Make a record from what `to_json` returned.

        Every field that anything reads is checked here, so a record is whole and of the right types, whatever
        the file held.

        Raises
        ------
        ValueError
            If the content has another structure; it names the field.
        """
        check_plain(content)
        fields = Fields(content)
        if fields.whole("format") != _FORMAT:
            raise ValueError(f"'format' is {fields.whole('format')}, expected {_FORMAT}")
        task = _checked_task(fields.fields("task"))
        split = fields.choice("split", "test", "validation")
        run = None if fields.value("run") is None else Run.from_fields(fields.fields("run"))
        if run is not None:  # what it is judged by must be there
            fields.fields("run").fields("metrics").number(
                task["metric" if split == "test" else "tuning_metric"]
            )
        return cls(
            task,
            fields.text("optimizer"),
            dict(fields.fields("settings").content),
            fields.whole("seed"),
            split,
            fields.fields("made_with").texts(),
            run,
            None if fields.value("failure") is None else fields.text("failure"),
        )

    @property
    def score(self) -> float:
        """The run's value of its split's metric, signed so that more is better; -inf if the run failed."""
        if self.run is None:
            return -math.inf
        metric = self.task["metric" if self.split == "test" else "tuning_metric"]
        value = self.run.metrics[metric]
        return value if self.task["higher_is_better"] else -value


def _checked_task(fields: Fields) -> dict[str, Any]:
    """Return what `_describe` gave; records of early versions have no family."""
    for name in ("name", "description", "metric", "tuning_metric"):
        fields.text(name)
    if "family" in fields.content:
        fields.text("family")
    fields.fields("definition")
    fields.whole("version")
    fields.flag("higher_is_better")
    fields.fields("published").numbers()
    return dict(fields.content)


def _describe(task: Task) -> dict[str, Any]:
    return {
        "name": task.name,
        "family": type(task).__qualname__,
        "description": task.description,
        "definition": task.definition(),
        "version": task.version,
        "metric": task.metric,
        "tuning_metric": task.tuning_metric,
        "higher_is_better": task.higher_is_better,
        "published": dict(task.published),
    }


def _made_with() -> dict[str, str]:
    return {
        "qpsbgd": build_info()["version"],
        "instruction set": str(build_info().get("instruction_set", "")),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "machine": f"{platform.machine()}, {platform.system()}, {os.cpu_count()} cores",
        "torch threads": str(torch.get_num_threads()),
    }
