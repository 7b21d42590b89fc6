"""Writing files so that a reader sees either the old content or the new one, never a part of it.

An `OSError` of a failed write names the file that was to be written: the system's own error of a full disk
names none, and a temporary file's name tells the reader nothing.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = [
    "atomic_write",
    "check_writable",
    "exclusive",
    "locked",
    "open_with_flags",
    "open_without_links",
    "replace_durably",
]


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
        If the folder or the file cannot be written; it names `path`.

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
    try:
        # Mode "x" creates the file with the permissions of every new file: the system itself applies the
        # umask. A process has one umask for all its threads, so this code neither reads nor changes it.
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        replace_durably(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.errno and error.filename in (None, str(temporary)):
            raise OSError(error.errno, error.strerror, str(target)) from None
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
        folder: list[int] = []
        try:
            _open_into(folder, Path(target).parent, os.O_RDONLY | os.O_DIRECTORY)
            os.fsync(folder[0])
        finally:
            for handle in folder:
                os.close(handle)


def open_with_flags(path: str | os.PathLike[str], mode: str, flags: int) -> io.FileIO:
    """Open a file, unbuffered, with flags of the system's; an interrupt leaves none open.

    Examples
    --------
    >>> with open_with_flags(os.devnull, "rb", os.O_RDONLY) as file:
    ...     file.read()
    b''
    """
    handles, files = list[int](), list[io.FileIO]()
    try:
        _open_into(handles, path, flags)
        files.extend(map(io.FileIO, handles, (mode,)))  # from here on the file closes it
        return files[0]
    except OSError as error:
        error.filename = os.fspath(path)
        raise
    finally:
        for handle in handles if not files else ():
            os.close(handle)


def _open_into(handles: list[int], path: str | os.PathLike[str], flags: int) -> None:
    """Open a file, and add its number to a list by one call into C: no interrupt comes in between."""
    handles.extend(map(os.open, (path,), (flags,), (0o666,)))


def check_writable(folder: str | os.PathLike[str]) -> None:
    """Raise unless files can be made in a folder, so that hours of work do not end in an error.

    Parameters
    ----------
    folder : path
        The folder; it is made if it is missing.

    Raises
    ------
    OSError
        If the folder cannot be made or written; it names the folder.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     check_writable(folder)
    """
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    probe = path / f".probe.{secrets.token_hex(8)}"
    try:
        # One block: a full disk still makes empty files.
        with probe.open("xb") as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


@contextmanager
def exclusive(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Hold a folder's lock: of all processes and threads that ask for it, one at a time is in the block.

    The lock is the file ``.lock`` of the folder. The system frees it when its holder ends, however it ends.
    Where the system or the file system has no such locks, the block runs without one.

    Parameters
    ----------
    folder : path
        The folder; it is made if it is missing.

    Raises
    ------
    OSError
        If the lock file cannot be made.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, exclusive(folder):
    ...     [entry.name for entry in Path(folder).iterdir()]
    ['.lock']
    """
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    with open_without_links(path / ".lock") as file, locked(file):
        yield


@contextmanager
def locked(file: BinaryIO | io.FileIO) -> Iterator[None]:
    """Hold the lock of an open file; a no-op where there are no advisory locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with contextlib.suppress(OSError):  # some network file systems have no locks
        fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)


def open_without_links(path: str | os.PathLike[str]) -> io.FileIO:
    """Open a file to read and to append, unbuffered; a link or a pipe of that name is removed first.

    A link would lead the writes into a file that someone else chose.

    Parameters
    ----------
    path : path
        The file; it is made if it is missing.

    Returns
    -------
    binary file
        An ordinary file that no other name leads to.

    Raises
    ------
    OSError
        If it cannot be opened.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, open_without_links(Path(folder) / "a") as file:
    ...     file.write(b"xy")
    2
    """
    name = Path(path)
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
    for optional in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, optional, 0)
    for _attempt in range(2):
        with contextlib.suppress(FileNotFoundError):
            if not _is_plain(os.lstat(name)):
                name.unlink()
        file = open_with_flags(name, "ab+", flags)
        # What was opened decides: the name may have changed since it was looked at.
        if _is_plain(os.fstat(file.fileno())):
            return file
        file.close()
    raise FileExistsError(errno.EEXIST, "it is a link or no ordinary file", str(name))


def _is_plain(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) and status.st_nlink <= 1
