"""One run of training, and the log that keeps every run that was ever made.

A run is known by its task, its optimizer, its settings, its seed and its data. A log is a file of one JSON
object a line; what it holds is not run again, so an interrupted comparison goes on where it ended.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from networks.optimizers import Settings, build
from networks.tasks import TASKS, Task

__all__ = ["Log", "step_times", "train"]

Builder = Callable[[nn.Module], list[torch.optim.Optimizer]]


def train(task: Task, builder: Builder, seed: int) -> dict[str, Any]:
    """Train one network; give its losses, the loss of every batch and the processor time of a step in ms."""
    torch.manual_seed(seed)
    model = task.network()
    optimizers = builder(model)
    rule: Callable[[int], float] = lambda step: 0.5 + 0.5 * math.cos(math.pi * step / task.steps)  # noqa: E731
    schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, rule) for optimizer in optimizers]
    curve = []
    began = time.process_time()
    for _ in range(task.steps):
        x, y = task.batch()
        model.zero_grad()
        loss = task.loss(model(x), y)
        loss.backward()
        curve.append(round(loss.item(), 4))
        if not math.isfinite(curve[-1]):
            return {"train_loss": 1e9, "test_loss": 1e9, "milliseconds": 0.0, "curve": []}
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
    milliseconds = 1e3 * (time.process_time() - began) / task.steps
    with torch.no_grad():
        losses = {name: value if math.isfinite(value) else 1e9 for name, value in task.measure(model).items()}
    return {**losses, "milliseconds": milliseconds, "curve": curve}


def step_times(task: Task, builders: dict[str, Builder], steps: int = 60) -> dict[str, float]:
    """Give the median processor time of a step in ms, of networks that are trained in turns.

    All of them meet the same other programs on the machine, so their ratios hold also where it is busy.
    """
    trained, times = {}, {name: list[float]() for name in builders}
    for name, builder in builders.items():
        torch.manual_seed(0)
        model = task.network()
        trained[name] = model, builder(model)
    for _ in range(steps):
        x, y = task.batch()
        for name, (model, optimizers) in trained.items():
            began = time.process_time()
            model.zero_grad()
            task.loss(model(x), y).backward()
            for optimizer in optimizers:
                optimizer.step()
            times[name].append(1e3 * (time.process_time() - began))
    return {name: statistics.median(of_one) for name, of_one in times.items()}


class Log:
    """Runs that were made, in memory and in a file if there is one."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._known: dict[str, dict[str, Any]] = {}
        if file is not None and file.exists():
            for line in file.read_text().splitlines():
                entry = json.loads(line)
                self._known[_key(entry)] = entry["result"]

    def run(
        self,
        task: str,
        name: str,
        settings: Settings,
        seed: int,
        held_out: bool,
        builder: Builder | None = None,
    ) -> dict[str, Any]:
        """Return a run's result, of the log if it is there; without a builder `name` tells the optimizer."""
        entry: dict[str, Any] = {"task": task, "name": name, "settings": settings, "seed": seed}
        entry["held_out"] = held_out
        known = self._known.get(_key(entry))
        if known is not None:
            return known
        make = builder or (lambda model: build(name, model, settings))
        result = train(TASKS[task](held_out), make, seed)
        self._known[_key(entry)] = result
        if self._file is not None:
            with self._file.open("a") as file:
                file.write(json.dumps({**entry, "result": result}) + "\n")
        return result


def _key(entry: dict[str, Any]) -> str:
    return json.dumps([entry[name] for name in ("task", "name", "settings", "seed", "held_out")])
