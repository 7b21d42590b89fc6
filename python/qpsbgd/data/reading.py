"""Reading files that may be broken or hostile: in bounded memory, with one kind of error that names the file.

A reader takes three steps.

1. `read_bounded` reads the bytes. No other step touches the disk.
2. `parsing` runs a parser over the bytes, so whatever the parser raises is the content's fault.
3. Every size that the content states is compared with a limit before memory of that size is asked for.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qpsbgd.data.files import open_with_flags

__all__ = ["BrokenFileError", "parsing", "read_bounded", "read_json", "shown"]

_CHUNK_BYTES = 1 << 20
_SHOWN_CHARACTERS = 60


class BrokenFileError(ValueError):
    """A file does not hold what it should.

    Parameters
    ----------
    path : path
        The file.
    problem : str
        What is wrong, as the rest of a sentence that starts with the file's name; ``", line 3: ..."`` too.

    Examples
    --------
    >>> str(BrokenFileError("a.json", "is no record: it has no 'seed'"))
    "a.json is no record: it has no 'seed'"
    """

    def __init__(self, path: str | os.PathLike[str], problem: str) -> None:
        space = "" if problem.startswith(",") else " "
        super().__init__(f"{os.fspath(path)}{space}{problem}")
        self.path = Path(path)
        self.problem = problem

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the two arguments, not the one message."""
        return type(self), (self.path, self.problem)


def shown(text: object) -> str:
    r"""Quote text from a file for a message: no control characters, and not more than fits a line.

    Examples
    --------
    >>> shown("1 2" + chr(27))
    "'1 2\\x1b'"
    >>> len(shown("x" * 1000))
    65
    """
    quoted = str(text)
    if len(quoted) > _SHOWN_CHARACTERS:
        return repr(quoted[:_SHOWN_CHARACTERS]) + "..."
    return repr(quoted)


def read_bounded(path: str | os.PathLike[str], limit: int) -> bytes:
    """Read a whole file of at most `limit` bytes.

    Parameters
    ----------
    path : path
        The file.
    limit : int
        Bytes that it may have.

    Raises
    ------
    BrokenFileError
        If it has more.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "a").write_bytes(b"abc")
    ...     read_bounded(Path(folder) / "a", 3)
    b'abc'
    """
    content = bytearray()
    # Without O_NONBLOCK a pipe in the file's place would be waited for.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with open_with_flags(path, "rb", flags) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise BrokenFileError(path, "is no ordinary file")
        # Piece by piece, until the limit and one byte: the size that the system tells may be wrong.
        while len(content) <= limit:
            piece = file.read(min(_CHUNK_BYTES, limit + 1 - len(content)))
            if not piece:
                return bytes(content)
            content += piece
    raise BrokenFileError(path, f"has more than {limit:,} bytes")


@contextmanager
def parsing(path: str | os.PathLike[str], problem: str) -> Iterator[None]:
    """Turn what a parser of untrusted bytes raises into `BrokenFileError`.

    Parsers of numpy, zipfile, gzip, json and torch raise some dozen types. Only parsing belongs into the
    block, no reading of files: an error of the disk is not the content's fault. A lack of memory is not
    either, so `MemoryError` passes.

    Parameters
    ----------
    path : path
        Where the bytes come from.
    problem : str
        ``"is corrupt"``, ``"is no record of a run"``, ...

    Examples
    --------
    >>> with parsing("a.json", "is no JSON"):
    ...     json.loads("[")
    Traceback (most recent call last):
    qpsbgd.data.reading.BrokenFileError: a.json is no JSON: Expecting value: line 1 column 2 (char 1)
    """
    try:
        yield
    except (BrokenFileError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BrokenFileError(path, f"{problem}: {reason[:300]}") from None


def read_json(path: str | os.PathLike[str], limit: int, problem: str) -> Any:
    """Read a JSON file of at most `limit` bytes.

    Parameters
    ----------
    path : path
        The file.
    limit : int
        Bytes that it may have.
    problem : str
        As for `parsing`.

    Raises
    ------
    BrokenFileError
        If it is larger or no JSON.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "a").write_text("[1]")
    ...     read_json(Path(folder) / "a", 100, "is no JSON")
    [1]
    """
    content = read_bounded(path, limit)
    with parsing(path, problem):
        return json.loads(content.decode("utf-8"))
