"""``qpsbgd solve``: the best solutions of instance files."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpsbgd.cli.arguments import BadUseError, Parser, Subparsers, count, duration, number, seed
from qpsbgd.cli.messages import one_line

if TYPE_CHECKING:
    from qpsbgd.data.instances import Instance
    from qpsbgd.data.json_lines import JsonLines

__all__ = ["add", "run"]

_SECONDS = 1.0
"""Time limit unless the user gives one, or a number of sweeps."""

_ENDINGS = {".sparse", ".bq", ".txt", ".mc", ".rud", ".rudy", ".qubo", ".coo", ".col"}
"""Endings of the files of a folder that are solved, in upper or lower case; ``.gz`` may follow."""

_DESCRIPTION = """\
Solve QUBO, Ising and Max-Cut files; print energy, time and any known gap.

  qpsbgd solve G1.txt --time-limit 10
  qpsbgd solve folder --out results.jsonl     every instance file; started again, it goes on where it stopped
  zcat big.rud.gz | qpsbgd solve - --kind maxcut --json

Ctrl-C ends the search, prints the best solution found so far and adds it to --out; a second one ends at once.
A file of a folder that cannot be read is told, the others are solved, and the exit status is 1.
"""


def add(commands: Subparsers) -> None:
    """Declare the command."""
    commands.add_parser(
        "solve",
        help="solve QUBO, Ising and Max-Cut files",
        description=_DESCRIPTION,
        declare=_declare,
    )


def _declare(solve: Parser) -> None:
    solve.add_argument(
        "file", type=Path, metavar="FILE", help="an instance file, a folder of them, or - for standard input"
    )
    solve.add_argument(
        "--kind",
        choices=["qubo", "ising", "maxcut"],
        help="what FILE holds (default: by its content or its ending)",
    )
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
    solve.add_argument(
        "--presolve",
        choices=["auto", "on", "off"],
        default="auto",
        help="take variables out that others decide (default: auto, where that halves the problem)",
    )
    solve.add_argument(
        "--json", action="store_true", help="print one JSON object a line, with the best sample"
    )
    solve.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="add each result to this file of JSON lines; what it already holds is not solved again",
    )
    solve.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Read the files, solve them, print what was found."""
    from qpsbgd.data.json_lines import JsonLines
    from qpsbgd.data.progress import ProgressBar

    files = _files(arguments.file)
    out: AbstractContextManager[JsonLines | None] = (
        JsonLines(arguments.out) if arguments.out else nullcontext()
    )
    several = arguments.file.is_dir()
    unread = 0
    with out as results, ProgressBar(len(files), "solve", unit="file", enabled=several) as bar:
        bar_of_file = not (several or arguments.json)
        for file in files:
            try:
                _solve_file(file, arguments, results, show_bar=bar_of_file)
            except (OSError, ValueError) as error:
                if not several:
                    raise
                print(f"qpsbgd: {one_line(error)}", file=sys.stderr)
                unread += 1
            bar.advance(1)
    if unread:
        raise ValueError(f"{unread} of {len(files)} files could not be solved")


def _files(path: Path) -> list[Path]:
    """Return the file itself, or the instance files of a folder by name."""
    if not path.is_dir():
        return [path]

    def ending(file: Path) -> str:
        return (Path(file.stem).suffix if file.suffix == ".gz" else file.suffix).lower()

    files = sorted(file for file in path.iterdir() if file.is_file() and ending(file) in _ENDINGS)
    if not files:
        raise BadUseError(f"{path} holds no instance files: none ends in {', '.join(sorted(_ENDINGS))}")
    return files


def _solve_file(
    file: Path, arguments: argparse.Namespace, results: JsonLines | None, *, show_bar: bool
) -> None:
    """Solve all instances of a file; a result is printed, and kept, as soon as it is there."""
    from qpsbgd.data.instances import best_known, parse_instances, read_instances

    if str(file) == "-":
        instances = parse_instances(sys.stdin.buffer.read(), "standard input", arguments.kind)
        known = None
    else:
        instances = read_instances(file, arguments.kind)
        known = best_known(file)
    settings = _settings(arguments)
    for instance in instances:
        key = {"file": str(file), "instance": instance.name, "settings": settings}
        if results and any(_is_done(record, key) for record in results.records):
            continue
        facts, answer, interrupted = _solve(instance, arguments, show_bar=show_bar)
        if known is not None and len(instances) == 1:
            value = facts["cut" if instance.kind == "maxcut" else "value"]
            facts |= {"best_known": known.value, "gap": known.gap(value)}
        if results:
            results.add(key | facts | answer | ({"interrupted": True} if interrupted else {}))
        _show(facts, answer, as_json=arguments.json)
        if interrupted:
            sys.stdout.flush()
            raise KeyboardInterrupt


def _is_done(record: dict[str, Any], key: dict[str, Any]) -> bool:
    """Whether a kept record answers this problem; a search that was cut short is done again."""
    return "settings" in record and key.items() <= record.items() and not record.get("interrupted")


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what the answer depends on."""
    time_limit = arguments.time_limit
    if time_limit is None and arguments.num_sweeps is None:
        time_limit = _SECONDS
    return {
        "method": arguments.method,
        "num_reads": arguments.num_reads,
        "num_sweeps": arguments.num_sweeps,
        "time_limit": time_limit,
        "seed": arguments.seed,
        "target_energy": arguments.target,
        "presolve": {"on": True, "off": False}.get(arguments.presolve, "auto"),
    }


def _solve(
    instance: Instance, arguments: argparse.Namespace, *, show_bar: bool
) -> tuple[dict[str, Any], dict[str, Any], bool]:
    """Return facts about the best answer, its sample and trace, and whether Ctrl-C cut the search short."""
    from qpsbgd.data.progress import ProgressBar
    from qpsbgd.problem.build import ising_problem, qubo_problem
    from qpsbgd.solvers.native import NativeSolver

    settings = _settings(arguments)
    drawn = settings.pop("seed")
    problem = (qubo_problem if instance.kind == "qubo" else ising_problem)(**instance.solver_arguments())
    solver = NativeSolver(**settings, num_threads=arguments.threads)
    started = time.perf_counter()
    with ProgressBar(None, instance.name, unit="s", enabled=show_bar) as bar, _interrupts() as interrupted:

        def report(now: float, best: float) -> None:
            bar.note(f"energy {best:.12g}")
            bar.move_to(round(now))

        solutions = solver.solve(problem, seed=drawn, interrupt_function=interrupted, progress=report)
    seconds = time.perf_counter() - started
    sample = solutions.best_samples[0]
    value = float(instance.value(sample))
    facts = {
        "instance": instance.name,
        "kind": instance.kind,
        "variables": instance.n,
        "method": solutions.info["method"],
        "proven": solutions.info["proven_optimal"] and not interrupted(),
        "energy": float(solutions.best_energies[0]),
        "cut" if instance.kind == "maxcut" else "value": value,
        "seconds": seconds,
    }
    if solutions.info["presolve"] is not None:
        facts["presolve"] = solutions.info["presolve"]
    return facts, {"sample": sample.tolist(), "trace": solutions.info["trace"][0]}, interrupted()


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Give a function that tells whether Ctrl-C was pressed; a second one raises as ever."""
    pressed = False
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False  # signals reach the main thread alone
        return

    def note(number: int, frame: Any) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


def _show(facts: dict[str, Any], answer: dict[str, Any], *, as_json: bool) -> None:
    """Print the facts, as lines to read or as one line of JSON with sample and trace."""
    if as_json:
        print(json.dumps(facts | answer), flush=True)
        return
    shown = {
        "seconds": f"{facts['seconds']:.3f}",
        "gap": f"{100 * facts.get('gap', 0):.4f} %",
        "proven": "yes" if facts["proven"] else "no",
        "presolve": ", ".join(
            f"{name.replace('_', ' ')} {spins}" for name, spins in facts.get("presolve", {}).items()
        ),
    }
    for name, fact in facts.items():
        text = shown.get(name) or (f"{fact:.15g}" if isinstance(fact, float) else fact)
        print(f"{name.replace('_', ' '):<12}{text}")
    sys.stdout.flush()
