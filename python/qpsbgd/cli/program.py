"""The program ``qpsbgd``: finds the command, runs it, and turns errors into one line and an exit status."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence

from qpsbgd import __version__
from qpsbgd.cli import bench, completion, data, demo, info, report, solve, train
from qpsbgd.cli.arguments import BAD_USE, EXIT_STATUS, BadUseError, Parser, Subparsers
from qpsbgd.cli.messages import one_line

__all__ = ["main"]

_FAILED, _INTERRUPTED = 1, 130

_DESCRIPTION = """\
Train binary neural networks by QUBO-projected gradients; solve QUBO, Ising and Max-Cut files.

  qpsbgd demo                              train on handwritten digits, beside two other optimizers
  qpsbgd train mnist --seeds 5 --out runs  an experiment; started again, it goes on where it stopped
  qpsbgd report runs                       one page of all finished runs
  qpsbgd solve G1.txt --time-limit 10      the best solution of a file
  qpsbgd bench G1.txt                      the same file by the other solvers that are installed
  qpsbgd COMMAND --help                    what a command takes, with more examples
"""


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
        status = _run(argv)
    except BrokenPipeError:
        status = _FAILED  # the reader of our output has gone
    if not _is_flushed():
        status = status or _FAILED
    return status


def _run(argv: Sequence[str] | None) -> int:
    """Run the command; print the error if it fails."""
    try:
        arguments = _parser().parse_args(argv)
        arguments.run(arguments)
        sys.stdout.flush()
    except SystemExit as end:  # argparse has printed the reason
        return int(end.code or 0)
    except BadUseError as error:
        print(f"qpsbgd: error: {one_line(error)}", file=sys.stderr)
        return BAD_USE
    except KeyboardInterrupt:
        print("qpsbgd: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        raise
    except MemoryError:
        print("qpsbgd: error: there is not enough memory", file=sys.stderr)
        return _FAILED
    except (OSError, ValueError, ArithmeticError, ModuleNotFoundError) as error:
        print(f"qpsbgd: error: {one_line(error)}", file=sys.stderr)
        return _FAILED
    return 0


def _is_flushed() -> bool:
    """Write what is left of the output; where that fails, see to it that it does not fail again at exit."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True


def _parser() -> Parser:
    parser = Parser(
        prog="qpsbgd",
        description=_DESCRIPTION,
        epilog=EXIT_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"qpsbgd {__version__}")
    commands = Subparsers(parser)
    for command in (demo, train, report, solve, bench, data, completion, info):
        command.add(commands)
    return parser
