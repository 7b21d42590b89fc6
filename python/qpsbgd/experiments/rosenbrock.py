"""Rosenbrock's function: a narrow curved valley, in any number of dimensions and with noise."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from qpsbgd.experiments.core.minimising import Objective, make_real_optimizer, minimise, rates
from qpsbgd.experiments.core.results import Run
from qpsbgd.experiments.core.task import Experiment, Settings, Split, Task

__all__ = ["EXPERIMENT", "Rosenbrock", "residuals"]


def residuals(x: Tensor) -> Tensor:
    """Residuals (2d - 2,) whose squares sum to ``f(x) = Σ_i 100 (x_{i+1} - x_i²)² + (1 - x_i)²``.

    Examples
    --------
    >>> residuals(torch.tensor([2.0, 1.0])).tolist()
    [-30.0, -1.0]
    """
    return torch.cat([10.0 * (x[1:] - x[:-1] ** 2), 1.0 - x[:-1]])


@dataclass(frozen=True, kw_only=True)
class Rosenbrock(Task):
    """Minimise Rosenbrock's function from near its usual start (-1.2, 1, -1.2, 1, ...).

    Every seed starts at another point, the usual one plus N(0, 0.1²) in every coordinate. The validation
    split has starts and noise of its own. ``final_value`` is f, without noise, after the last step.

    Attributes
    ----------
    dimensions, steps : int
        Number of coordinates, at least 2; steps, over which the learning rate decays to 0 along a cosine.
    noise : float
        Standard deviation of the noise that is added to every residual, drawn again in every step.
    """

    dimensions: int
    steps: int
    noise: float = 0.0

    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        """Check the sizes."""
        super().__post_init__()
        if self.dimensions < 2 or self.steps < 1 or not self.noise >= 0:
            raise ValueError(
                f"task {self.name!r} has {self.dimensions} dimensions, {self.steps} steps and noise "
                f"{self.noise}, expected at least 2, 1 and 0"
            )

    def run(
        self,
        optimizer: str,
        settings: Settings,
        seed: int,
        *,
        split: Split = "test",
        data_dir: str | os.PathLike[str] | None = None,
    ) -> Run:
        """Minimise once: `seed` fixes start and noise, alike for all optimizers."""
        generator = torch.Generator().manual_seed(2 * seed + (split == "validation"))
        usual = torch.tensor([-1.2, 1.0], dtype=torch.float64).repeat(self.dimensions)[: self.dimensions]
        x = nn.Parameter(usual + 0.1 * torch.randn(self.dimensions, generator=generator, dtype=torch.float64))

        def next_objective() -> Objective:
            if self.noise == 0:
                return Objective(residuals)
            drawn = torch.randn(2 * self.dimensions - 2, generator=generator, dtype=torch.float64)
            return Objective(lambda x: residuals(x) + self.noise * drawn)

        curve, metrics = minimise(
            [x],
            make_real_optimizer(optimizer, [x], settings, seed=seed),
            next_objective,
            lambda: {"final_value": residuals(x).square().sum().item()},
            steps=self.steps,
            label=f"{optimizer}, seed {seed}",
        )
        return Run(seed, metrics, curve)


_GRIDS: dict[str, tuple[Settings, ...]] = {
    "qpsbgd": (
        *rates(0.02, 0.03, 0.05),
        *rates(0.01, 0.02, 0.03, 0.05, 0.1, domain="mask"),
    ),
    "sgd": (
        *rates(1e-3, 2e-3),
        # At 5e-3 some starts of the test split diverge, and with them the whole experiment.
        *rates(3e-4, 6e-4, 1e-3, 1.5e-3, 2e-3, 3e-3, momentum=0.9),
    ),
    "adam": rates(0.03, 0.1, 0.3, 0.5, 1.0, 2.0, 3.0, 5.0),
    "signsgd": (
        *rates(0.01, 0.03),
        *rates(0.01, 0.02, 0.03, 0.05, 0.1, 0.2, momentum=0.9),
    ),
}


def _task(dimensions: int, noise: float = 0.0) -> Rosenbrock:
    return Rosenbrock(
        name=f"rosenbrock-{dimensions}d" + ("-noisy" if noise else ""),
        description=f"Rosenbrock's function of {dimensions} variables"
        + (f", noise {noise:g} on every residual" if noise else ""),
        dimensions=dimensions,
        steps=500,
        noise=noise,
        optimizers={
            "qpsbgd": {"lr": 0.03, "domain": "mask"},
            "sgd": {"lr": 2e-3, "momentum": 0.9},
            "adam": {"lr": 1.0},
            "signsgd": {"lr": 0.03, "momentum": 0.9},
        },
        grids=_GRIDS,
        seeds=16,
        tuning_seeds=5,
        metric="final_value",
        tuning_metric="final_value",
        higher_is_better=False,
    )


EXPERIMENT = Experiment(
    "rosenbrock",
    "A curved valley: the value reached after 500 steps",
    (_task(2), _task(10), _task(50), _task(2, 1.0), _task(10, 1.0)),
)
