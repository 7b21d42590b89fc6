"""``qpsbgd data``: files that cannot be downloaded are made from their public form."""

from __future__ import annotations

import argparse
from pathlib import Path

from qpsbgd.cli.arguments import BadUseError, Parser, Subparsers

__all__ = ["add", "run"]

_DESCRIPTION = """\
Make planetoid/NAME.npz, which "qpsbgd train cora" reads, from the public files of Planetoid: ind.NAME.x, .y,
.tx, .ty, .allx, .ally, .graph and .test.index, all in one folder. They are pickles, which can run any code
when Python loads them; here they are read as data, and nothing in them is run.

  qpsbgd data cora ~/planetoid/data
  qpsbgd data pubmed ~/planetoid/data --data-dir ~/data      then: qpsbgd train pubmed --data-dir ~/data

All other data sets are downloaded when they are first used.
"""


def add(commands: Subparsers) -> None:
    """Declare the command."""
    commands.add_parser(
        "data",
        help="make the file of a citation network from its public form",
        description=_DESCRIPTION,
        declare=_declare,
    )


def _declare(data: Parser) -> None:
    data.add_argument("name", choices=["cora", "pubmed"], metavar="NAME", help="cora or pubmed")
    data.add_argument("folder", type=Path, metavar="FOLDER", help="has the files ind.NAME.x, ...")
    data.add_argument(
        "--data-dir",
        type=Path,
        metavar="D",
        help="folder of data files (default: $QPSBGD_DATA, else a cache folder)",
    )
    data.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Convert the files, read the result, and print what it holds."""
    from qpsbgd.data.graphs import planetoid
    from qpsbgd.data.planetoid_files import convert_planetoid

    if arguments.data_dir is not None and not arguments.data_dir.is_dir():
        raise BadUseError(f"--data-dir {arguments.data_dir} is no folder")
    path = convert_planetoid(arguments.name, arguments.folder, arguments.data_dir)
    graph = planetoid(arguments.name, arguments.data_dir)
    print(
        f"{path}: {len(graph.labels)} nodes, {graph.edge_index.shape[1] // 2} edges, "
        f"{graph.features.shape[1]} features, {graph.num_classes} classes"
    )
