"""``qpsbgd report``: one HTML page of all finished runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from qpsbgd.cli.arguments import Parser, Subparsers
from qpsbgd.cli.messages import one_line

__all__ = ["add", "run"]

_DESCRIPTION = """\
Build one HTML page, readable offline, of all finished runs below DIR: tables with paired differences,
learning curves, settings, versions and seeds.

  qpsbgd report runs                     writes runs/report.html
  qpsbgd report . --out all.html         of all folders below this one

Files of runs that are broken are left out and named, and the exit status is 1.
"""


def add(commands: Subparsers) -> None:
    """Declare the command."""
    commands.add_parser(
        "report",
        help="build one HTML page of all finished runs",
        description=_DESCRIPTION,
        declare=_declare,
    )


def _declare(report: Parser) -> None:
    report.add_argument("folder", type=Path, metavar="DIR", help="what --out of train was, or a folder above")
    report.add_argument("--out", type=Path, metavar="FILE", help="the page (default: DIR/report.html)")
    report.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Write the page of the runs that can be read; raise at the end if some cannot."""
    from qpsbgd.data.files import atomic_write
    from qpsbgd.experiments import EXPERIMENTS
    from qpsbgd.experiments.core.store import read_records
    from qpsbgd.report import page

    target: Path = arguments.out or arguments.folder / "report.html"
    left_out: list[str] = []

    def leave_out(error: ValueError | OSError) -> None:
        left_out.append(one_line(error))
        print(f"qpsbgd: left out: {left_out[-1]}", file=sys.stderr)

    records = read_records(arguments.folder, on_broken=leave_out)
    text = page(records, EXPERIMENTS, left_out)
    with atomic_write(target) as file:
        # A file name may have bytes that are no text.
        file.write(text.encode("utf-8", "replace"))
    print(f"report: {target}")
    if left_out:
        raise ValueError(f"{len(left_out)} files of runs are broken; the report has the other {len(records)}")
