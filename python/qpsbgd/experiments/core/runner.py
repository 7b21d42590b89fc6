"""Runs tasks: tunes on the validation split, repeats over seeds, and leaves out what `Store` has already."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from qpsbgd.data.progress import ProgressBar
from qpsbgd.experiments.core.results import Result, Run
from qpsbgd.experiments.core.search import Search
from qpsbgd.experiments.core.store import Job, Record, Store
from qpsbgd.experiments.core.task import Settings, Task
from qpsbgd.optim.commit import keeping_grad_mode

__all__ = ["execute", "run", "tune"]


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
        run = keeping_grad_mode(job.execute)(data_dir)
    except FloatingPointError as error:
        if job.split == "test":
            raise
        failure = str(error)
    record = Record.of(job, run, failure)
    return record if store is None else store.keep(job, record)


def tune(
    task: Task,
    optimizers: Sequence[str],
    store: Store | None,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    report: Callable[[Record], None] | None = None,
) -> dict[str, Settings]:
    """Choose each optimizer's settings from its grid by the mean score on the validation split.

    Every optimizer runs ``tuning_seeds`` times with each of the equally many settings of its grid, or of
    those that its search draws. The first of equals wins.

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
    tuned = {name: task.grids[name] for name in optimizers if name in task.grids}
    scores: dict[str, list[float]] = {}

    def try_out(grids: Mapping[str, Sequence[Settings]]) -> None:
        jobs = [
            Job(task, name, settings, seed, "validation")
            for seed in range(task.tuning_seeds)
            for name, grid in grids.items()
            for settings in grid
        ]
        for job, record in zip(jobs, execute(jobs, store, data_dir=data_dir, report=report), strict=True):
            scores.setdefault(_setting_key(job.optimizer, job.settings), []).append(record.score)

    first = {name: grid.drawn(name) if isinstance(grid, Search) else grid for name, grid in tuned.items()}
    try_out(first)
    best = {name: _best(name, grid, scores) for name, grid in first.items()}
    last = {name: grid.near_to(name, best[name]) for name, grid in tuned.items() if isinstance(grid, Search)}
    try_out(last)
    best.update({name: _best(name, (best[name], *near), scores) for name, near in last.items()})
    for name, settings in best.items():
        if _mean_of(name, settings, scores) == -math.inf:
            raise FloatingPointError(f"{name} diverges on {task.name} with every setting of its grid")
    return {name: best.get(name, task.optimizers[name]) for name in optimizers}


def _best(name: str, grid: Sequence[Settings], scores: Mapping[str, list[float]]) -> Settings:
    """Return the first of the settings with the best mean score."""
    return max(grid, key=lambda settings: _mean_of(name, settings, scores))


def _mean_of(name: str, settings: Settings, scores: Mapping[str, list[float]]) -> float:
    found = scores[_setting_key(name, settings)]
    return math.fsum(found) / len(found)


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
