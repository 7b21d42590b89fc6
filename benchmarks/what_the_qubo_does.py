"""Which part of a QUBO trains: QP-SBGD on MNIST with parts of its QUBOs exchanged, paired by seed.

The network is 784-128-128-10, trained for 60 steps of 2048. Betas are the defaults. Every variant gets
its own rate: three of them, each twice the one before, on held-out data, and more if the best is at an end.
Differences are to the first row, paired by seed, with Student's t. The part "chip" trains 64-128-128-10 on
handwritten digits instead, 40 steps of 512: a chip of today has room for a clique of 128 spins. "objectives"
trains no variants: it shows how low the solvers come on the same QUBOs, those of 10 steps.

    python benchmarks/what_the_qubo_does.py kappa matrix --log qubo.jsonl      # about 8 minutes of one core
    python benchmarks/what_the_qubo_does.py solvers memory noise --log qubo.jsonl      # about 30 minutes
    python benchmarks/what_the_qubo_does.py objectives                                 # about 1 minute
    python benchmarks/what_the_qubo_does.py chip --log qubo.jsonl                      # about 3 minutes
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from networks.blocks import BlockSolver
from networks.curvature import build_changed
from networks.objectives import ComparedSolver
from networks.optimizers import Settings
from networks.pictures import draw_losses
from networks.runs import Log, train
from networks.tasks import TASKS
from qpsbgd.problem.checks import Memory
from qpsbgd.solvers import DeviceNoise, NativeSolver, NoisySolver

RATES = [0.12, 0.24, 0.48]
KAPPA = 8.0
TASK, CHIP_TASK = "mlp-2048-narrow", "digits"


@dataclass(frozen=True)
class Variant:
    """One row of the table."""

    name: str
    change: str = "own"
    kappa: float = KAPPA
    gram_past: float = 0.05
    solver: Callable[[], Any] = lambda: "native"
    memory: Memory = "momentum"
    task: str = TASK
    rate_of: str | None = None
    """The variant whose rate it gets, where a search would take too long."""

    def settings(self, lr: float) -> Settings:
        """Settings with a rate."""
        return {"lr": lr, "past": 0.5, "gram_past": self.gram_past, "kappa": self.kappa}


def _solver(name: str, rate_of: str | None = None, **options: Any) -> Variant:
    make = partial(NativeSolver, num_threads=1, **options)
    return Variant(name, solver=make, rate_of=rate_of)


def _noisy(noise: float) -> NoisySolver:
    annealer = NativeSolver(method="anneal", num_sweeps=100, num_threads=1)
    return NoisySolver(annealer, DeviceNoise().scaled(noise))


PARTS: dict[str, list[Variant]] = {
    "kappa": [
        Variant("kappa 8"),
        *(Variant(f"kappa {kappa:g}", kappa=kappa) for kappa in (0.0, 0.5, 2.0, 32.0)),
    ],
    "matrix": [
        Variant("kappa 8"),
        Variant("A rotated", "rotated"),
        Variant("A of rank 1 and a diagonal", "rank 1"),
        Variant("signs of (A + .1 I)^-1 p", "signs of the solution"),
        Variant("(A + .1 I)^-1 p itself", "solution"),
        Variant("p looks ahead (Nesterov)", "nesterov"),
        Variant("A in blocks of 40 inputs", "blocks of 40"),
        Variant("A of every tenth step", "every tenth"),
        Variant("A of rank 10 and a diagonal", "rank 10"),
        Variant("A of this batch alone", gram_past=1.0),
        Variant("A of the other hidden layer", "swapped"),
    ],
    "solvers": [
        Variant("descent from the signs"),
        Variant("signs (kappa 0)", kappa=0.0),
        _solver("annealing, 20 sweeps", method="anneal", num_sweeps=20),
        _solver("annealing, 100 sweeps", method="anneal", num_sweeps=100),
        _solver(
            "annealing, 20 sweeps, 10 reads",
            "annealing, 20 sweeps",
            method="anneal",
            num_sweeps=20,
            num_reads=10,
        ),
        _solver("tabu, 784 flips", method="tabu", num_sweeps=1),
        Variant("blocks of 40 in turn", solver=partial(BlockSolver, 40)),
    ],
    "memory": [
        Variant("momentum"),
        Variant("error feedback", memory="error-feedback"),
        Variant("error feedback, signs (kappa 0)", kappa=0.0, memory="error-feedback"),
    ],
    "noise": [
        Variant("descent from the signs"),
        *(
            Variant(f"blocks of 40, noise x{noise:g}", solver=partial(BlockSolver, 40, noise))
            for noise in (0.0, 1.0, 8.0, 32.0)
        ),
    ],
    "chip": [
        Variant("descent from the signs", task=CHIP_TASK),
        Variant("signs (kappa 0)", kappa=0.0, task=CHIP_TASK),
        *(
            Variant(f"annealing, noise x{noise:g}", solver=partial(_noisy, noise), task=CHIP_TASK)
            for noise in (0.0, 1.0, 8.0, 32.0)
        ),
    ],
}


def best_rate(log: Log, variant: Variant, run: Callable[..., dict[str, Any]]) -> float:
    """Return the rate of the smallest held-out loss; go on where it is the first or the last."""
    rates = list(RATES)
    while True:
        losses = [run(variant.settings(lr), 1000, held_out=True)["test_loss"] for lr in rates]
        place = int(np.argmin(losses))
        if 0 < place < len(rates) - 1 or len(rates) > len(RATES) + 3:
            return rates[place]
        rates = [rates[0] / 2, *rates] if place == 0 else [*rates, 2 * rates[-1]]


def compare_objectives(steps: int) -> None:
    """Print how low solvers come in training, as multiples of what the descent reaches: mean, least, most."""
    others = {v.name: v.solver() for v in PARTS["solvers"] if v.solver() != "native"}
    solver = ComparedSolver(NativeSolver(method="descent", num_threads=1), others)
    task = replace(TASKS[TASK](False), steps=steps)
    settings = Variant("").settings(0.24)
    train(task, lambda model: build_changed("own", model, settings, solver), seed=0)
    print(f"\nobjectives of {steps} steps, without their constants, over the descent's")
    for name, ratios in solver.ratios.items():
        print(f"{name:32} {np.mean(ratios):.3f}  {min(ratios):.3f} to {max(ratios):.3f}", flush=True)


def main() -> None:
    """Run the parts that are asked for, and print one row a variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=[*PARTS, "objectives"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--plot", type=Path, help="PNG file of the training losses")
    parser.add_argument("--log", type=Path, help="file of JSON lines that keeps every run")
    options = parser.parse_args()
    torch.set_num_threads(1)
    log, drawn = Log(options.log), {}
    if "objectives" in options.parts:
        compare_objectives(10)
    for part in [part for part in options.parts if part in PARTS]:
        print(f"\n{part}: lr, training loss, difference (p), test loss, accuracy, ms")
        first: list[float] = []
        rates: dict[str | None, float] = {}
        for variant in PARTS[part]:
            builder = partial(_builder, variant)
            run = partial(_run, log, variant, builder)
            lr = rates[variant.name] = rates.get(variant.rate_of) or best_rate(log, variant, run)
            runs = [run(variant.settings(lr), seed, held_out=False) for seed in range(options.seeds)]
            first = first or [result["train_loss"] for result in runs]
            print(_row(variant.name, lr, runs, first), flush=True)
            if variant.task == TASK:
                drawn[variant.name] = [result["train_loss"] for result in runs]
    if options.plot:
        draw_losses(drawn, options.plot, "MNIST, 60 steps of 2048")


def _builder(variant: Variant, s: Settings) -> Callable[[torch.nn.Module], list[torch.optim.Optimizer]]:
    return lambda model: build_changed(variant.change, model, s, variant.solver(), variant.memory)


def _run(
    log: Log, variant: Variant, builder: Callable[..., Any], s: Settings, seed: int, held_out: bool
) -> dict[str, Any]:
    return log.run(variant.task, variant.name, s, seed, held_out, builder(s))


def _row(name: str, lr: float, runs: list[dict[str, Any]], first: list[float]) -> str:
    means = {key: np.mean([run[key] for run in runs]) for key in runs[0] if key != "curve"}
    losses = [run["train_loss"] for run in runs]
    spread = np.std(losses, ddof=1) if len(losses) > 1 else 0.0
    other = np.subtract(losses, first)
    told = ""
    if other.any():
        told = f"{other.mean():+.4f} (p = {stats.ttest_1samp(other, 0).pvalue:.1g})"
    return (
        f"{name:32} {lr:.3g}  {means['train_loss']:.4f} ± {spread:.4f}  {told:22} "
        f"{means['test_loss']:.4f}  {means['accuracy']:.4f}  {means['milliseconds']:.0f}"
    )


if __name__ == "__main__":
    main()
