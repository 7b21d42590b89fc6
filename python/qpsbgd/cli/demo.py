"""``qpsbgd demo``: a small training that shows what the package does."""

from __future__ import annotations

import argparse
from pathlib import Path

from qpsbgd.cli.arguments import Parser, Subparsers, count

__all__ = ["add", "run"]

_OPTIMIZERS = ("qpsbgd", "binaryconnect-adam", "signsgd")

_DESCRIPTION = """\
Train a 64-256-10 binary network on scikit-learn's digits with QP-SBGD, BinaryConnect (Adam) and signSGD.
Prints a table, and draws the learning curves.

  qpsbgd demo                            three seeds; about half a minute
  qpsbgd demo --seeds 1 --steps 100      a glance
"""


def add(commands: Subparsers) -> None:
    """Declare the command."""
    commands.add_parser(
        "demo",
        help="train a binary network on handwritten digits, beside two other optimizers",
        description=_DESCRIPTION,
        declare=_declare,
    )


def _declare(demo: Parser) -> None:
    demo.add_argument("--seeds", type=count, default=3, metavar="K", help="runs per optimizer (default: 3)")
    demo.add_argument("--steps", type=count, metavar="N", help="steps per run instead of the full training")
    demo.add_argument("--out", type=Path, default=Path("demo"), metavar="DIR", help="folder (default: demo)")
    demo.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Train, print the table, draw the curves."""
    from qpsbgd.extras import needed_for

    with needed_for("qpsbgd demo", "torch", "demo"):
        import torch

    from qpsbgd.cli.progress import announce_plots, print_outcome, say, with_steps
    from qpsbgd.data.files import check_writable
    from qpsbgd.experiments import TASKS
    from qpsbgd.experiments.core.runner import run as run_task
    from qpsbgd.report import draw_curves, table

    torch.set_num_threads(1)  # matrices of this size gain nothing from more, and lose when cores are shared
    check_writable(arguments.out)
    plots = announce_plots()
    task = with_steps(TASKS["digits"], arguments.steps)
    settings = {name: task.optimizers[name] for name in _OPTIMIZERS}
    results = run_task(task, settings, seeds=arguments.seeds, report=say)
    print(f"{task.definition()['network']} network on {task.description}, {arguments.seeds} seeds")
    print(table(results), flush=True)
    for result in results:
        result.write(arguments.out / f"{result.optimizer}.json")
    if plots:
        picture = arguments.out / "curves.png"
        draw_curves(results, picture)
        print(f"learning curves: {picture}")
    print_outcome(results[0], task)
