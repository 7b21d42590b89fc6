"""QPSBGD with real weights against other optimizers: equal numbers of random trials, then fresh paired seeds.

A trial draws an optimizer's rate and every momentum (and kappa) from the ranges of `networks/optimizers.py`,
and trains one network with a cosine schedule to 0. Every optimizer has 16 trials: 12 in the ranges, then 4
around the best of these, beyond the edge of a range where it lies near one. The trial of the smallest loss on
held-out training data is kept. It then trains fresh seeds, measured on test data. Seeds are shared: networks
and batches of one seed are the same for all.

    python benchmarks/ordinary_networks.py --task mlp-2048
    python benchmarks/ordinary_networks.py --task characters --optimizers qpsbgd muon --log characters.jsonl

--also runs the chosen settings on another task, such as one of more steps, without a search of its own:

    python benchmarks/ordinary_networks.py --task characters --also characters-800 --log characters.jsonl

With --widths it shows instead how the best rate depends on the width of a network on handwritten digits:

    python benchmarks/ordinary_networks.py --widths 128 512 2048 --optimizers qpsbgd adamw --seeds 2
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from networks.optimizers import NAMES, Settings, build, draw, draw_near, ranges
from networks.pictures import draw_curves
from networks.runs import Log, step_times, train
from networks.tasks import TASKS, image_task, mlp
from qpsbgd.data.datasets import digits


def search(log: Log, task: str, name: str, trials: int, near: int) -> Settings:
    """Return the settings of the trial with the smallest held-out loss."""
    tried: list[tuple[float, Settings]] = []
    for number in range(trials + near):
        if number < trials:
            s = draw(task, name, number)
        else:
            s = draw_near(task, name, number, min(tried, key=lambda trial: trial[0])[1])
        tried.append((log.run(task, name, s, 1000 + number, held_out=True)["test_loss"], s))
    return min(tried, key=lambda trial: trial[0])[1]


def compare(options: argparse.Namespace) -> None:
    """Search for each optimizer, then show its fresh runs, beside those of the first optimizer."""
    log, drawn, chosen = Log(options.log), {}, {}
    first: dict[str, list[dict[str, Any]]] = {}
    for name in options.optimizers:
        best = chosen[name] = search(log, options.task, name, options.trials, options.near)
        print(f"{name:8} {_shown(options.task, name, best)}", flush=True)
        for task in [options.task, *options.also]:
            runs = [log.run(task, name, best, seed, held_out=False) for seed in range(options.seeds)]
            measures = [key for key in runs[0] if key != "curve"]
            print(f"  {task}", *(_summary(runs, key) for key in measures), sep="  ", flush=True)
            first.setdefault(task, runs)
            print(*_differences(runs, first[task], measures), sep="  ")
        drawn[name] = runs
    builders = {name: partial(_built, name, settings) for name, settings in chosen.items()}
    times = step_times(TASKS[options.task](False), builders)
    print("ms a step, in turns:", *_ratios(times), sep="  ")
    if options.plot:
        draw_curves(drawn, times, options.plot, f"{task}, {options.seeds} seeds")


def _ratios(times: dict[str, float]) -> list[str]:
    """Show times, and how many times the shortest they are."""
    shortest = min(times.values())
    return [f"{name} {time:.1f} ({time / shortest:.2f})" for name, time in times.items()]


def _built(name: str, settings: Settings, model: torch.nn.Module) -> list[torch.optim.Optimizer]:
    return build(name, model, settings)


def _shown(task: str, name: str, best: Settings) -> str:
    """Settings, with a mark where one is within a twentieth of its range of an edge, or beyond it."""
    shown = []
    for setting, (low, high) in ranges(task, name).items():
        place = np.log(best[setting] / low) / np.log(high / low)
        shown.append(f"{setting} {best[setting]:.4g}{'' if 0.05 < place < 0.95 else ' (edge)'}")
    return ", ".join(shown)


def _summary(runs: list[dict[str, Any]], key: str) -> str:
    values = np.array([run[key] for run in runs])
    spread = values.std(ddof=1) if len(values) > 1 else 0.0
    return f"{key} {values.mean():.4f} ± {spread:.4f}"


def _differences(runs: list[dict[str, Any]], first: list[dict[str, Any]], measures: list[str]) -> list[str]:
    """Tell by how much an optimizer differs from the first one, paired by seed, with Student's t."""
    told = []
    for key in measures:
        difference = np.array([run[key] - other[key] for run, other in zip(runs, first, strict=True)])
        if key != "milliseconds" and len(difference) > 1 and difference.any():
            p = stats.ttest_1samp(difference, 0).pvalue
            told.append(f"{key} {difference.mean():+.4f} ± {difference.std(ddof=1):.4f} (p = {p:.1g})")
    return ["    beside the first:", *told] if told else []


def sweep(name: str, widths: list[int], seeds: int) -> None:
    """Show the mean training loss of every rate at every width; other settings are fixed."""
    settings = {"past": 0.2, "gram_past": 0.2, "square_past": 0.05, "kappa": 4.0}
    low = 0.02 if name == "qpsbgd" else 0.001
    for width in widths:
        losses = {}
        for lr in [low * 2**power for power in range(6)]:
            network = partial(mlp, 64, width)
            task, chosen = image_task(digits(), 512, 40, network), {**settings, "lr": lr}
            runs = [train(task, lambda model, s=chosen: build(name, model, s), seed) for seed in range(seeds)]
            losses[lr] = float(np.mean([run["train_loss"] for run in runs]))
        print(name, width, *(f"{lr:g}: {loss:.4f}" for lr, loss in losses.items()), sep="  ", flush=True)


def main() -> None:
    """Search, then compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--task", choices=TASKS, default="mlp-2048")
    parser.add_argument("--also", choices=TASKS, nargs="+", default=[])
    parser.add_argument(
        "--optimizers", nargs="+", choices=NAMES, default=["qpsbgd", "signs", "adamw", "muon"]
    )
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--near", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--widths", type=int, nargs="+")
    parser.add_argument("--plot", type=Path, help="PNG file of the learning curves")
    parser.add_argument("--log", type=Path, help="file of JSON lines that keeps every run")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.widths:
        for name in options.optimizers:
            sweep(name, options.widths, options.seeds)
        return
    compare(options)


if __name__ == "__main__":
    main()
