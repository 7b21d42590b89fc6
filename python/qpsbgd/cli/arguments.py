"""What all commands need to read their arguments: the parser, and the types of numbers."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

__all__ = [
    "BAD_USE",
    "EXIT_STATUS",
    "BadUseError",
    "NameAmong",
    "Parser",
    "Subparsers",
    "count",
    "duration",
    "number",
    "seed",
]

BAD_USE = 2
"""Exit status of a command line that was not understood."""

EXIT_STATUS = "exit status: 0; 1 if the command failed; 2 if it was not understood; 130 after Ctrl-C"
"""The last line of every help."""


class Parser(argparse.ArgumentParser):
    """Argument parser whose error message is a single line.

    Parameters
    ----------
    declare : function of a Parser, optional
        Adds the arguments when the first command line is read, so that a command costs the others nothing.
    """

    def __init__(self, *args: Any, declare: Callable[[Parser], None] | None = None, **kwargs: Any) -> None:
        self.declared: list[argparse.Action] = []  # argparse itself adds --help
        self.offered: dict[str, tuple[str, ...]] = {}  # names for shell completion that are checked later
        super().__init__(*args, **kwargs)
        self._declare = declare

    def add_argument(self, *args: Any, **kwargs: Any) -> argparse.Action:
        """Add an argument, and remember it for shell completion."""
        action = super().add_argument(*args, **kwargs)
        self.declared.append(action)
        return action

    def declare(self) -> None:
        """Add the arguments, if they are not there yet."""
        if self._declare is not None:
            declare, self._declare = self._declare, None
            declare(self)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Read a command line; arguments that are unknown are returned."""
        self.declare()
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and how to get help, and exit."""
        self.exit(BAD_USE, f"qpsbgd: error: {message} (see {self.prog} --help)\n")


class Subparsers:
    """The commands of a parser; every one's help ends with what its exit status means.

    Parameters
    ----------
    parser : Parser
        The program's.

    Attributes
    ----------
    commands : dict of str to Parser
        Those added so far, by their names.
    summaries : dict of str to str
        What each does, in a few words.
    """

    def __init__(self, parser: Parser) -> None:
        self._subparsers = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
        self.commands: dict[str, Parser] = {}
        self.summaries: dict[str, str] = {}

    def add_parser(
        self,
        name: str,
        *,
        help: str,
        description: str | None = None,
        declare: Callable[[Parser], None] | None = None,
    ) -> Parser:
        """Add a command.

        Parameters
        ----------
        name : str
            What the user types.
        help : str
            What it does, in a few words.
        description : str, optional
            Lines at the start of its help; `help` if not given.
        declare : function of a Parser, optional
            Adds its arguments, see `Parser`.
        """
        made: Parser = self._subparsers.add_parser(
            name,
            help=help,
            description=help if description is None else description,
            epilog=EXIT_STATUS,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            declare=declare,
        )
        self.commands[name] = made
        self.summaries[name] = help
        return made


class BadUseError(Exception):
    """The user asks for something that does not exist."""


def count(text: str) -> int:
    """Read a whole number of at least 1.

    Examples
    --------
    >>> count("3")
    3
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def seed(text: str) -> int:
    """Read a seed.

    Examples
    --------
    >>> seed("0")
    0
    """
    if not text.isdecimal() or int(text) >= 2**64:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 2**64 - 1")
    return int(text)


def duration(text: str) -> float:
    """Read a positive number of seconds.

    Examples
    --------
    >>> duration("0.5")
    0.5
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return value


class NameAmong:
    """The type of an argument that is one of many names; the error lists those that are near.

    Parameters
    ----------
    names : sequence of str
        All of them. Shell completion offers them.

    Examples
    --------
    >>> NameAmong(["mnist", "adult"])("mnist")
    'mnist'
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)

    def __call__(self, text: str) -> str:
        """Return the name, or raise."""
        if text in self.names:
            return text
        near = difflib.get_close_matches(text, self.names, 3)
        hint = f"did you mean {' or '.join(near)}?" if near else "--help lists them"
        raise argparse.ArgumentTypeError(f"{text!r} is none of the {len(self.names)} names; {hint}")


def number(text: str) -> float:
    """Read a finite number.

    Examples
    --------
    >>> number("-1410")
    -1410.0
    """
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number")
    return value
