"""The command line: ``qpsbgd demo``, ``train``, ``report``, ``solve`` and ``info``.

One module a command: ``add`` declares its arguments, ``run`` does it. A module that takes long to import is
imported by the ``run`` that needs it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line: see `qpsbgd.cli.program.main`.

    The program is imported here, so Ctrl-C while Python reads its modules is no traceback either.

    Examples
    --------
    >>> main(["train", "no-such-task"])
    2
    """
    try:
        from qpsbgd.cli import program

        return program.main(argv)
    except KeyboardInterrupt:
        print("qpsbgd: interrupted", file=sys.stderr)
        return 130
