"""``qpsbgd bench``: this solver beside installed ones, on the user's own file, at equal wall time."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpsbgd.cli.arguments import NameAmong, Parser, Subparsers, count, duration, seed
from qpsbgd.cli.messages import one_line

if TYPE_CHECKING:
    from qpsbgd.cli.peers import Attempt, Model
    from qpsbgd.data.instances import Instance

__all__ = ["add", "run"]

_OURS = "qpsbgd"
_SECONDS = 1.0
_SEEDS = 3

_DESCRIPTION = """\
Compare this solver with those of dwave-samplers, neal, openjij and simulated-bifurcation, as far as they are
installed, on your own file and at equal wall time. Every solver searches for the same time with the same
seeds, on one thread, and its answers are judged by the same formula.

  qpsbgd bench G1.txt                                    1 second, 3 seeds
  qpsbgd bench my.qubo --time-limit 10 --seeds 5 --json
  qpsbgd bench my.qubo --solver qpsbgd --solver dwave-tabu

A solver without a time limit is called again with twice the sweeps, as long as that fits: "stopped" tells
what it took. "found" is when the best answer was there; such a solver tells it only when a call ends.
Ctrl-C prints what is finished. A solver that fails is told under the table, and makes the exit status 1.
"""


def add(commands: Subparsers) -> None:
    """Declare the command."""
    commands.add_parser(
        "bench",
        help="compare with other installed solvers on your own file",
        description=_DESCRIPTION,
        declare=_declare,
    )


def _declare(bench: Parser) -> None:
    bench.add_argument("file", type=Path, metavar="FILE", help="an instance file, or - for standard input")
    bench.add_argument(
        "--kind",
        choices=["qubo", "ising", "maxcut"],
        help="what FILE holds (default: by its content or its ending)",
    )
    from qpsbgd.cli.peers import PEERS

    bench.add_argument(
        "--solver",
        action="append",
        type=NameAmong([_OURS, *PEERS]),
        metavar="NAME",
        help=f"{', '.join([_OURS, *PEERS])}; may be given several times (default: all that are installed)",
    )
    bench.add_argument(
        "--time-limit",
        type=duration,
        default=_SECONDS,
        metavar="SECONDS",
        help=f"for each solver and seed (default: {_SECONDS:g})",
    )
    bench.add_argument(
        "--seeds", type=count, default=_SEEDS, metavar="K", help=f"runs per solver (default: {_SEEDS})"
    )
    bench.add_argument("--seed", type=seed, default=0, metavar="N", help="the first seed (default: 0)")
    bench.add_argument(
        "--threads",
        type=count,
        default=1,
        metavar="T",
        help="for qpsbgd and simulated-bifurcation; the others have one (default: 1)",
    )
    bench.add_argument("--json", action="store_true", help="print one JSON object a solver, one a line")
    bench.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Read the file, let every solver search, print the table."""
    from qpsbgd.data.instances import parse_instances, read_instances

    solvers = _solvers(arguments.solver)
    if str(arguments.file) == "-":
        instances = parse_instances(sys.stdin.buffer.read(), "standard input", arguments.kind)
    else:
        instances = read_instances(arguments.file, arguments.kind)
    failed = sum([_bench(instance, solvers, arguments) for instance in instances])
    if failed:
        raise ValueError(f"{failed} solvers failed")


def _solvers(asked: list[str] | None) -> list[str]:
    """Return the solvers to compare; say which are not there."""
    from qpsbgd.cli.peers import PEERS, usable

    names = list(dict.fromkeys(asked or [_OURS, *PEERS]))
    present, lacks = usable([name for name in names if name != _OURS])
    for name, lack in lacks.items():
        if asked:
            raise ModuleNotFoundError(f"{name}: {lack}")
        print(f"qpsbgd: {name} is left out: {lack}", file=sys.stderr)
    return [name for name in names if name == _OURS or name in present]


def _bench(instance: Instance, solvers: list[str], arguments: argparse.Namespace) -> int:
    """Compare on one instance; return how many solvers failed."""
    from qpsbgd.cli.peers import Model
    from qpsbgd.data.progress import ProgressBar
    from qpsbgd.problem.build import ising_problem, qubo_problem

    problem = (qubo_problem if instance.kind == "qubo" else ising_problem)(**instance.solver_arguments())
    model = Model(problem, arguments.threads)
    results: list[dict[str, Any]] = []
    try:
        with ProgressBar(len(solvers) * arguments.seeds, instance.name, unit="run") as bar:
            for name in solvers:
                bar.note(name)
                results.append(_result(instance, model, name, arguments))
                bar.advance(arguments.seeds)
    finally:  # Ctrl-C leaves what is finished
        _show(instance, results, arguments)
    return sum("failure" in result for result in results)


def _result(instance: Instance, model: Model, name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one solver for every seed, and return what the table and JSON say of it."""
    from qpsbgd import __version__
    from qpsbgd.cli.peers import PEERS, search_by_peer, search_by_qpsbgd

    limit: float = arguments.time_limit
    facts: dict[str, Any] = {
        "instance": instance.name,
        "kind": instance.kind,
        "variables": instance.n,
        "solver": name,
        "version": __version__ if name == _OURS else PEERS[name].version(),
        "time_limit": limit,
    }
    attempts: list[Attempt] = []
    for number in range(arguments.seed, arguments.seed + arguments.seeds):
        try:
            if name == _OURS:
                attempts.append(search_by_qpsbgd(model, number, limit))
            else:
                attempts.append(search_by_peer(PEERS[name], model, number, limit))
        except Exception as error:  # a peer may fail in any way, and the others shall be compared
            return facts | {"failure": f"{type(error).__name__}: {one_line(error)}"}
    samples = [attempt.spins for attempt in attempts]
    if instance.kind == "qubo":
        samples = [(spins + 1) // 2 for spins in samples]
    return facts | {
        "values": [float(instance.value(sample)) for sample in samples],
        "energies": [attempt.energy for attempt in attempts],
        "found_after": [attempt.found_after for attempt in attempts],
        "seconds": [attempt.seconds for attempt in attempts],
    }


def _show(instance: Instance, results: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    """Print the results: lines of JSON in the order of the solvers, or a table with the best first."""
    if arguments.json:
        for result in results:
            print(json.dumps(result))
    else:
        largest = instance.sense == "max"
        print(
            f"{instance.name}: {instance.kind} of {instance.n} variables, {arguments.time_limit:g} s for "
            f"each of {arguments.seeds} seeds; {'larger' if largest else 'smaller'} values are better"
        )
        done = [result for result in results if "failure" not in result]
        done.sort(key=lambda result: statistics.fmean(result["values"]), reverse=largest)
        _print_table([_HEAD, *(_row(result, largest=largest) for result in done)])
        for result in results:
            if "failure" in result:
                print(f"{result['solver']} failed: {result['failure']}")
    sys.stdout.flush()


_HEAD = ("solver", "version", "best", "mean", "found", "stopped")


def _row(result: dict[str, Any], *, largest: bool) -> tuple[str, ...]:
    values = result["values"]
    return (
        result["solver"],
        result["version"],
        f"{max(values) if largest else min(values):.10g}",
        f"{statistics.fmean(values):.10g}",
        f"{statistics.fmean(result['found_after']):.2f} s",
        f"{statistics.fmean(result['seconds']):.2f} s",
    )


def _print_table(rows: list[tuple[str, ...]]) -> None:
    """Print rows in columns: the first two to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())
