"""Logistic regression on correlated features: an ill-conditioned convex problem, or a small binary one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qpsbgd.experiments.core.minimising import Objective, make_real_optimizer, minimise, rates
from qpsbgd.experiments.core.results import Run
from qpsbgd.experiments.core.task import Experiment, Settings, Split, Task
from qpsbgd.experiments.core.training import fit, shuffled_batches
from qpsbgd.experiments.optimizers import make_optimizer
from qpsbgd.nn import BinaryLinear, Scale

__all__ = ["EXPERIMENT", "LogisticRegression", "correlated_samples"]


def correlated_samples(
    samples: int, dimensions: int, correlation: float, signal: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw features whose neighbours are correlated, and labels of a logistic model of them.

    Parameters
    ----------
    samples, dimensions : int
        n and d.
    correlation : float
        ρ: features j and k are N(0, 1) with correlation ``ρ^|j - k|``.
    signal : float
        Standard deviation of the true weights, N(0, signal²).
    generator : torch.Generator
        Source of everything drawn.

    Returns
    -------
    Tensor (n, d), Tensor (n,)
        Features and labels 0 or 1, float32.

    Examples
    --------
    >>> x, y = correlated_samples(1000, 3, 0.95, 1.0, torch.Generator().manual_seed(0))
    >>> [round(value, 1) for value in torch.corrcoef(x.T)[0].tolist()]
    [1.0, 1.0, 0.9]
    """
    drawn = torch.randn(samples, dimensions, generator=generator)
    columns = [drawn[:, 0]]
    for column in drawn.T[1:]:
        columns.append(correlation * columns[-1] + (1.0 - correlation**2) ** 0.5 * column)
    x = torch.stack(columns, dim=1)
    weights = signal * torch.randn(dimensions, generator=generator)
    chance = torch.sigmoid(x @ weights)
    return x, (torch.rand(samples, generator=generator) < chance).float()


@dataclass(frozen=True, kw_only=True)
class LogisticRegression(Task):
    """Logistic regression without intercept; every seed draws a problem of its own.

    The validation split has other problems. ``train_loss`` is the mean loss over all samples after the last
    step: the figure that an optimizer is to bring down.

    Attributes
    ----------
    weights : {"real", "binary"}
        Real weights, from 0; or ±1 times a learnable scale, with latent weights from U(-.1, .1).
    samples, dimensions, batch_size, steps : int
        Sizes; over the steps the learning rate decays to 0 along a cosine.
    correlation, signal : float
        As in `correlated_samples`.
    """

    weights: Literal["real", "binary"]
    samples: int
    dimensions: int
    correlation: float
    signal: float
    batch_size: int
    steps: int

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
        """Minimise once: `seed` fixes problem, initial weights and batches, alike for all optimizers."""
        generator = torch.Generator().manual_seed(2 * seed + (split == "validation"))
        x, y = correlated_samples(self.samples, self.dimensions, self.correlation, self.signal, generator)
        batches = shuffled_batches(self.samples, self.batch_size, generator)
        if self.weights == "binary":
            return self._run_binary(optimizer, settings, seed, x, y, batches, generator)
        w = nn.Parameter(torch.zeros(self.dimensions))

        def next_objective() -> Objective:
            batch = next(batches)
            inputs, labels = x[batch], y[batch]
            return Objective(lambda w: inputs @ w, lambda z: F.binary_cross_entropy_with_logits(z, labels))

        curve, metrics = minimise(
            [w],
            make_real_optimizer(optimizer, [w], settings, seed=seed),
            next_objective,
            lambda: {"train_loss": F.binary_cross_entropy_with_logits(x @ w, y).item()},
            steps=self.steps,
            label=f"{optimizer}, seed {seed}",
        )
        return Run(seed, metrics, curve)

    def _run_binary(
        self,
        optimizer: str,
        settings: Settings,
        seed: int,
        x: Tensor,
        y: Tensor,
        batches: Iterator[Tensor],
        generator: torch.Generator,
    ) -> Run:
        layer = BinaryLinear(self.dimensions, 1)
        with torch.no_grad():
            layer.weight.uniform_(-0.1, 0.1, generator=generator)
        model = nn.Sequential(layer, Scale(), nn.Flatten(0))

        def loss_of_next_batch() -> Tensor:
            batch = next(batches)
            return F.binary_cross_entropy_with_logits(model(x[batch]), y[batch])

        curve, metrics = fit(
            model,
            make_optimizer(
                optimizer.removesuffix("-projected"), model, settings, seed=seed, steps=self.steps
            ),
            loss_of_next_batch,
            lambda: {"train_loss": F.binary_cross_entropy_with_logits(model(x), y).item()},
            steps=self.steps,
            label=f"{optimizer}, seed {seed}",
        )
        return Run(seed, metrics, curve, model.state_dict())


_REAL_GRIDS: dict[str, tuple[Settings, ...]] = {
    "qpsbgd": (
        *rates(0.01, 0.02, 0.03, 0.05, 0.1),
        *rates(0.03, 0.05, 0.1, domain="mask"),
    ),
    "sgd": (
        *rates(0.1, 0.3, 1.0),
        *rates(0.1, 0.2, 0.3, 0.5, 1.0, momentum=0.9),
    ),
    "adam": rates(0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5),
    "signsgd": (
        *rates(0.01, 0.03),
        *rates(0.01, 0.02, 0.03, 0.05, 0.1, 0.2, momentum=0.9),
    ),
}
_BINARY_GRIDS: dict[str, tuple[Settings, ...]] = {
    "qpsbgd": (
        *rates(0.003, 0.01, 0.03),
        *rates(0.003, 0.01, 0.03, memory="momentum"),
    ),
    "qpsbgd-projected": tuple(
        {"variant": "projected", "damping": damping, "memory": memory}
        for memory in ("momentum", None)
        for damping in (0.3, 1.0, 3.0)
    ),
    "binaryconnect-adam": rates(0.001, 0.003, 0.01, 0.03, 0.1, 0.3),
    "binaryconnect-sgd": (
        *rates(0.1, 0.3, 1.0, 3.0),
        *rates(0.1, 0.3, momentum=0.9),
    ),
    "signsgd": (
        *rates(0.003, 0.01),
        *rates(0.003, 0.01, 0.03, momentum=0.9),
        {"lr": 0.01, "error_feedback": True},
    ),
}


_CHOSEN: dict[str, dict[str, Settings]] = {
    "real": {
        "qpsbgd": {"lr": 0.03},
        "sgd": {"lr": 0.5, "momentum": 0.9},
        "adam": {"lr": 0.3},
        "signsgd": {"lr": 0.05, "momentum": 0.9},
    },
    "binary": {
        "qpsbgd": {"lr": 0.03, "memory": "momentum"},
        "qpsbgd-projected": {"variant": "projected", "damping": 0.3, "memory": "momentum"},
        "binaryconnect-adam": {"lr": 0.01},
        "binaryconnect-sgd": {"lr": 1.0},
        "signsgd": {"lr": 0.01, "error_feedback": True},
    },
}
"""What tuning chose."""


def _task(weights: Literal["real", "binary"]) -> LogisticRegression:
    grids = _REAL_GRIDS if weights == "real" else _BINARY_GRIDS
    return LogisticRegression(
        name=f"logreg-{weights}",
        description=f"60 features of correlation .95, {weights} weights",
        weights=weights,
        samples=2000,
        dimensions=60,
        correlation=0.95,
        signal=0.5,
        batch_size=100,
        steps=200,
        optimizers=_CHOSEN[weights],
        grids=grids,
        seeds=16,
        tuning_seeds=4,
        metric="train_loss",
        tuning_metric="train_loss",
        higher_is_better=False,
    )


EXPERIMENT = Experiment(
    "logreg",
    "Ill-conditioned logistic regression: the training loss after 200 steps",
    (_task("real"), _task("binary")),
)
