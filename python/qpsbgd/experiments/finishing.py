"""Does the exact neuron re-solve beat longer training? Both get the same time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar

import torch

from qpsbgd.experiments.classification import Classification, Samples
from qpsbgd.experiments.core.results import CurvePoint, Run
from qpsbgd.experiments.core.task import Experiment, Settings, Split
from qpsbgd.experiments.networks import Mlp
from qpsbgd.experiments.resolve import SignNet, fold, resolve

__all__ = ["EXPERIMENT", "RESOLVE", "Finishing"]

RESOLVE = "+resolve"
"""What the names of optimizers end in whose training is shortened and followed by the re-solve."""

_GRID: tuple[Settings, ...] = tuple({"lr": rate} for rate in (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1))


@dataclass(frozen=True, kw_only=True)
class Finishing(Classification):
    """A training of full length against a short one with the re-solve after it.

    ``Run.metrics`` has ``cpu_seconds`` of the whole run too, which other work on the machine disturbs less
    than ``seconds``; `steps` is chosen so that the training of full length takes no less of either.

    Attributes
    ----------
    short_steps : int
        Steps before the re-solve, instead of `steps`.
    passes, last_flips : int
        Of `qpsbgd.experiments.resolve.resolve`.
    """

    short_steps: int
    passes: int
    last_flips: int

    version: ClassVar[int] = 1

    def train(
        self, optimizer: str, settings: Settings, seed: int, samples: Samples, *, split: Split = "test"
    ) -> Run:
        """Do the run on samples in memory, as `Classification.train`."""
        started = time.process_time()
        if not optimizer.endswith(RESOLVE):
            run = super().train(optimizer, settings, seed, samples, split=split)
            metrics = {**run.metrics, "cpu_seconds": time.process_time() - started}
            return Run(seed, metrics, run.curve, run.weights)
        plain = Classification.train(
            self.replaced(steps=self.short_steps),
            optimizer.removesuffix(RESOLVE),
            settings,
            seed,
            samples,
            split=split,
        )
        model = self.network.build(torch.Generator().manual_seed(0))
        model.load_state_dict(dict(plain.weights))
        return self._finish(fold(model), plain, samples, split, started)  # type: ignore[arg-type]

    def _finish(self, net: SignNet, plain: Run, samples: Samples, split: Split, started: float) -> Run:
        """Re-solve, one pass after the other, and judge after each."""
        curve = list(plain.curve)
        seconds = plain.metrics["seconds"]
        for number in range(1, self.passes + 1):
            before = time.perf_counter()
            (report,) = resolve(net, samples.x_train, samples.y_train, passes=1, last_flips=self.last_flips)
            seconds += time.perf_counter() - before
            accuracy = net.accuracy(samples.x_judged, samples.y_judged)
            measured = {"loss": report.loss, f"{split}_accuracy": accuracy}
            curve.append(CurvePoint(self.short_steps + number, measured))
        metrics = {
            f"{split}_accuracy": accuracy,
            "train_loss": report.loss,
            "seconds": seconds,
            "cpu_seconds": time.process_time() - started,
            "qubos_per_second": 0.0,
        }
        return Run(plain.seed, metrics, tuple(curve), _weights(net))


def _weights(net: SignNet) -> dict[str, torch.Tensor]:
    """Name the arrays of a folded network."""
    weights = {"last": net.last, "scale": torch.tensor(net.scale), "bias": net.bias}
    for number, layer in enumerate(net.hidden):
        weights[f"hidden.{number}.weights"] = layer.weights
        weights[f"hidden.{number}.thresholds"] = layer.thresholds
    return weights


def _task(hidden: int, rate: float, steps: int, passes: int) -> Finishing:
    return Finishing(
        name=f"resolve-{hidden}",
        description=f"MNIST at 8x8 pixels, {hidden} hidden neurons: longer training or the exact re-solve",
        dataset="mnist-8x8",
        network=Mlp((64, hidden, 10), "sign"),
        batch_size=100,
        steps=steps,
        short_steps=2000,
        passes=passes,
        last_flips=30,
        optimizers={"binaryconnect-adam": {"lr": rate}, "binaryconnect-adam" + RESOLVE: {"lr": 0.03}},
        grids={name: _GRID for name in ("binaryconnect-adam", "binaryconnect-adam" + RESOLVE)},
        seeds=6,
        tuning_seeds=2,
    )


EXPERIMENT = Experiment(
    "resolve",
    "Does the exact re-solve of single neurons beat longer training in the same time?",
    (_task(32, 0.03, 11_000, 3), _task(64, 0.1, 14_000, 2)),
)
"""Two small networks, whose neurons can be re-solved on all training samples within seconds."""
