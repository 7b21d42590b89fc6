"""Lines of numbers from text, refused by the line."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from qpsbgd import _core
from qpsbgd.data.reading import BrokenFileError, shown

__all__ = ["MAX_LINE", "NumberLines", "refuse_line", "too_long"]

MAX_LINE = 1024
"""Characters that a line may have."""


class NumberLines(NamedTuple):
    """The numbers of a text, and where the lines that are not blank begin.

    Attributes
    ----------
    numbers : float64 array
        All numbers in order.
    first : int64 array (lines,)
        Place of each line's first number.
    length : int64 array (lines,)
        Numbers of each line.
    line : int64 array (lines,)
        Number of each line in the file, from 1.
    """

    numbers: npt.NDArray[np.float64]
    first: npt.NDArray[np.int64]
    length: npt.NDArray[np.int64]
    line: npt.NDArray[np.int64]

    @classmethod
    def parse(cls, file: Path, text: bytes, line: int, expected: str) -> NumberLines:
        r"""Parse a text whose first line is number `line` of the file.

        Raises
        ------
        BrokenFileError
            If something is no finite number, or a line is too long; it names the line and what was
            `expected`.

        Examples
        --------
        >>> lines = NumberLines.parse(Path("a"), b"1 2\n\n-3.5e1\n", 1, "numbers")
        >>> lines.numbers.tolist(), lines.length.tolist(), lines.line.tolist()
        ([1.0, 2.0, -35.0], [2, 1], [1, 3])
        """
        newlines = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n"))
        lengths = np.diff(newlines, prepend=-1, append=len(text)) - 1
        if lengths.max() > MAX_LINE:
            raise too_long(file, line + int(np.argmax(lengths > MAX_LINE)))
        numbers, length, at, bad = _core.parse_number_lines(text)
        if bad >= 0:
            refuse_line(file, line + bad, text.split(b"\n")[bad], expected)
        return cls(numbers, np.cumsum(length) - length, length, at + line)


def too_long(file: Path, line: int) -> BrokenFileError:
    """Return the error about a line that is too long."""
    return BrokenFileError(file, f", line {line}: it has more than {MAX_LINE} characters")


def refuse_line(file: Path, line: int, found: bytes, expected: str) -> NoReturn:
    """Raise about a line that is not what was expected."""
    words = shown(" ".join(found.decode("utf-8", "replace").split()))
    raise BrokenFileError(file, f", line {line}: found {words}, expected {expected}")
