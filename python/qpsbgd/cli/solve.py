"""``qpsbgd solve``: the best solution of a QUBO or Max-Cut file."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpsbgd.cli.arguments import Subparsers, count, duration, number, seed

if TYPE_CHECKING:
    from qpsbgd.data.instances import Instance

__all__ = ["add", "run"]

_SECONDS = 1.0
"""Time limit unless the user gives one, or a number of sweeps."""


def add(commands: Subparsers) -> None:
    """Declare the command."""
    solve = commands.add_parser(
        "solve",
        help="solve a QUBO or Max-Cut file",
        description="Solve a QUBO (.sparse) or Max-Cut (.txt) file; print energy, time and any known gap.",
    )
    solve.add_argument("file", type=Path, metavar="FILE")
    solve.add_argument("--kind", choices=["qubo", "maxcut"], help="what FILE holds (default: by its ending)")
    solve.add_argument(
        "--method",
        choices=["auto", "exact", "descent", "anneal", "tabu"],
        default="auto",
        help="default: auto",
    )
    solve.add_argument("--num-reads", type=count, default=1, metavar="R", help="starts (default: 1)")
    solve.add_argument("--num-sweeps", type=count, metavar="S", help="sweeps per read")
    solve.add_argument(
        "--time-limit",
        type=duration,
        metavar="SECONDS",
        help=f"stop after this time (default: {_SECONDS:g}, or none where --num-sweeps is given)",
    )
    solve.add_argument("--seed", type=seed, default=0, metavar="N", help="default: 0")
    solve.add_argument("--threads", type=count, metavar="T", help="default: all cores")
    solve.add_argument("--target", type=number, metavar="ENERGY", help="stop at an energy as low as this")
    solve.add_argument("--json", action="store_true", help="print one JSON object, with the best sample")
    solve.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Read the file, solve it, print what was found."""
    from qpsbgd.data.instances import best_known, read_instance

    instance = read_instance(arguments.file, arguments.kind)
    known = best_known(arguments.file)
    started = time.perf_counter()
    energy, sample, trace = _best_sample(instance, arguments)
    seconds = time.perf_counter() - started
    value = float(instance.value(sample))
    facts: dict[str, Any] = {
        "instance": instance.name,
        "kind": instance.kind,
        "variables": instance.n,
        "energy": energy,
        "cut" if instance.kind == "maxcut" else "value": value,
        "seconds": seconds,
    }
    if known is not None:
        facts |= {"best_known": known.value, "gap": known.gap(value)}
    if arguments.json:
        print(json.dumps(facts | {"sample": sample.tolist(), "trace": trace}))
        return
    shown = {"seconds": f"{seconds:.3f}", "gap": f"{100 * facts.get('gap', 0):.4f} %"}
    for name, fact in facts.items():
        text = shown.get(name) or (f"{fact:.15g}" if isinstance(fact, float) else fact)
        print(f"{name.replace('_', ' '):<12}{text}")


def _best_sample(instance: Instance, arguments: argparse.Namespace) -> tuple[float, Any, list[Any]]:
    from qpsbgd.data.progress import ProgressBar
    from qpsbgd.solvers.native import solve_ising, solve_qubo

    time_limit = arguments.time_limit
    if time_limit is None and arguments.num_sweeps is None:
        time_limit = _SECONDS
    solver = solve_ising if instance.kind == "maxcut" else solve_qubo
    with ProgressBar(None, instance.name, unit="s", enabled=not arguments.json) as bar:

        def report(seconds: float, best: float) -> None:
            bar.note(f"energy {best:.12g}")
            bar.move_to(round(seconds))

        solutions = solver(
            **instance.solver_arguments(),
            num_reads=arguments.num_reads,
            num_sweeps=arguments.num_sweeps,
            method=arguments.method,
            seed=arguments.seed,
            num_threads=arguments.threads,
            time_limit=time_limit,
            target_energy=arguments.target,
            progress=report,
        )
    return float(solutions.best_energies[0]), solutions.best_samples[0], solutions.info["trace"][0]
