"""Finished runs in a folder.

A finished run is one JSON file, named by a hash of all that defines the run. So a finished run is not done
again. An interrupted experiment goes on where it stopped, in any order and from several processes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qpsbgd._core import build_info
from qpsbgd.data.files import atomic_write
from qpsbgd.experiments.core.results import Run
from qpsbgd.experiments.core.task import Settings, Split, Task

__all__ = ["Job", "Record", "Store", "read_records"]

_FOLDER = "records"
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

    @property
    def score(self) -> float:
        """The run's value of its split's metric, signed so that more is better; -inf if the run failed."""
        if self.run is None:
            return -math.inf
        metric = self.task["metric" if self.split == "test" else "tuning_metric"]
        value = self.run.metrics[metric]
        return value if self.task["higher_is_better"] else -value


class Store:
    """The finished runs of a folder.

    Parameters
    ----------
    folder : path
        Files go to its subfolder ``records``.
    keep_weights : bool
        Also keep the networks of runs on the test split. A run whose network was not kept counts as
        unfinished.
    """

    def __init__(self, folder: str | os.PathLike[str], *, keep_weights: bool = False) -> None:
        self.folder = Path(folder) / _FOLDER
        self.keep_weights = keep_weights

    def find(self, job: Job) -> Record | None:
        """Return the record of a job that is finished, with weights where they are kept; else None.

        Raises
        ------
        ValueError
            If its file is there but is not a record of a run.
        """
        path = self._path(job)
        if not path.exists():
            return None
        content = _read(path)
        record = _as_record(content, path)
        if not (self.keep_weights and job.split == "test" and content["weights"]):
            return record
        weights = path.with_suffix(".pt")
        if record.run is None or not weights.exists():
            return None
        kept = torch.load(weights, map_location="cpu", weights_only=True)
        return dataclasses.replace(record, run=dataclasses.replace(record.run, weights=kept))

    def keep(self, job: Job, record: Record) -> None:
        """Write the record of a job, whole or not at all, after its weights.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        path = self._path(job)
        weights = {} if record.run is None else dict(record.run.weights)
        if weights and self.keep_weights and job.split == "test":
            with atomic_write(path.with_suffix(".pt")) as file:
                torch.save(weights, file)
        content = {
            "format": _FORMAT,
            "key": job.key,
            "task": record.task,
            "optimizer": record.optimizer,
            "settings": record.settings,
            "seed": record.seed,
            "split": record.split,
            "made_with": record.made_with,
            "weights": bool(weights),
            "failure": record.failure,
            "run": None if record.run is None else record.run.to_json(),
        }
        text = json.dumps(content, indent=1, allow_nan=False) + "\n"
        with atomic_write(path) as file:
            file.write(text.encode())

    def _path(self, job: Job) -> Path:
        return self.folder / f"{job.task.name}-{job.optimizer}-{job.split}-{job.seed}-{job.key}.json"


def read_records(folder: str | os.PathLike[str]) -> list[Record]:
    """Read all finished runs below a folder, in the order of their file names.

    Raises
    ------
    ValueError
        If there are none, or a file is not a record of a run; the message names it.
    OSError
        If a file cannot be read.
    """
    paths = sorted(Path(folder).rglob(f"{_FOLDER}/*.json"))
    if not paths:
        raise ValueError(f"there are no finished runs in {folder}")
    return [_as_record(_read(path), path) for path in paths]


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no record of a run: {error}") from None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(f"{path} is no record of a run in format {_FORMAT}")
    return content


def _as_record(content: Mapping[str, Any], path: Path) -> Record:
    try:
        return Record(
            content["task"],
            content["optimizer"],
            content["settings"],
            content["seed"],
            content["split"],
            content["made_with"],
            None if content["run"] is None else Run.from_json(content["run"]),
            content["failure"],
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no record of a run: {error!r} is missing or wrong") from None


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
