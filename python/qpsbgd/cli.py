"""The command line: ``qpsbgd demo``, ``train``, ``report``, ``solve`` and ``info``.

Modules that take long to import are imported by the command that needs them.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from qpsbgd import __version__
from qpsbgd.experiments import EXPERIMENTS, TASKS

if TYPE_CHECKING:
    from qpsbgd.data.instances import Instance
    from qpsbgd.experiments import Result, Settings, Task
    from qpsbgd.experiments.core.runner import Record

__all__ = ["main"]

_FAILED, _BAD_USE, _INTERRUPTED = 1, 2, 130
_DEMO_OPTIMIZERS = ("qpsbgd", "binaryconnect-adam", "signsgd")
_SOLVE_SECONDS = 1.0
_OPTIONAL_PARTS = {
    "scikit-learn": "sklearn",
    "matplotlib": "matplotlib",
    "tqdm": "tqdm",
    "scipy": "scipy",
    "dwave-samplers": "dwave.samplers",
    "dwave-system": "dwave.system",
}


class _Parser(argparse.ArgumentParser):
    """Argument parser whose complaint is a single line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and how to get help, and exit."""
        self.exit(_BAD_USE, f"qpsbgd: error: {message} (see {self.prog} --help)\n")


class _BadUseError(Exception):
    """What the user asks for does not exist."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the program's name; ``sys.argv[1:]`` if not given.

    Returns
    -------
    int
        Exit status: 0, 1 if the command failed, 2 if it was not understood, 130 after Ctrl-C.

    Examples
    --------
    >>> main(["train", "no-such-task"])
    2
    """
    try:
        arguments = _parser().parse_args(argv)
        arguments.command(arguments)
        sys.stdout.flush()
    except SystemExit as end:  # argparse has said why
        return int(end.code or 0)
    except _BadUseError as error:
        print(f"qpsbgd: error: {error}", file=sys.stderr)
        return _BAD_USE
    except KeyboardInterrupt:
        print("qpsbgd: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone; what is still buffered must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    except (OSError, ValueError, ArithmeticError, ModuleNotFoundError) as error:
        print(f"qpsbgd: error: {' '.join(str(error).split())}", file=sys.stderr)
        return _FAILED
    return 0


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**64:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 2**64 - 1")
    return int(text)


def _duration(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="qpsbgd", description="Train binary neural networks by QUBO-projected gradients; solve QUBOs."
    )
    parser.add_argument("--version", action="version", version=f"qpsbgd {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    _add_demo(commands)
    _add_train(commands)
    _add_report(commands)
    _add_solve(commands)
    info = commands.add_parser("info", help="show versions, the native core and optional parts")
    info.set_defaults(command=_info)
    return parser


def _add_demo(commands: Any) -> None:
    demo = commands.add_parser(
        "demo",
        help="train a binary network on handwritten digits, beside two other optimizers",
        description="Train a 64-256-10 binary network on scikit-learn's digits with QP-SBGD, BinaryConnect "
        "(Adam) and signSGD; print a table and draw the learning curves.",
    )
    demo.add_argument("--seeds", type=_count, default=3, metavar="K", help="runs per optimizer (default: 3)")
    demo.add_argument("--steps", type=_count, metavar="N", help="steps per run instead of the full training")
    demo.add_argument("--out", type=Path, default=Path("demo"), metavar="DIR", help="folder (default: demo)")
    demo.set_defaults(command=_demo)


def _add_train(commands: Any) -> None:
    train = commands.add_parser(
        "train",
        help="train the network of a task and keep results, plot and weights",
        description="Run a task, or all tasks of an experiment. Writes results.json and learning curves, for "
        "one optimizer on one task also weights-seedK.pt. Finished runs are kept in the folder: after an "
        "interruption the same command goes on with the others.",
    )
    train.add_argument("task", choices=_names(), metavar="TASK", help=", ".join(_names()))
    train.add_argument(
        "--optimizer",
        action="append",
        metavar="NAME",
        help="may be given several times; 'all' for every optimizer of the task, which "
        f"are usually {', '.join(TASKS['digits'].optimizers)} (default: the first, or all with --tune)",
    )
    train.add_argument(
        "--tune",
        action="store_true",
        help="first choose each optimizer's settings from its grid on a validation split",
    )
    train.add_argument(
        "--seeds",
        type=_count,
        metavar="K",
        help="runs per optimizer (default: 1, or the task's number for several optimizers)",
    )
    train.add_argument("--steps", type=_count, metavar="N", help="steps per run (default: the task's)")
    train.add_argument(
        "--data-dir",
        type=Path,
        metavar="D",
        help="folder of data files (default: $QPSBGD_DATA, else a cache folder); missing ones are downloaded",
    )
    train.add_argument(
        "--out", type=Path, metavar="DIR", help="folder (default: runs/TASK-NAME or runs/TASK)"
    )
    train.set_defaults(command=_train)


def _names() -> list[str]:
    """Names that ``train`` knows: experiments, and tasks that are only a part of one."""
    return list(dict.fromkeys([*EXPERIMENTS, *TASKS]))


def _add_report(commands: Any) -> None:
    report = commands.add_parser(
        "report",
        help="build one HTML page of all finished runs",
        description="Build one HTML page, readable offline, of all finished runs below DIR: tables with "
        "paired differences, learning curves, settings, versions and seeds.",
    )
    report.add_argument("folder", type=Path, metavar="DIR", help="what --out of train was, or a folder above")
    report.add_argument("--out", type=Path, metavar="FILE", help="the page (default: DIR/report.html)")
    report.set_defaults(command=_report)


def _add_solve(commands: Any) -> None:
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
    solve.add_argument("--num-reads", type=_count, default=1, metavar="R", help="starts (default: 1)")
    solve.add_argument("--num-sweeps", type=_count, metavar="S", help="sweeps per read")
    solve.add_argument(
        "--time-limit",
        type=_duration,
        metavar="SECONDS",
        help=f"stop after this time (default: {_SOLVE_SECONDS:g}, or none where --num-sweeps is given)",
    )
    solve.add_argument("--seed", type=_seed, default=0, metavar="N", help="default: 0")
    solve.add_argument("--threads", type=_count, metavar="T", help="default: all cores")
    solve.add_argument("--json", action="store_true", help="print one JSON object, with the best sample")
    solve.set_defaults(command=_solve)


def _demo(arguments: argparse.Namespace) -> None:
    import torch

    from qpsbgd.experiments.core.runner import run
    from qpsbgd.report import draw_curves, table

    torch.set_num_threads(1)  # matrices of this size gain nothing from more, and lose when cores are shared
    task = _with_steps(TASKS["digits"], arguments.steps)
    settings = {name: task.optimizers[name] for name in _DEMO_OPTIMIZERS}
    results = run(task, settings, seeds=arguments.seeds, report=_say)
    for result in results:
        result.write(arguments.out / f"{result.optimizer}.json")
    picture = arguments.out / "curves.png"
    draw_curves(results, picture)
    print(f"{task.definition()['network']} network on {task.description}, {arguments.seeds} seeds")
    print(table(results))
    print(f"learning curves: {picture}")
    _print_outcome(results[0], task)


def _with_steps(task: Task, steps: int | None) -> Task:
    return task if steps is None else task.replaced(steps=steps)


def _print_outcome(result: Result, task: Task) -> None:
    """Print the line that tells a script the outcome: the mean of the task's metric."""
    print(f"{task.metric.replace('_', ' ')}: {result.mean_and_deviation(task.metric)[0]:.4f}")


def _say(record: Record) -> None:
    """Tell the user of a run that has just finished."""
    name = f"{record.task['name']}, {record.optimizer}, seed {record.seed}"
    if record.split == "validation":
        name += f", {', '.join(f'{key}={value}' for key, value in record.settings.items())}"
    if record.run is None:
        outcome = f"failed: {record.failure}"
    else:
        metric = record.task["metric" if record.split == "test" else "tuning_metric"]
        outcome = f"{metric.replace('_', ' ')} {record.run.metrics[metric]:.4f}"
        if "seconds" in record.run.metrics:
            outcome += f" after {record.run.metrics['seconds']:.1f} s"
    print(f"{name}: {outcome}", file=sys.stderr)


def _train(arguments: argparse.Namespace) -> None:
    tasks = (TASKS[arguments.task],) if arguments.task in TASKS else EXPERIMENTS[arguments.task].tasks
    chosen = [(_with_steps(task, arguments.steps), _optimizers(task, arguments)) for task in tasks]
    if len(chosen) == 1 and len(chosen[0][1]) == 1:
        _train_one(*chosen[0], arguments)
    else:
        _train_several(chosen, arguments)


def _optimizers(task: Task, arguments: argparse.Namespace) -> list[str]:
    """Names of the optimizers that the user asks for."""
    names = arguments.optimizer or (["all"] if arguments.tune else [next(iter(task.optimizers))])
    names = list(dict.fromkeys(names))
    if names == ["all"]:
        return list(task.optimizers)
    for name in names:
        if name not in task.optimizers:
            known = ", ".join(["all", *task.optimizers])
            raise _BadUseError(f"--optimizer {name!r} is none of {task.name}: expected {known}")
    return names


def _settings(task: Task, names: list[str], store: Any, arguments: argparse.Namespace) -> dict[str, Settings]:
    from qpsbgd.experiments.core.runner import tune

    if not arguments.tune:
        return {name: task.optimizers[name] for name in names}
    return tune(task, names, store, data_dir=arguments.data_dir, report=_say)


def _train_one(task: Task, names: list[str], arguments: argparse.Namespace) -> None:
    import torch

    from qpsbgd.data.files import atomic_write
    from qpsbgd.experiments.core.runner import Store, run
    from qpsbgd.report import draw_curves, table

    folder: Path = arguments.out or Path("runs") / f"{task.name}-{names[0]}"
    store = Store(folder, keep_weights=True)
    settings = _settings(task, names, store, arguments)
    seeds = arguments.seeds or 1
    (result,) = run(task, settings, store, seeds=seeds, data_dir=arguments.data_dir, report=_say)
    result.write(folder / "results.json")
    for one in result.runs:
        if one.weights:
            with atomic_write(folder / f"weights-seed{one.seed}.pt") as file:
                torch.save(dict(one.weights), file)
    draw_curves([result], folder / "curves.png")
    print(table([result], task.metric))
    print(f"results, curves and weights: {folder}")
    _print_outcome(result, task)


def _train_several(chosen: list[tuple[Task, list[str]]], arguments: argparse.Namespace) -> None:
    from qpsbgd.experiments.core.results import write_results
    from qpsbgd.experiments.core.runner import Store, run
    from qpsbgd.report import axis_table, draw_against_axis, draw_curves, table

    folder: Path = arguments.out or Path("runs") / arguments.task
    store = Store(folder)
    everything: list[Result] = []
    for task, names in chosen:
        settings = _settings(task, names, store, arguments)
        results = run(task, settings, store, seeds=arguments.seeds, data_dir=arguments.data_dir, report=_say)
        everything += results
        draw_curves(results, folder / f"{task.name}.png")
        print(f"{task.name}: {task.description}")
        print(table(results, task.metric))
        write_results(everything, folder / "results.json")
    experiment = EXPERIMENTS.get(arguments.task)
    if experiment is not None and experiment.axis is not None:
        draw_against_axis(experiment, everything, folder / f"{experiment.name}-axis.png")
        for metric in (experiment.tasks[0].metric, *experiment.also_drawn):
            print(axis_table(experiment, everything, metric))
    print(f"results and curves: {folder}; for a page of all: qpsbgd report {folder}")


def _report(arguments: argparse.Namespace) -> None:
    from qpsbgd.data.files import atomic_write
    from qpsbgd.experiments.core.runner import read_records
    from qpsbgd.report import page

    target: Path = arguments.out or arguments.folder / "report.html"
    text = page(read_records(arguments.folder), EXPERIMENTS)
    with atomic_write(target) as file:
        file.write(text.encode())
    print(f"report: {target}")


def _solve(arguments: argparse.Namespace) -> None:
    from qpsbgd.data.instances import best_known, read_instance

    instance = read_instance(arguments.file, arguments.kind)
    known = best_known(arguments.file)
    started = time.perf_counter()
    energy, sample = _best_sample(instance, arguments)
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
        print(json.dumps(facts | {"sample": sample.tolist()}))
        return
    shown = {"seconds": f"{seconds:.3f}", "gap": f"{100 * facts.get('gap', 0):.4f} %"}
    for name, fact in facts.items():
        text = shown.get(name) or (f"{fact:.15g}" if isinstance(fact, float) else fact)
        print(f"{name.replace('_', ' '):<12}{text}")


def _best_sample(instance: Instance, arguments: argparse.Namespace) -> tuple[float, Any]:
    from qpsbgd.solvers.native import solve_ising, solve_qubo

    time_limit = arguments.time_limit
    if time_limit is None and arguments.num_sweeps is None:
        time_limit = _SOLVE_SECONDS
    solver = solve_ising if instance.kind == "maxcut" else solve_qubo
    solutions = solver(
        **instance.solver_arguments(),
        num_reads=arguments.num_reads,
        num_sweeps=arguments.num_sweeps,
        method=arguments.method,
        seed=arguments.seed,
        num_threads=arguments.threads,
        time_limit=time_limit,
    )
    return float(solutions.best_energies[0]), solutions.best_samples[0]


def _info(_arguments: argparse.Namespace) -> None:
    from qpsbgd import _core

    facts: dict[str, Any] = {
        "qpsbgd": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {platform.system()}",
    }
    native = {name.replace("_", " "): value for name, value in _core.build_info().items()}
    facts |= {name: value for name, value in native.items() if name != "version"}
    for distribution in ("torch", "numpy", "dimod"):
        facts[distribution] = importlib.metadata.version(distribution)
    for distribution, module in _OPTIONAL_PARTS.items():
        facts[distribution] = (
            importlib.metadata.version(distribution) if _is_installed(module) else "not installed (optional)"
        )
    width = max(map(len, facts)) + 2
    for name, fact in facts.items():
        print(f"{name:<{width}}{fact}")


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package above it is not there
        return False
