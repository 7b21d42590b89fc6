"""The one loop that trains every experiment.

A seed fixes the initial weights and the batches, so all optimizers start from the same network and see the
same samples in the same order.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from qpsbgd.baselines import BinaryConnect, SignSGD
from qpsbgd.datasets import Dataset
from qpsbgd.experiments.catalogue import Experiment, Network
from qpsbgd.experiments.results import CurvePoint, Result, Run
from qpsbgd.nn import BinaryActivation, BinaryLinear, Scale
from qpsbgd.optim import QPSBGD
from qpsbgd.progress import ProgressBar

__all__ = ["build_network", "run"]

_CURVE_POINTS = 30
_EVALUATION_BATCH = 10_000
_INITIAL_WEIGHT = 0.1


@dataclass(frozen=True)
class _Samples:
    """A data set as normalised tensors: x float32 (N, d), y int64 (N,)."""

    x_train: torch.Tensor
    y_train: torch.Tensor
    x_test: torch.Tensor
    y_test: torch.Tensor


def run(
    experiment: Experiment,
    optimizer: str,
    data: Dataset,
    seeds: int,
    *,
    steps: int | None = None,
    report: Callable[[Run], None] | None = None,
) -> Result:
    """Train the experiment's network with one of its optimizers, once per seed.

    Parameters
    ----------
    experiment : Experiment
        What to train.
    optimizer : str
        A key of ``experiment.optimizers``.
    data : Dataset
        The samples, with the widths of the experiment's network.
    seeds : int
        Number of runs; their seeds are 0, 1, ...
    steps : int, optional
        Training steps instead of ``experiment.steps``.
    report : function, optional
        Called with each run when it is finished.

    Returns
    -------
    Result
        One run per seed.

    Raises
    ------
    ValueError
        If the experiment has no such optimizer, a count is below 1, or the data do not fit the network.
    FloatingPointError
        If the training loss becomes infinite or NaN.

    Examples
    --------
    >>> from qpsbgd.datasets import digits
    >>> from qpsbgd.experiments import EXPERIMENTS
    >>> result = run(EXPERIMENTS["digits"], "signsgd", digits(), seeds=1, steps=2)
    >>> result.runs[0].curve[-1].step
    2
    """
    steps = experiment.steps if steps is None else steps
    _check(experiment, optimizer, data, seeds, steps)
    samples = _normalised(data)
    runs = []
    for seed in range(seeds):
        runs.append(_train(experiment, optimizer, samples, seed, steps))
        if report is not None:
            report(runs[-1])
    settings = {
        **experiment.optimizers[optimizer],
        "network": str(experiment.network),
        "batch_size": experiment.batch_size,
        "steps": steps,
    }
    return Result(experiment.name, optimizer, settings, tuple(runs))


def _check(experiment: Experiment, optimizer: str, data: Dataset, seeds: int, steps: int) -> None:
    if optimizer not in experiment.optimizers:
        raise ValueError(f"optimizer is {optimizer!r}, expected one of {', '.join(experiment.optimizers)}")
    for name, count in (("seeds", seeds), ("steps", steps)):
        if count < 1:
            raise ValueError(f"{name} is {count}, expected at least 1")
    found = (data.x_train.shape[1], data.num_classes)
    expected = (experiment.network.widths[0], experiment.network.widths[-1])
    if found != expected:
        raise ValueError(
            f"data has {found[0]} features and {found[1]} classes, but the network is {experiment.network}"
        )
    if len(data.x_train) < experiment.batch_size:
        raise ValueError(
            f"data has {len(data.x_train)} training samples, fewer than one batch of {experiment.batch_size}"
        )


def _normalised(data: Dataset) -> _Samples:
    """Centre every input, and scale all of them alike by their standard deviation in the training set."""
    mean, deviation = data.x_train.mean(axis=0), data.x_train.std()

    def inputs(x: npt.NDArray[np.float32]) -> torch.Tensor:
        return torch.from_numpy((x - mean) / deviation)

    return _Samples(
        inputs(data.x_train),
        torch.from_numpy(data.y_train),
        inputs(data.x_test),
        torch.from_numpy(data.y_test),
    )


def build_network(network: Network, generator: torch.Generator) -> nn.Sequential:
    """Build the network with latent weights drawn from U(-0.1, 0.1).

    Parameters
    ----------
    network : Network
        Widths and activation.
    generator : torch.Generator
        Source of the weights.

    Returns
    -------
    torch.nn.Sequential
        Maps float inputs (n, widths[0]) to class scores (n, widths[-1]).

    Examples
    --------
    >>> model = build_network(Network((4, 3, 2), "sign"), torch.Generator().manual_seed(0))
    >>> model(torch.ones(5, 4)).shape
    torch.Size([5, 2])
    """
    *hidden, last = zip(network.widths, network.widths[1:], strict=False)
    layers: list[nn.Module] = []
    for inputs, outputs in hidden:
        activation = BinaryActivation() if network.activation == "sign" else nn.ReLU()
        layers += [BinaryLinear(inputs, outputs), nn.BatchNorm1d(outputs), activation]
    layers += [BinaryLinear(*last), Scale()]
    model = nn.Sequential(*layers)
    with torch.no_grad():
        for layer in layers:
            if isinstance(layer, BinaryLinear):
                layer.weight.uniform_(-_INITIAL_WEIGHT, _INITIAL_WEIGHT, generator=generator)
    return model


def _make_optimizer(experiment: Experiment, name: str, model: nn.Module, seed: int) -> torch.optim.Optimizer:
    settings = experiment.optimizers[name]
    if name == "qpsbgd":
        return QPSBGD(model.parameters(), seed=seed, **settings)  # type: ignore[arg-type]
    if name == "signsgd":
        return SignSGD(model.parameters(), **settings)  # type: ignore[arg-type]
    base = name.removeprefix("binaryconnect-")
    return BinaryConnect(model.parameters(), base=base, **settings)  # type: ignore[arg-type]


def _batches(size: int, batch_size: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Yield indices of whole batches, from a new order of the samples in every epoch."""
    while True:
        order = torch.randperm(size, generator=generator)
        yield from order[: size - size % batch_size].split(batch_size)


def _train(experiment: Experiment, name: str, samples: _Samples, seed: int, steps: int) -> Run:
    model = build_network(experiment.network, torch.Generator().manual_seed(2 * seed))
    optimizer = _make_optimizer(experiment, name, model, seed)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    batches = _batches(
        len(samples.x_train), experiment.batch_size, torch.Generator().manual_seed(2 * seed + 1)
    )
    curve: list[CurvePoint] = []
    losses: list[float] = []
    seconds = 0.0
    with ProgressBar(steps, f"{name}, seed {seed}", unit="step") as bar:
        for step in range(1, steps + 1):
            batch = next(batches)
            started = time.perf_counter()
            loss = _step(model, optimizer, samples.x_train[batch], samples.y_train[batch])
            schedule.step()
            seconds += time.perf_counter() - started
            losses.append(loss)
            bar.advance()
            # Evenly spread, the last step among them.
            if step * _CURVE_POINTS // steps > (step - 1) * _CURVE_POINTS // steps:
                accuracy, _ = _evaluate(model, samples.x_test, samples.y_test)
                curve.append(CurvePoint(step, math.fsum(losses) / len(losses), accuracy))
                losses.clear()
                bar.note(f"test accuracy {accuracy:.4f}")
    _, train_loss = _evaluate(model, samples.x_train, samples.y_train)
    qubos = optimizer.num_qubos if isinstance(optimizer, QPSBGD) else 0
    metrics = {
        "test_accuracy": curve[-1].test_accuracy,
        "train_loss": train_loss,
        "seconds": seconds,
        "qubos_per_second": qubos / seconds,
    }
    return Run(seed, metrics, tuple(curve), model.state_dict())


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor) -> float:
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y)
    value = loss.item()
    if not math.isfinite(value):
        raise FloatingPointError(f"the training loss is {value}: it diverged or the data are broken")
    loss.backward()
    optimizer.step()
    return value


def _evaluate(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> tuple[float, float]:
    """Return accuracy and mean loss over all samples."""
    correct, loss = 0, 0.0
    model.eval()
    with torch.no_grad():
        for inputs, labels in zip(x.split(_EVALUATION_BATCH), y.split(_EVALUATION_BATCH), strict=True):
            scores = model(inputs)
            correct += int((scores.argmax(dim=1) == labels).sum())
            loss += float(nn.functional.cross_entropy(scores, labels, reduction="sum"))
    model.train()
    return correct / len(y), loss / len(y)
