"""Tasks of the experiments that run in no time."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from qpsbgd.data import datasets
from qpsbgd.experiments import OPTIMIZERS, CurvePoint, Run, Task
from qpsbgd.experiments.classification import Classification, Samples, prepare
from qpsbgd.experiments.networks import Mlp

TINY = Classification(
    name="tiny",
    description="80 points labelled by the sign of their sum",
    dataset="tiny",
    network=Mlp((6, 8, 2), "sign"),
    batch_size=10,
    steps=40,
    optimizers={
        **{name: {"lr": 0.03} for name in OPTIMIZERS},
        "binaryconnect-sgd": {"lr": 3.0},
        "bop": {"lr": 0.1, "threshold": 1e-3},
    },
)


def tiny_samples() -> Samples:
    """80 training and 40 test points."""
    x = np.random.default_rng(0).normal(size=(120, 6)).astype(np.float32)
    y = (x.sum(axis=1) > 0).astype(np.int64)
    return prepare(datasets.Dataset("tiny", x[:80], y[:80], x[80:], y[80:], 2), "centred")


def train(optimizer, samples, seed=0, task=TINY):
    return task.train(optimizer, task.optimizers[optimizer], seed, samples)


def without_times(one: Run) -> dict[str, float]:
    return {name: value for name, value in one.metrics.items() if not name.endswith(("seconds", "second"))}


@dataclass(frozen=True, kw_only=True)
class Counted(Task):
    """No network: its optimizers end at their learning rate, on validation and test alike."""

    steps: int = 3

    version: ClassVar[int] = 1
    calls: ClassVar[list[tuple]] = []

    def run(self, optimizer, settings, seed, *, split="test", data_dir=None):
        self.calls.append((optimizer, settings["lr"], seed, split))
        if settings["lr"] == 666:
            raise FloatingPointError("diverged")
        value = abs(settings["lr"] - 3) + 0.001 * seed
        curve = (CurvePoint(self.steps, {"loss": value}),)
        return Run(seed, {"value": value}, curve, {"w": torch.tensor([value])})


def counted(**changes) -> Counted:
    Counted.calls.clear()
    fields = {
        "name": "counted",
        "description": "the nearest learning rate to 3 wins",
        "optimizers": {"a": {"lr": 1}, "b": {"lr": 2}},
        "grids": {"a": ({"lr": 1}, {"lr": 666}, {"lr": 4}), "b": ({"lr": 9}, {"lr": 3}, {"lr": 3.0})},
        "metric": "value",
        "tuning_metric": "value",
        "higher_is_better": False,
        "tuning_seeds": 2,
    }
    return Counted(**{**fields, **changes})
