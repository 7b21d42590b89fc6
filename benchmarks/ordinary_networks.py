"""QPSBGD with real weights against other optimizers: equal numbers of random trials, then fresh paired seeds.

A trial draws an optimizer's rate and every momentum (and kappa) from the ranges below, and trains one network
with a cosine schedule to 0. The trial of the smallest loss on held-out training data is kept. It then trains
fresh seeds on all training data. Seeds are shared: networks and batches of one seed are the same for all.

    python benchmarks/ordinary_networks.py --task mlp-2048 --trials 20 --seeds 5 --out results.json

With --widths it shows instead how the best rate depends on the width of a network on handwritten digits:

    python benchmarks/ordinary_networks.py --widths 128 512 2048 --optimizers qpsbgd adamw --seeds 2
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from qpsbgd import QPSBGD
from qpsbgd.data.datasets import Dataset, digits, mnist, validation_split
from qpsbgd.nn import to_recorded

Settings = dict[str, float]


@dataclass(frozen=True)
class Task:
    """A network inputs-width-width-10."""

    batch: int
    steps: int
    width: int = 512


TASKS = {
    "mlp-2048": Task(2048, 60),
    "mlp-256": Task(256, 200),
    "mlp-256-long": Task(256, 1000),
    "mlp-2048-narrow": Task(2048, 60, 128),
}

RANGES: dict[str, dict[str, tuple[float, float]]] = {
    "qpsbgd": {"lr": (0.03, 1.0), "past": (0.1, 1.0), "gram_past": (0.03, 0.7), "kappa": (1.0, 100.0)},
    "signs": {"lr": (0.01, 0.3), "past": (0.05, 0.7)},
    "adamw": {"lr": (2e-3, 6e-2), "past": (0.05, 0.7), "square_past": (1e-3, 0.3)},
    "muon": {"lr": (0.03, 1.0), "past": (0.05, 0.7)},
    "sgd": {"lr": (0.03, 1.0), "past": (0.03, 0.7)},
}
"""Ranges of each setting, all drawn evenly on a logarithmic scale; a "past" is one minus a beta.

A first search had two decades of lr for each optimizer. These ranges are around the best of it; that of AdamW
is wider than its own best rates, and where a best lay at an edge the edge was moved.
"""


def build(name: str, model: nn.Module, s: Settings) -> list[torch.optim.Optimizer]:
    """Make the optimizers of `model`; what takes no matrix steps is trained by Adam with its own defaults."""
    beta = 1 - s["past"]
    if name == "adamw":
        betas = (beta, 1 - s["square_past"])
        return [torch.optim.AdamW(model.parameters(), s["lr"], betas, weight_decay=0.0)]
    if name == "sgd":
        return [torch.optim.SGD(model.parameters(), s["lr"], momentum=beta)]
    if name == "muon":
        matrices = [p for p in model.parameters() if p.dim() == 2]
        others = [p for p in model.parameters() if p.dim() != 2]
        muon = torch.optim.Muon(matrices, s["lr"], momentum=beta, weight_decay=0.0)
        return [muon, torch.optim.Adam(others, 0.01)]
    kappa, gram = (s["kappa"], 1 - s["gram_past"]) if name == "qpsbgd" else (0.0, beta)
    return [QPSBGD(to_recorded(model).parameters(), s["lr"], betas=(beta, gram), kappa=kappa)]


def train(task: Task, name: str, s: Settings, data: Dataset, seed: int) -> dict[str, float]:
    """Train one network; return its losses and its processor time of a step."""
    torch.manual_seed(seed)
    x, y = torch.from_numpy(data.x_train), torch.from_numpy(data.y_train)
    x_test, y_test = torch.from_numpy(data.x_test), torch.from_numpy(data.y_test)
    model = nn.Sequential(
        nn.Linear(x.shape[1], task.width),
        nn.ReLU(),
        nn.Linear(task.width, task.width),
        nn.ReLU(),
        nn.Linear(task.width, 10),
    )
    optimizers = build(name, model, s)
    rule: Callable[[int], float] = lambda step: 0.5 + 0.5 * math.cos(math.pi * step / task.steps)  # noqa: E731
    schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, rule) for optimizer in optimizers]
    began = time.process_time()
    for _ in range(task.steps):
        batch = torch.randint(len(x), (task.batch,))
        model.zero_grad()
        nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
    milliseconds = 1e3 * (time.process_time() - began) / task.steps
    with torch.no_grad():
        train_loss = nn.functional.cross_entropy(model(x), y).item()
        outputs: Tensor = model(x_test)
        return {
            "train_loss": train_loss if math.isfinite(train_loss) else 1e9,
            "test_loss": nn.functional.cross_entropy(outputs, y_test).nan_to_num(1e9).item(),
            "accuracy": (outputs.argmax(1) == y_test).float().mean().item(),
            "milliseconds": milliseconds,
        }


def draw(name: str, number: int) -> Settings:
    """Draw the settings of a trial."""
    rng = np.random.default_rng([number, len(name), *name.encode()])
    return {
        setting: float(math.exp(rng.uniform(math.log(low), math.log(high))))
        for setting, (low, high) in RANGES[name].items()
    }


def sweep(name: str, widths: list[int], seeds: int) -> None:
    """Show the mean training loss of every rate at every width; other settings are fixed."""
    settings = {"past": 0.2, "gram_past": 0.2, "square_past": 0.05, "kappa": 4.0}
    low = 0.02 if name == "qpsbgd" else 0.001
    for width in widths:
        losses = {}
        for lr in [low * 2**power for power in range(6)]:
            task = Task(512, 40, width)
            runs = [train(task, name, {**settings, "lr": lr}, digits(), seed) for seed in range(seeds)]
            losses[lr] = float(np.mean([run["train_loss"] for run in runs]))
        print(name, width, *(f"{lr:g}: {loss:.4f}" for lr, loss in losses.items()), sep="  ", flush=True)


def main() -> None:
    """Search, then compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--task", choices=TASKS, default="mlp-2048")
    parser.add_argument(
        "--optimizers", nargs="+", choices=RANGES, default=["qpsbgd", "signs", "adamw", "muon"]
    )
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--widths", type=int, nargs="+")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.widths:
        for name in options.optimizers:
            sweep(name, options.widths, options.seeds)
        return
    task, whole = TASKS[options.task], mnist()
    held_out = validation_split(whole)
    results: dict[str, Any] = {"task": options.task, "trials": {}, "runs": {}}
    for name in options.optimizers:
        trials = [(draw(name, number), number) for number in range(options.trials)]
        tried = [(train(task, name, s, held_out, 1000 + number), s) for s, number in trials]
        tried.sort(key=lambda trial: trial[0]["test_loss"])
        results["trials"][name] = tried
        best = tried[0][1]
        runs = [train(task, name, best, whole, seed) for seed in range(options.seeds)]
        results["runs"][name] = runs
        shown = {key: round(value, 4) for key, value in best.items()}
        print(f"{name:8} {shown}", *(_summary(runs, key) for key in runs[0]), sep="  ", flush=True)
        if options.out:
            options.out.write_text(json.dumps(results, indent=1))


def _summary(runs: list[dict[str, float]], key: str) -> str:
    values = np.array([run[key] for run in runs])
    spread = values.std(ddof=1) if len(values) > 1 else 0.0
    return f"{key} {values.mean():.4f} ± {spread:.4f}"


if __name__ == "__main__":
    main()
