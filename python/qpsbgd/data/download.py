"""Fetching one file from its mirrors: checked, atomic and resumable.

The bytes go to ``<name>.part`` beside the target. A transfer that breaks is resumed where it ended, on the
same mirror or on the next one. Only a file of the right size and SHA-256 gets the final name.

Whatever a mirror does wrong, the next one is asked; a mirror that is too slow is given up. Whatever the disk
does wrong ends the download at once.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import urllib.error
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from qpsbgd.data.files import locked, open_without_links, replace_durably
from qpsbgd.data.http import Deadline, open_url
from qpsbgd.data.progress import ProgressBar

__all__ = ["DownloadError", "RemoteFile", "fetch"]

_CHUNK_BYTES = 1 << 16
_ATTEMPTS_PER_MIRROR = 3
_PARTIAL_CONTENT = 206
_RANGE_NOT_SATISFIABLE = 416
_HEADERS = {"User-Agent": "qpsbgd", "Accept-Encoding": "identity"}


class DownloadError(OSError):
    """No mirror gave the file, or a file on disk is not the one it should be."""


@dataclass(frozen=True)
class RemoteFile:
    """A public file: where it lies and how to know it.

    Attributes
    ----------
    urls : tuple of str
        Mirrors, tried in this order.
    sha256 : str
        SHA-256 of the content, 64 hexadecimal digits.
    size : int
        Length in bytes.
    """

    urls: tuple[str, ...]
    sha256: str
    size: int


def fetch(remote: RemoteFile, target: str | os.PathLike[str], *, timeout: float = 30.0) -> Path:
    """Return the path of `remote`'s verified copy at `target`, downloading it if there is none.

    Parameters
    ----------
    remote : RemoteFile
        What to fetch.
    target : path
        Where the copy belongs; missing folders above it are made.
    timeout : float
        Seconds to wait for an answer of a mirror before the next one is tried. Each further stretch of that
        time must bring `qpsbgd.data.http.MINIMUM_RATE` bytes a second.

    Returns
    -------
    Path
        `target`.

    Raises
    ------
    DownloadError
        If a file at `target` is not the right one, or no mirror gives the right one.
    OSError
        If the disk is full or refuses to be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     origin = Path(folder) / "origin"
    ...     _ = origin.write_bytes(b"abc")
    ...     remote = RemoteFile((origin.as_uri(),), hashlib.sha256(b"abc").hexdigest(), 3)
    ...     fetch(remote, Path(folder) / "copy").read_bytes()
    b'abc'
    """
    path = Path(target)
    if path.exists():
        _check_present(path, remote)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with open_without_links(part) as file, locked(file):
        if path.exists():  # another process has finished it while this one waited
            _check_present(path, remote)
            part.unlink(missing_ok=True)
            return path
        try:
            _download(remote, file, path.name, timeout)
        except _DiskError as error:
            raise OSError(error.cause.errno, error.cause.strerror, str(part)) from None
        os.fsync(file.fileno())
        replace_durably(part, path)
    return path


def _check_present(path: Path, remote: RemoteFile) -> None:
    with path.open("rb") as file:
        problem = _difference(file, remote)
    if problem is not None:
        raise DownloadError(f"{path} is corrupt: {problem}; delete it to download it again")


def _difference(file: BinaryIO, remote: RemoteFile) -> str | None:
    """Return how the open file differs from the expected one; None if it does not."""
    size = file.seek(0, os.SEEK_END)
    if size != remote.size:
        return f"it has {size} bytes, expected {remote.size}"
    digest = hashlib.sha256()
    file.seek(0)
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
    if digest.hexdigest() != remote.sha256:
        return f"its sha256 is {digest.hexdigest()}, expected {remote.sha256}"
    return None


def _download(remote: RemoteFile, file: BinaryIO, name: str, timeout: float) -> None:
    """Fill `file` from the first mirror that leads to the right content."""
    failures = []
    with ProgressBar(remote.size, name, unit="B") as bar:
        for url in remote.urls:
            for _attempt in range(_ATTEMPTS_PER_MIRROR):
                resumed_at = file.seek(0, os.SEEK_END)
                failure = _transfer(url, remote, file, bar, timeout)
                if failure is None:
                    failure = _difference(file, remote)
                    if failure is None:
                        return
                    file.truncate(0)  # whole but wrong: nothing of it can be kept
                failures.append(f"{url}: {failure}")
                if file.seek(0, os.SEEK_END) == resumed_at:
                    break  # asking this mirror again would give the same
    raise DownloadError(f"cannot download {name}: " + "; ".join(failures))


def _transfer(url: str, remote: RemoteFile, file: BinaryIO, bar: ProgressBar, timeout: float) -> str | None:
    """Append the missing bytes to `file`; return the reason if that failed, else None."""
    have = file.seek(0, os.SEEK_END)
    if have >= remote.size:  # an earlier call left a whole file, or too much: the checksum decides
        if have == remote.size and _difference(file, remote) is None:
            return None
        file.truncate(0)
        have = 0
    headers = {**_HEADERS, "Range": f"bytes={have}-"} if have else _HEADERS
    deadline = Deadline(timeout)
    try:
        with open_url(url, headers, deadline) as response:
            if have and not _continues_at(response, have, remote.size):
                # The server sends the whole file, or the rest of another one.
                file.truncate(0)
                if response.status == _PARTIAL_CONTENT:
                    return f"the server's range does not continue at byte {have} of {remote.size}"
                have = 0
            bar.move_to(have)
            _copy(response, file, remote.size, bar, deadline)
    except urllib.error.HTTPError as error:
        if error.code == _RANGE_NOT_SATISFIABLE:
            file.truncate(0)
        return f"HTTP {error.code} {error.reason}"
    except urllib.error.URLError as error:
        return str(error.reason)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    have = file.seek(0, os.SEEK_END)
    return None if have >= remote.size else f"the transfer ended after {have} of {remote.size} bytes"


def _continues_at(response: Any, start: int, size: int) -> bool:
    if response.status != _PARTIAL_CONTENT:
        return False
    shown = response.headers.get("Content-Range", "").strip()
    return re.fullmatch(rf"bytes {start}-[0-9]+/({size}|\*)", shown) is not None


def _copy(response: Any, file: BinaryIO, size: int, bar: ProgressBar, deadline: Deadline) -> None:
    position = file.seek(0, os.SEEK_END)
    while position <= size:  # one byte too many is enough to know that it is another file
        chunk = response.read1(_CHUNK_BYTES)
        if not chunk:
            return
        _append(file, chunk)
        position += len(chunk)
        deadline.received(len(chunk))
        bar.advance(len(chunk))


class _DiskError(Exception):
    """The disk failed: no mirror can help."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


def _append(file: BinaryIO, chunk: bytes) -> None:
    rest = memoryview(chunk)
    try:
        while rest:  # an unbuffered file may take a part only
            rest = rest[file.write(rest) :]
    except OSError as error:
        raise _DiskError(error) from None
