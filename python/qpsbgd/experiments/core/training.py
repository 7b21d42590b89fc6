"""The loop that trains every network."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import nn

from qpsbgd.data.progress import ProgressBar
from qpsbgd.experiments.core.results import CurvePoint

__all__ = ["fit", "shuffled_batches"]

_CURVE_POINTS = 30


def fit(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss_of_next_batch: Callable[[], torch.Tensor],
    evaluate: Callable[[], Mapping[str, float]],
    *,
    steps: int,
    label: str,
) -> tuple[tuple[CurvePoint, ...], dict[str, float]]:
    """Train a network for a number of steps with the learning rate decaying to 0 along a cosine.

    Parameters
    ----------
    model : torch.nn.Module
        The network; in training mode whenever `loss_of_next_batch` is called, in evaluation mode and without
        gradients in `evaluate`.
    optimizer : torch.optim.Optimizer
        Over the network's parameters.
    loss_of_next_batch : function
        Draws the next batch and returns its loss.
    evaluate : function
        Returns what is measured at a point of the learning curve; called up to 30 times, the last time at
        the end.
    steps : int
        Number of steps, at least 1.
    label : str
        Text in front of the progress bar.

    Returns
    -------
    curve : tuple of CurvePoint
        ``loss`` and what `evaluate` gives.
    metrics : dict
        What `evaluate` gives at the end; ``seconds`` of the steps without evaluations, and
        ``qubos_per_second`` in these.

    Raises
    ------
    ValueError
        If `steps` is below 1.
    FloatingPointError
        If the training loss becomes infinite or NaN.

    Examples
    --------
    >>> from qpsbgd import QPSBGD
    >>> from qpsbgd.nn import BinaryLinear
    >>> model = BinaryLinear(4, 2)
    >>> curve, metrics = fit(
    ...     model,
    ...     QPSBGD(model.parameters()),
    ...     lambda: model(torch.ones(3, 4)).square().mean(),
    ...     lambda: {"outputs": float(model(torch.ones(1, 4)).abs().sum())},
    ...     steps=5,
    ...     label="doc",
    ... )
    >>> [point.step for point in curve]
    [1, 2, 3, 4, 5]
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}, expected at least 1")
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    curve: list[CurvePoint] = []
    losses: list[float] = []
    seconds = 0.0
    model.train()
    with ProgressBar(steps, label, unit="step") as bar:
        for step in range(1, steps + 1):
            started = time.perf_counter()
            losses.append(_step(optimizer, loss_of_next_batch))
            schedule.step()
            seconds += time.perf_counter() - started
            bar.advance()
            # Evenly spread, the last step among them.
            if step * _CURVE_POINTS // steps > (step - 1) * _CURVE_POINTS // steps:
                model.eval()
                with torch.no_grad():
                    measured = dict(evaluate())
                model.train()
                curve.append(CurvePoint(step, {"loss": math.fsum(losses) / len(losses), **measured}))
                losses.clear()
                spent = getattr(optimizer, "qpu_seconds", 0.0)
                told = ", ".join(f"{name} {value:.4f}" for name, value in measured.items())
                bar.note(told + (f", QPU {spent:.3g} s" if spent else ""))
    qubos = getattr(optimizer, "num_qubos", 0)
    return tuple(curve), {**measured, "seconds": seconds, "qubos_per_second": qubos / seconds}


def _step(optimizer: torch.optim.Optimizer, loss_of_next_batch: Callable[[], torch.Tensor]) -> float:
    optimizer.zero_grad()
    loss = loss_of_next_batch()
    value = loss.item()
    if not math.isfinite(value):
        raise FloatingPointError(f"the training loss is {value}: it diverged or the data are broken")
    loss.backward()
    optimizer.step()
    return value


def shuffled_batches(size: int, batch_size: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Yield indices of whole batches without end, from a new order of the samples in every epoch.

    Examples
    --------
    >>> batches = shuffled_batches(5, 2, torch.Generator().manual_seed(0))
    >>> [len(next(batches)) for _ in range(3)]
    [2, 2, 2]
    """
    while True:
        order = torch.randperm(size, generator=generator)
        yield from order[: size - size % batch_size].split(batch_size)
