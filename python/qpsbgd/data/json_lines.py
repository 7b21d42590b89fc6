"""A file of JSON objects, one a line, that grows while long work goes on and survives its end."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from qpsbgd.data.files import locked, open_without_links
from qpsbgd.data.reading import BrokenFileError

__all__ = ["JsonLines"]


class JsonLines:
    r"""Read what is there, then add whole lines, each on the disk before the next.

    A last line that was cut off, as by a kill or a full disk, is removed. While the file is open, no other
    process that opens it this way adds to it.

    Parameters
    ----------
    path : path
        The file; it is made, with its folders, if it is missing.

    Raises
    ------
    BrokenFileError
        If another line than the last is no JSON object; the file stays as it is.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "results.jsonl"
    ...     _ = path.write_text('{"a": 1}\n{"a": 2, "b"')
    ...     with JsonLines(path) as lines:
    ...         lines.add({"a": 3})
    ...     path.read_text()
    '{"a": 1}\n{"a": 3}\n'
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self.records: list[dict[str, Any]] = []

    def __enter__(self) -> JsonLines:
        """Open the file, lock it, and read its records."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open_without_links(self._path)
        self._lock = locked(self._file)
        self._lock.__enter__()
        try:
            self._read()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Unlock and close the file."""
        self._lock.__exit__(kind, error, trace)
        self._file.close()

    def _read(self) -> None:
        self._file.seek(0)
        content = self._file.read()
        lines = content.split(b"\n")
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line) if line.strip() else None
            except ValueError:
                record = ...
            if number == len(lines):  # without a line end: cut off, unless it is empty
                self._file.truncate(len(content) - len(line))
            elif isinstance(record, dict):
                self.records.append(record)
            elif record is not None:
                raise BrokenFileError(self._path, f", line {number}: it is no JSON object")

    def add(self, record: dict[str, Any]) -> None:
        """Write one line, and wait until it is on the disk."""
        self.records.append(record)
        self._file.seek(0, os.SEEK_END)
        rest = memoryview(json.dumps(record).encode() + b"\n")
        while rest:
            rest = rest[self._file.write(rest) :]
        os.fsync(self._file.fileno())
