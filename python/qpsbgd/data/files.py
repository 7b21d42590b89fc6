"""Writing files so that a reader sees either the old content or the new one, never a part of it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["atomic_write", "replace_durably"]


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path` that takes its place when the block ends without an error.

    Parameters
    ----------
    path : path
        File to write; missing folders above it are made.

    Yields
    ------
    binary file
        Open for writing. If the block raises, the temporary file is removed and `path` stays as it was.

    Raises
    ------
    OSError
        If the folder or the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_write(Path(folder) / "note.txt") as file:
    ...         _ = file.write(b"whole")
    ...     (Path(folder) / "note.txt").read_text()
    'whole'
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    # Mode "x" creates the file with the permissions of every new file: the system itself applies the umask.
    # A process has one umask for all its threads, so this code neither reads nor changes it.
    file = temporary.open("xb")
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        replace_durably(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def replace_durably(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Rename `source` to `target` in the same folder, so that the rename survives a power cut.

    Parameters
    ----------
    source, target : path
        Files of one folder; the content of `source` must be on disk already (``os.fsync``).

    Raises
    ------
    OSError
        If the file system refuses the rename.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "a").write_text("x")
    ...     replace_durably(Path(folder) / "a", Path(folder) / "b")
    ...     [entry.name for entry in Path(folder).iterdir()]
    ['b']
    """
    Path(source).replace(target)
    if hasattr(os, "O_DIRECTORY"):  # Windows cannot open a folder; its rename needs no second step
        folder = os.open(Path(target).parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
