"""What an experiment gives, and the file it is kept in."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from qpsbgd.files import atomic_write

if TYPE_CHECKING:
    import torch

    from qpsbgd.experiments.catalogue import Setting

__all__ = ["CurvePoint", "Result", "Run"]


@dataclass(frozen=True)
class CurvePoint:
    """A point of a learning curve.

    Attributes
    ----------
    step : int
        Number of steps taken.
    loss : float
        Mean training loss of the batches since the point before.
    test_accuracy : float
        Fraction of the test samples classified correctly.
    """

    step: int
    loss: float
    test_accuracy: float


@dataclass(frozen=True)
class Run:
    """One training from one seed.

    Attributes
    ----------
    seed : int
        Seed of the initial weights and of the batches.
    metrics : mapping
        ``test_accuracy``; ``train_loss``, over the whole training set at the end; ``seconds`` of the training
        steps without the evaluations; ``qubos_per_second`` in these, 0 for an optimizer that solves none.
    curve : tuple of CurvePoint
        30 points, the last one at the end (a run of fewer steps has a point for each).
    weights : mapping
        The network's ``state_dict`` at the end.
    """

    seed: int
    metrics: Mapping[str, float]
    curve: tuple[CurvePoint, ...]
    weights: Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Result:
    """All runs of one optimizer on one task.

    Attributes
    ----------
    task, optimizer : str
        Names in the catalogue.
    settings : mapping
        The optimizer's settings and the size of the training.
    runs : tuple of Run
        One per seed.

    Examples
    --------
    >>> runs = tuple(Run(seed, {"test_accuracy": 0.9 + 0.02 * seed}, (), {}) for seed in range(2))
    >>> mean, deviation = Result("digits", "signsgd", {"lr": 0.01}, runs).mean_and_deviation("test_accuracy")
    >>> f"{mean:.3f} ± {deviation:.3f}"
    '0.910 ± 0.014'
    """

    task: str
    optimizer: str
    settings: Mapping[str, Setting]
    runs: tuple[Run, ...]

    def mean_and_deviation(self, metric: str) -> tuple[float, float]:
        """Mean of a metric over the runs and its sample standard deviation (0 for a single run)."""
        values = [run.metrics[metric] for run in self.runs]
        return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0

    def to_json(self) -> dict[str, Any]:
        """Give the result without its weights in the form of ``results.json``."""
        return {
            "task": self.task,
            "optimizer": self.optimizer,
            "settings": dict(self.settings),
            "runs": [
                {
                    "seed": run.seed,
                    "metrics": dict(run.metrics),
                    "curve": [asdict(point) for point in run.curve],
                }
                for run in self.runs
            ],
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
        text = json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n"
        with atomic_write(path) as file:
            file.write(text.encode())
