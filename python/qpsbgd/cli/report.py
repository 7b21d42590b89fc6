"""``qpsbgd report``: one HTML page of all finished runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from qpsbgd.cli.arguments import Subparsers
from qpsbgd.experiments import EXPERIMENTS

__all__ = ["add", "run"]


def add(commands: Subparsers) -> None:
    """Declare the command."""
    report = commands.add_parser(
        "report",
        help="build one HTML page of all finished runs",
        description="Build one HTML page, readable offline, of all finished runs below DIR: tables with "
        "paired differences, learning curves, settings, versions and seeds.",
    )
    report.add_argument("folder", type=Path, metavar="DIR", help="what --out of train was, or a folder above")
    report.add_argument("--out", type=Path, metavar="FILE", help="the page (default: DIR/report.html)")
    report.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Write the page."""
    from qpsbgd.data.files import atomic_write
    from qpsbgd.experiments.core.store import read_records
    from qpsbgd.report import page

    target: Path = arguments.out or arguments.folder / "report.html"
    text = page(read_records(arguments.folder), EXPERIMENTS)
    with atomic_write(target) as file:
        file.write(text.encode())
    print(f"report: {target}")
