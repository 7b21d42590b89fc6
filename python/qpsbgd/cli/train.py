"""``qpsbgd train``: the tasks of an experiment, with resumable runs in a folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from qpsbgd.cli.arguments import BadUseError, NameAmong, Parser, Subparsers, count

if TYPE_CHECKING:
    from qpsbgd.experiments import Result, Settings, Task
    from qpsbgd.experiments.core.search import Grid
    from qpsbgd.experiments.core.store import Store

__all__ = ["add", "run"]

_DESCRIPTION = """\
Run a task, or all tasks of an experiment. Writes results.json and learning curves, for one optimizer on one
task also weights-seedK.pt.

  qpsbgd train digits                                       one run of the first optimizer
  qpsbgd train adult --optimizer all --seeds 5 --out runs   every optimizer with its usual settings
  qpsbgd train adult --tune --seeds 5 --out runs            all tuned with the same budget
  qpsbgd train cora --data-dir ~/data                       a graph; "qpsbgd data --help" makes its file

Finished runs are kept in the folder: after Ctrl-C the same command goes on with the others.
"""


def add(commands: Subparsers) -> None:
    """Declare the command."""
    commands.add_parser(
        "train",
        help="train the network of a task and keep results, plot and weights",
        description=_DESCRIPTION,
        declare=_declare,
    )


def _declare(train: Parser) -> None:
    # The names of all tasks are those of their networks, which are modules of torch.
    from qpsbgd.experiments import TASKS

    train.add_argument("task", type=NameAmong(_names()), metavar="TASK", help=", ".join(_names()))
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
        help="first choose each optimizer's settings on a validation split; all have equally many trials",
    )
    train.add_argument(
        "--seeds",
        type=count,
        metavar="K",
        help="runs per optimizer (default: 1, or the task's number for several optimizers)",
    )
    train.add_argument("--steps", type=count, metavar="N", help="steps per run (default: the task's)")
    train.add_argument(
        "--data-dir",
        type=Path,
        metavar="D",
        help="folder of data files (default: $QPSBGD_DATA, else a cache folder); missing ones are downloaded",
    )
    train.add_argument(
        "--out", type=Path, metavar="DIR", help="folder (default: runs/TASK-NAME or runs/TASK)"
    )
    train.offered["optimizer"] = ("all", *TASKS["digits"].optimizers)
    train.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Do the runs that are missing; print the figures, then write results, weights and curves.

    Each finished run is on the disk before the next one starts. What is printed and written at the end is
    ordered by worth: an error of one file costs none of those before it.
    """
    from qpsbgd.cli.progress import with_steps
    from qpsbgd.experiments import EXPERIMENTS, TASKS

    if arguments.data_dir is not None and not arguments.data_dir.is_dir():
        raise BadUseError(f"--data-dir {arguments.data_dir} is no folder")
    tasks = (TASKS[arguments.task],) if arguments.task in TASKS else EXPERIMENTS[arguments.task].tasks
    chosen = [(with_steps(task, arguments.steps), _optimizers(task, arguments)) for task in tasks]
    if len(chosen) == 1 and len(chosen[0][1]) == 1:
        _train_one(*chosen[0], arguments)
    else:
        _train_several(chosen, arguments)


def _names() -> list[str]:
    """List what ``train`` knows: experiments, and tasks that are only a part of one."""
    from qpsbgd.experiments import EXPERIMENTS, TASKS

    return list(dict.fromkeys([*EXPERIMENTS, *TASKS]))


def _were_there(before: int) -> str:
    """Say that finished runs were in the folder: those that are asked for are not done again."""
    runs = "finished run was" if before == 1 else "finished runs were"
    return f" ({before} {runs} there before)" if before else ""


def _optimizers(task: Task, arguments: argparse.Namespace) -> list[str]:
    """List the optimizers that the user asks for."""
    names = arguments.optimizer or (["all"] if arguments.tune else [next(iter(task.optimizers))])
    names = list(dict.fromkeys(names))
    if names == ["all"]:
        return list(task.optimizers)
    for name in names:
        if name not in task.optimizers:
            known = ", ".join(["all", *task.optimizers])
            raise BadUseError(f"--optimizer {name!r} is none of {task.name}: expected {known}")
    return names


def _settings(
    task: Task, names: list[str], store: Store, arguments: argparse.Namespace
) -> dict[str, Settings]:
    from qpsbgd.cli.progress import say
    from qpsbgd.experiments.core.runner import tune

    if not arguments.tune:
        return {name: task.optimizers[name] for name in names}
    chosen = tune(task, names, store, data_dir=arguments.data_dir, report=say)
    for name, settings in chosen.items():
        how = _how_chosen(task.grids.get(name), settings)
        shown = ", ".join(f"{key}={value}" for key, value in settings.items())
        print(f"{task.name}, {name}: {shown} ({how})")
    return chosen


def _how_chosen(grid: Grid | None, settings: Settings) -> str:
    from qpsbgd.experiments.core.search import Search

    if grid is None:
        return "not tuned, since the task has no grid for it"
    edges = grid.at_edge(settings) if isinstance(grid, Search) else []
    at_edge = f"; {' and '.join(edges)} at an edge of the range or beyond" if edges else ""
    return f"the best of {len(grid)} trials{at_edge}"


def _train_one(task: Task, names: list[str], arguments: argparse.Namespace) -> None:
    from qpsbgd.cli.progress import announce_plots, print_outcome, say
    from qpsbgd.data.files import atomic_write, check_writable, exclusive
    from qpsbgd.experiments.core.results import check_replaceable
    from qpsbgd.experiments.core.runner import run as run_task
    from qpsbgd.experiments.core.store import Store, weights_as_bytes
    from qpsbgd.report import draw_curves, table

    folder: Path = arguments.out or Path("runs") / f"{task.name}-{names[0]}"
    check_writable(folder)
    check_replaceable(folder / "results.json", [(task.name, names[0])])
    plots = announce_plots()
    store = Store(folder, keep_weights=True)
    before = store.size()
    settings = _settings(task, names, store, arguments)
    seeds = arguments.seeds or 1
    (result,) = run_task(task, settings, store, seeds=seeds, data_dir=arguments.data_dir, report=say)
    print(table([result], task.metric), flush=True)
    with exclusive(folder):  # the files of two processes are not mixed
        result.write(folder / "results.json")
        for one in result.runs:
            if one.weights:
                with atomic_write(folder / f"weights-seed{one.seed}.pt") as file:
                    file.write(weights_as_bytes(one.weights))
        if plots:
            draw_curves([result], folder / "curves.png")
    print(f"results{', curves' if plots else ''} and weights: {folder}{_were_there(before)}")
    print_outcome(result, task)


def _train_several(chosen: list[tuple[Task, list[str]]], arguments: argparse.Namespace) -> None:
    from qpsbgd.cli.progress import announce_plots, say
    from qpsbgd.data.files import check_writable, exclusive
    from qpsbgd.experiments import EXPERIMENTS
    from qpsbgd.experiments.core.results import check_replaceable, write_results
    from qpsbgd.experiments.core.runner import run as run_task
    from qpsbgd.experiments.core.store import Store
    from qpsbgd.report import axis_table, draw_against_axis, draw_curves, table

    folder: Path = arguments.out or Path("runs") / arguments.task
    check_writable(folder)
    check_replaceable(
        folder / "results.json", [(task.name, name) for task, names in chosen for name in names]
    )
    plots = announce_plots()
    store = Store(folder)
    before = store.size()
    everything: list[Result] = []
    for task, names in chosen:
        settings = _settings(task, names, store, arguments)
        results = run_task(
            task, settings, store, seeds=arguments.seeds, data_dir=arguments.data_dir, report=say
        )
        everything += results
        print(f"{task.name}: {task.description}")
        print(table(results, task.metric), flush=True)
        with exclusive(folder):
            write_results(everything, folder / "results.json")
            if plots:
                draw_curves(results, folder / f"{task.name}.png")
    experiment = EXPERIMENTS.get(arguments.task)
    if experiment is not None and experiment.axis is not None:
        for metric in (experiment.tasks[0].metric, *experiment.also_drawn):
            print(axis_table(experiment, everything, metric), flush=True)
        if plots:
            draw_against_axis(experiment, everything, folder / f"{experiment.name}-axis.png")
    curves = " and curves" if plots else ""
    print(f"results{curves}: {folder}{_were_there(before)}; for a page of all: qpsbgd report {folder}")
