"""The paper's two convergence theorems as experiments.

For the continuous variant the gradient norm falls like 1/sqrt(T) with the number of steps T. The projected
one descends a majorizer of the loss monotonically, so that it reaches a fixed point.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qpsbgd.experiments.convex import correlated_samples
from qpsbgd.experiments.core.minimising import Objective, make_real_optimizer, minimise
from qpsbgd.experiments.core.results import CurvePoint, Run
from qpsbgd.experiments.core.task import Experiment, Settings, Split, Task
from qpsbgd.experiments.optimizers import make_optimizer
from qpsbgd.nn import BinaryLinear

__all__ = ["EXPERIMENT", "FixedPoint", "GradientNorm", "fitted_exponent"]


def fitted_exponent(steps: Sequence[int], norms: Sequence[float]) -> float:
    """Fit ``norm = c T^e`` by least squares in logarithms, and return e.

    Examples
    --------
    >>> round(fitted_exponent([1, 4, 16], [3.0, 1.5, 0.75]), 6)
    -0.5
    """
    return float(np.polyfit(np.log(steps), np.log(norms), 1)[0])


@dataclass(frozen=True, kw_only=True)
class GradientNorm(Task):
    """How the mean gradient norm over T steps falls with T, at the learning rate ``lr / sqrt(T)``.

    The problem is logistic regression of real weights (see `LogisticRegression`) with a ridge, on full
    batches. For every T a run of its own starts at the same point, N(0, 0.1²) in every
    coordinate, with a constant learning rate. The curve holds
    ``gradient_norm``, the mean over the T steps of the Euclidean norm of the loss gradient before each,
    against T; ``exponent`` is the slope of its logarithm, which the paper bounds by -1/2.

    Attributes
    ----------
    samples, dimensions : int
        Sizes of the problem.
    correlation, signal, ridge : float
        As in `correlated_samples`; the loss has ``½ ridge ‖w‖²`` added.
    lengths : tuple of int
        The numbers of steps T.
    """

    samples: int
    dimensions: int
    correlation: float
    signal: float
    ridge: float
    lengths: tuple[int, ...]

    version: ClassVar[int] = 1

    def run(
        self,
        optimizer: str,
        settings: Settings,
        seed: int,
        *,
        split: Split = "test",
        data_dir: str | os.PathLike[str] | None = None,
    ) -> Run:
        """Run every length once: `seed` fixes the problem, alike for all optimizers."""
        generator = torch.Generator().manual_seed(2 * seed + (split == "validation"))
        x, y = correlated_samples(self.samples, self.dimensions, self.correlation, self.signal, generator)
        start = 0.1 * torch.randn(self.dimensions, generator=generator)
        points, seconds, qubos = [], 0.0, 0.0
        for length in self.lengths:
            rate = float(settings["lr"] or 0.0) / math.sqrt(length)
            norm, metrics = self._mean_norm(optimizer, {**settings, "lr": rate}, seed, x, y, start, length)
            points.append(CurvePoint(length, {"gradient_norm": norm}))
            seconds += metrics["seconds"]
            qubos += metrics["qubos_per_second"] * metrics["seconds"]
        norms = [point.values["gradient_norm"] for point in points]
        found = {
            "exponent": fitted_exponent(self.lengths, norms),
            "gradient_norm": norms[-1],
            "seconds": seconds,
            "qubos_per_second": qubos / seconds,
        }
        return Run(seed, found, tuple(points))

    def _mean_norm(
        self,
        optimizer: str,
        settings: Settings,
        seed: int,
        x: Tensor,
        y: Tensor,
        start: Tensor,
        length: int,
    ) -> tuple[float, dict[str, float]]:
        w = nn.Parameter(start.clone())
        norms: list[float] = []
        # The ridge enters as further outputs, one per weight, so that the Gram matrix knows of it.
        n = self.samples

        def loss(z: Tensor) -> Tensor:
            logistic = F.binary_cross_entropy_with_logits(z[:n], y)
            return logistic + 0.5 * self.ridge * z[n:].square().sum()

        objective = Objective(lambda w: torch.cat([x @ w, w]), loss)

        def next_objective() -> Objective:
            with torch.no_grad():
                residual = torch.sigmoid(x @ w) - y
                norms.append(float((x.T @ residual / n + self.ridge * w).norm()))
            return objective

        _, metrics = minimise(
            [w],
            make_real_optimizer(optimizer, [w], settings, seed=seed),
            next_objective,
            lambda: {"loss": float(objective.value(w))},
            steps=length,
            label=f"{optimizer}, seed {seed}, {length} steps",
            decay=False,
        )
        return math.fsum(norms) / len(norms), metrics


@dataclass(frozen=True, kw_only=True)
class FixedPoint(Task):
    """Whether training on full batches descends monotonically, and comes to rest.

    Logistic or softmax regression with weights ±1. ``rises`` counts the steps that raised the training loss,
    ``last_change`` is the last step that flipped a weight, ``train_loss`` the loss at the end. For the
    projected variant with a fixed majorizer rises must be 0, and last_change below the number of steps.

    Attributes
    ----------
    classes : int
        2 for logistic, more for softmax regression.
    samples, dimensions, steps : int
        Sizes; the learning rate is constant.
    correlation : float
        As in `correlated_samples`.
    """

    classes: int
    samples: int
    dimensions: int
    steps: int
    correlation: float

    version: ClassVar[int] = 1

    def run(
        self,
        optimizer: str,
        settings: Settings,
        seed: int,
        *,
        split: Split = "test",
        data_dir: str | os.PathLike[str] | None = None,
    ) -> Run:
        """Train once: `seed` fixes problem and initial weights, alike for all optimizers."""
        generator = torch.Generator().manual_seed(2 * seed + (split == "validation"))
        x, _ = correlated_samples(self.samples, self.dimensions, self.correlation, 0.0, generator)
        rows = 1 if self.classes == 2 else self.classes
        x = x.double()
        teacher = torch.randn(self.dimensions, rows, generator=generator, dtype=torch.float64)
        noise = torch.randn(self.samples, rows, generator=generator, dtype=torch.float64)
        scores = x @ teacher / self.dimensions**0.5 + noise
        layer = BinaryLinear(self.dimensions, rows).double()
        with torch.no_grad():
            layer.weight.uniform_(-0.1, 0.1, generator=generator)
        name = optimizer.removesuffix("-projected")
        chosen = make_optimizer(name, layer, settings, seed=seed, steps=self.steps)

        def loss() -> Tensor:
            if self.classes == 2:
                return F.softplus(-scores[:, 0].sign() * layer(x)[:, 0]).mean()
            return F.cross_entropy(layer(x), scores.argmax(dim=1))

        curve, last_change = [], 0
        for step in range(1, self.steps + 1):
            before = layer.weight.detach() >= 0
            chosen.zero_grad()
            value = loss()
            value.backward()
            chosen.step()
            curve.append(CurvePoint(step - 1, {"loss": value.item()}))
            if not torch.equal(before, layer.weight.detach() >= 0):
                last_change = step
        with torch.no_grad():
            curve.append(CurvePoint(self.steps, {"loss": loss().item()}))
        losses = [point.values["loss"] for point in curve]
        rises = [after - before for before, after in itertools.pairwise(losses)]
        metrics = {
            "train_loss": losses[-1],
            "rises": float(sum(rise > 0 for rise in rises)),
            "last_change": float(last_change),
        }
        return Run(seed, metrics, tuple(curve), layer.state_dict())


def _fixed_point(kind: Literal["logistic", "softmax"]) -> FixedPoint:
    optimizers: dict[str, Settings] = {
        "qpsbgd-projected": {"variant": "projected", "majorizer": kind},
        "qpsbgd": {"lr": 0.01},
        "binaryconnect-adam": {"lr": 0.01},
        "signsgd": {"lr": 0.01},
    }
    return FixedPoint(
        name=f"fixed-point-{kind}",
        description=f"full batches of {kind} regression with ±1 weights",
        classes=2 if kind == "logistic" else 5,
        samples=1000,
        dimensions=100,
        steps=100,
        correlation=0.5,
        optimizers=optimizers,
        seeds=16,
        metric="train_loss",
        tuning_metric="train_loss",
        higher_is_better=False,
    )


_GRADIENT_NORM = GradientNorm(
    name="gradient-norm",
    description="mean gradient norm over T steps at learning rates of 1/sqrt(T): the fitted exponent",
    samples=500,
    dimensions=30,
    correlation=0.9,
    signal=0.3,
    ridge=0.01,
    lengths=(64, 128, 256, 512, 1024),
    optimizers={
        "qpsbgd": {"lr": 0.5, "memory": None, "scale": "auto"},
        "sgd": {"lr": 3.0},
        "adam": {"lr": 0.5},
        "signsgd": {"lr": 0.5},
    },
    seeds=5,
    metric="exponent",
    tuning_metric="exponent",
    higher_is_better=False,
)

EXPERIMENT = Experiment(
    "convergence",
    "The convergence theorems: gradient norm against steps; monotone descent to a fixed point",
    (_GRADIENT_NORM, _fixed_point("logistic"), _fixed_point("softmax")),
)
