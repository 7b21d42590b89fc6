"""What all commands need to read their arguments: the parser, and the types of numbers."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Protocol

__all__ = [
    "BAD_USE",
    "BadUseError",
    "Parser",
    "Subparsers",
    "count",
    "duration",
    "name_among",
    "number",
    "seed",
]

BAD_USE = 2
"""Exit status of a command line that was not understood."""


class Parser(argparse.ArgumentParser):
    """Argument parser whose error message is a single line.

    Parameters
    ----------
    declare : function of a Parser, optional
        Adds the arguments when the first command line is read, so that a command costs the others nothing.
    """

    def __init__(self, *args: Any, declare: Callable[[Parser], None] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._declare = declare

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Read a command line; arguments that are unknown are returned."""
        if self._declare is not None:
            declare, self._declare = self._declare, None
            declare(self)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and how to get help, and exit."""
        self.exit(BAD_USE, f"qpsbgd: error: {message} (see {self.prog} --help)\n")


class Subparsers(Protocol):
    """What ``add_subparsers`` returns; argparse has no public name for it."""

    def add_parser(
        self, name: str, *, help: str, declare: Callable[[Parser], None] | None = ..., **texts: Any
    ) -> Parser:
        """Add a command."""


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


def name_among(names: Sequence[str]) -> Callable[[str], str]:
    """Make the type of an argument that is one of many names; the error lists those that are near.

    Examples
    --------
    >>> name_among(["mnist", "adult"])("mnist")
    'mnist'
    """

    def name(text: str) -> str:
        if text in names:
            return text
        near = difflib.get_close_matches(text, names, 3)
        hint = f"did you mean {' or '.join(near)}?" if near else "--help lists them"
        raise argparse.ArgumentTypeError(f"{text!r} is none of the {len(names)} names; {hint}")

    return name


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
