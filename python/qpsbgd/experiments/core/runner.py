"""Runs tasks: tunes on the validation split, repeats over seeds, keeps every finished run and resumes.

A finished run is one JSON file, named by a hash of all that defines the run. What is there is not done again,
so an interrupted experiment goes on where it stopped, in any order and from several processes.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qpsbgd._core import build_info
from qpsbgd.data.files import atomic_write
from qpsbgd.data.progress import ProgressBar
from qpsbgd.experiments.core.results import Result, Run
from qpsbgd.experiments.core.task import Settings, Split, Task

__all__ = ["Job", "Record", "Store", "execute", "read_records", "run", "tune"]

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
    """A finished run and what it was a run of, as its file tells.

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

    @property
    def score(self) -> float:
        """What the run reached in its split's metric, the higher the better; minus infinity if it failed."""
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
            If its file is there but is none of ours.
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
        run = Run(record.run.seed, record.run.metrics, record.run.curve, kept)
        return Record(**{**record.__dict__, "run": run})

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


def read_records(folder: str | os.PathLike[str]) -> list[Record]:
    """Read all finished runs below a folder, in the order of their file names.

    Raises
    ------
    ValueError
        If there are none, or a file is none of ours; the message names it.
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


def execute(
    jobs: Iterable[Job],
    store: Store | None,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    report: Callable[[Record], None] | None = None,
) -> Iterator[Record]:
    """Yield the records of jobs, doing those that are not finished.

    Parameters
    ----------
    jobs : iterable of Job
        Best ordered by seed, then optimizer: a validation split is then read once.
    store : Store or None
        Where finished runs are; None to do all and keep nothing.
    data_dir : path, optional
        Data folder, see `qpsbgd.data.datasets.data_folder`.
    report : function, optional
        Called with each record that was not there before.

    Raises
    ------
    FloatingPointError
        If the loss of a run on the test split becomes infinite or NaN. On the validation split that is
        recorded, as a failure.
    """
    jobs = list(jobs)
    with ProgressBar(len(jobs), jobs[0].task.name if jobs else "", unit="run") as bar:
        for job in jobs:
            record = None if store is None else store.find(job)
            if record is None:
                record = _do(job, store, data_dir)
                if report is not None:
                    with bar.paused():
                        report(record)
            bar.advance()
            yield record


def _do(job: Job, store: Store | None, data_dir: str | os.PathLike[str] | None) -> Record:
    run, failure = None, None
    try:
        run = job.execute(data_dir)
    except FloatingPointError as error:
        if job.split == "test":
            raise
        failure = str(error)
    record = Record(
        _describe(job.task),
        job.optimizer,
        dict(job.settings),
        job.seed,
        job.split,
        _made_with(),
        run,
        failure,
    )
    if store is not None:
        store.keep(job, record)
    return record


def tune(
    task: Task,
    optimizers: Sequence[str],
    store: Store | None,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    report: Callable[[Record], None] | None = None,
) -> dict[str, Settings]:
    """Choose each optimizer's settings from its grid by the mean score on the validation split.

    Every optimizer runs ``tuning_seeds`` times with each of the equally many settings of its grid. The first
    of equals wins.

    Parameters
    ----------
    task : Task
        What to tune on.
    optimizers : sequence of str
        Keys of the task's `optimizers`; one without a grid keeps its settings.
    store, data_dir, report
        As for `execute`.

    Returns
    -------
    dict
        Optimizer -> settings.

    Raises
    ------
    FloatingPointError
        If no setting of an optimizer has a finite loss.
    """
    jobs = [
        Job(task, name, settings, seed, "validation")
        for seed in range(task.tuning_seeds)
        for name in optimizers
        for settings in task.grids.get(name, ())
    ]
    scores: dict[str, list[float]] = {}
    for job, record in zip(jobs, execute(jobs, store, data_dir=data_dir, report=report), strict=True):
        scores.setdefault(_setting_key(job.optimizer, job.settings), []).append(record.score)
    chosen: dict[str, Settings] = {}
    for name in optimizers:
        if name not in task.grids:
            chosen[name] = task.optimizers[name]
            continue
        means = [math.fsum(scores[_setting_key(name, settings)]) for settings in task.grids[name]]
        best = max(range(len(means)), key=means.__getitem__)
        if means[best] == -math.inf:
            raise FloatingPointError(f"{name} diverges on {task.name} with every setting of its grid")
        chosen[name] = task.grids[name][best]
    return chosen


def _setting_key(optimizer: str, settings: Settings) -> str:
    return json.dumps([optimizer, dict(settings)], sort_keys=True)


def run(
    task: Task,
    settings: Mapping[str, Settings],
    store: Store | None = None,
    *,
    seeds: int | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    report: Callable[[Record], None] | None = None,
) -> list[Result]:
    """Run optimizers on a task's test split.

    Parameters
    ----------
    task : Task
        What to run.
    settings : mapping
        Optimizer -> its settings.
    store, data_dir, report
        As for `execute`.
    seeds : int, optional
        Number of runs of each, with seeds 0, 1, ...; the task's if not given.

    Returns
    -------
    list of Result
        One per optimizer.

    Raises
    ------
    ValueError
        If the task has no such optimizer, or `seeds` is below 1.
    FloatingPointError
        If a loss becomes infinite or NaN.

    Examples
    --------
    >>> from qpsbgd.experiments import TASKS
    >>> (result,) = run(TASKS["digits"].replaced(steps=2), {"signsgd": {"lr": 0.01}}, seeds=1)
    >>> result.runs[0].curve[-1].step
    2
    """
    unknown = [name for name in settings if name not in task.optimizers]
    if unknown:
        raise ValueError(f"optimizer is {unknown[0]!r}, expected one of {', '.join(task.optimizers)}")
    seeds = task.seeds if seeds is None else seeds
    if seeds < 1:
        raise ValueError(f"seeds is {seeds}, expected at least 1")
    jobs = [Job(task, name, one, seed, "test") for seed in range(seeds) for name, one in settings.items()]
    runs: dict[str, list[Run]] = {name: [] for name in settings}
    for record in execute(jobs, store, data_dir=data_dir, report=report):
        assert record.run is not None  # failures on the test split raise
        runs[record.optimizer].append(record.run)
    return [
        Result(task.name, name, {**settings[name], **task.definition()}, tuple(ones))
        for name, ones in runs.items()
    ]
