"""Results of experiments, and the files that keep them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpsbgd.data.files import atomic_write
from qpsbgd.experiments.core.fields import Fields
from qpsbgd.experiments.core.numbers import deviation, mean

if TYPE_CHECKING:
    import torch

__all__ = ["CurvePoint", "Result", "Run", "check_replaceable", "write_results"]


@dataclass(frozen=True)
class CurvePoint:
    """A point of a learning curve.

    Attributes
    ----------
    step : int
        Number of steps taken.
    values : mapping
        What was measured there. ``loss``: the mean training loss of the batches since the point before, or
        the value of the function that is minimised; ``test_accuracy`` or ``validation_accuracy``: the
        fraction of the split's samples classified correctly; and whatever else a task measures.
    """

    step: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Run:
    """One training from one seed.

    Attributes
    ----------
    seed : int
        Seed of the initial weights and of the batches.
    metrics : mapping
        The task's metric and, of a network, ``train_loss``, over the whole training set at the end;
        ``seconds`` of the training steps without the evaluations; ``qubos_per_second`` in these, 0 for an
        optimizer that solves none.
    curve : tuple of CurvePoint
        Some tens of points with the same values each, the last one at the end.
    weights : mapping
        The network's ``state_dict`` at the end, or at the point that a task keeps; empty where there is none,
        and in a run read from a file.
    """

    seed: int
    metrics: Mapping[str, float]
    curve: tuple[CurvePoint, ...] = ()
    weights: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the run without its weights as JSON-able values."""
        return {
            "seed": self.seed,
            "metrics": dict(self.metrics),
            "curve": [{"step": point.step, **point.values} for point in self.curve],
        }

    @classmethod
    def from_json(cls, content: Any) -> Run:
        """Make a run from what `to_json` returned; it has no weights.

        Raises
        ------
        ValueError
            If the content has another structure; it names the field.
        """
        return cls.from_fields(Fields(content))

    @classmethod
    def from_fields(cls, fields: Fields) -> Run:
        """Make a run from the fields of a larger document; otherwise as `from_json`."""
        points = tuple(
            CurvePoint(point.whole("step"), point.numbers(but="step")) for point in fields.listed("curve")
        )
        return cls(fields.whole("seed"), fields.fields("metrics").numbers(), points)


@dataclass(frozen=True)
class Result:
    """All runs of one optimizer on one task.

    Attributes
    ----------
    task, optimizer : str
        Names in the catalogue.
    settings : mapping
        The optimizer's settings and what defines the task.
    runs : tuple of Run
        One per seed.

    Examples
    --------
    >>> runs = tuple(Run(seed, {"test_accuracy": 0.9 + 0.02 * seed}) for seed in range(2))
    >>> mean, deviation = Result("digits", "signsgd", {"lr": 0.01}, runs).mean_and_deviation("test_accuracy")
    >>> f"{mean:.3f} ± {deviation:.3f}"
    '0.910 ± 0.014'
    """

    task: str
    optimizer: str
    settings: Mapping[str, Any]
    runs: tuple[Run, ...]

    def mean_and_deviation(self, metric: str) -> tuple[float, float]:
        """Mean of a metric over the runs and its sample standard deviation (0 for a single run)."""
        values = [run.metrics[metric] for run in self.runs]
        return mean(values), deviation(values) if len(values) > 1 else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the result without its weights in the form of ``results.json``."""
        return {
            "task": self.task,
            "optimizer": self.optimizer,
            "settings": dict(self.settings),
            "runs": [run.to_json() for run in self.runs],
        }

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the result as JSON, whole or not at all.

        Parameters
        ----------
        path : path
            The file; missing folders above it are made.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        _write(self.to_json(), path)


def write_results(results: Sequence[Result], path: str | os.PathLike[str]) -> None:
    """Write several results as a JSON list, whole or not at all.

    Parameters
    ----------
    results : sequence of Result
        Each in the form of `Result.to_json`.
    path : path
        The file; missing folders above it are made.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    _write([result.to_json() for result in results], path)


def check_replaceable(path: str | os.PathLike[str], pairs: Sequence[tuple[str, str]]) -> None:
    """Check that writing results to `path` loses none of another task or optimizer.

    Parameters
    ----------
    path : path
        Where results are to be written; it need not be there.
    pairs : sequence of (str, str)
        Task and optimizer of each result that is to be written.

    Raises
    ------
    FileExistsError
        If the file has results of others.
    """
    try:
        content = json.loads(Path(path).read_bytes())
        listed = content if isinstance(content, list) else [content]
        before = [(str(one["task"]), str(one["optimizer"])) for one in listed]
    except (OSError, ValueError, KeyError, TypeError):
        return  # nothing there, or no results
    others = [pair for pair in before if pair not in pairs]
    if others:
        task, optimizer = others[0]
        raise FileExistsError(
            f"{os.fspath(path)} has the results of {optimizer} on {task}; give another --out for these runs"
        )


def _write(content: Any, path: str | os.PathLike[str]) -> None:
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    with atomic_write(path) as file:
        file.write(text.encode())
