"""Finished runs in a folder.

A finished run is one JSON file, named by a hash of all that defines the run. So a finished run is not done
again. An interrupted experiment goes on where it stopped, in any order and from several processes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from qpsbgd.data.files import atomic_write, exclusive
from qpsbgd.data.reading import BrokenFileError, parsing, read_bounded, read_json
from qpsbgd.experiments.core.fields import Fields
from qpsbgd.experiments.core.record import Job, Record

__all__ = ["Job", "Record", "Store", "read_records", "weights_as_bytes"]

_FOLDER = "records"
_NO_RECORD = "is no record of a run"
_MAX_RECORD_BYTES = 1 << 24
_MAX_WEIGHTS_BYTES = 1 << 32


class Store:
    """The finished runs of a folder.

    Parameters
    ----------
    folder : path
        Files go to its subfolder ``records``.
    keep_weights : bool
        Also keep the networks of runs on the test split. A run whose network was not kept counts as
        unfinished.
    """

    def __init__(self, folder: str | os.PathLike[str], *, keep_weights: bool = False) -> None:
        self.folder = Path(folder) / _FOLDER
        self.keep_weights = keep_weights

    def size(self) -> int:
        """Count the finished runs."""
        return len(list(self.folder.glob("*.json")))

    def find(self, job: Job) -> Record | None:
        """Return the record of a job that is finished, with weights where they are kept; else None.

        Raises
        ------
        ValueError
            If its file is there but is not a record of this job; it names the file.
        OSError
            If a file cannot be read.
        """
        path = self._path(job)
        if not path.exists():
            return None
        content, record = _read(path)
        with parsing(path, _NO_RECORD):
            fields = Fields(content)
            if fields.text("key") != job.key:
                raise ValueError(f"'key' is {content['key']!r}, expected {job.key!r}")
            has_weights = fields.flag("weights")
        if (record.optimizer, record.seed, record.split) != (job.optimizer, job.seed, job.split):
            raise BrokenFileError(path, f"{_NO_RECORD} of its name: its optimizer, seed or split differs")
        if not (self.keep_weights and job.split == "test" and has_weights):
            return record
        weights = path.with_suffix(".pt")
        if record.run is None or not weights.exists():
            return None
        packed = read_bounded(weights, _MAX_WEIGHTS_BYTES)
        # The digest joins the two files: they may come from two processes, one of them killed in between.
        if content.get("weights_sha256", _digest(packed)) != _digest(packed):
            return None
        kept = _weights_from_bytes(packed, weights)
        return dataclasses.replace(record, run=dataclasses.replace(record.run, weights=kept))

    def keep(self, job: Job, record: Record) -> Record:
        """Write the record of a job, whole or not at all, after its weights.

        Of several processes that finish the same job the first one counts.

        Returns
        -------
        Record
            The one that counts.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        path = self._path(job)
        weights = {} if record.run is None else dict(record.run.weights)
        content = {"format": None, "key": job.key, **record.to_json(), "weights": bool(weights)}
        packed = weights_as_bytes(weights) if weights and self.keep_weights and job.split == "test" else None
        if packed is not None:
            content["weights_sha256"] = _digest(packed)
        text = json.dumps(content, indent=1, allow_nan=False) + "\n"
        with exclusive(self.folder):
            before = self.find(job)
            if before is not None:
                return before
            if packed is not None:
                with atomic_write(path.with_suffix(".pt")) as file:
                    file.write(packed)
            with atomic_write(path) as file:
                file.write(text.encode())
        return record

    def _path(self, job: Job) -> Path:
        return self.folder / f"{job.task.name}-{job.optimizer}-{job.split}-{job.seed}-{job.key}.json"


def read_records(
    folder: str | os.PathLike[str],
    *,
    on_broken: Callable[[ValueError | OSError], None] | None = None,
) -> list[Record]:
    """Read all finished runs below a folder, in the order of their file names.

    Parameters
    ----------
    folder : path
        The folder.
    on_broken : function, optional
        Called with the error of each file that is left out because it is no record or cannot be read.
        Without it such a file is an error.

    Raises
    ------
    ValueError
        If there are none, or a file is not a record of a run; the message names file and field.
    OSError
        If a file cannot be read.
    """
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"{os.fspath(folder)} is no folder")
    paths = sorted(Path(folder).rglob(f"{_FOLDER}/*.json"))
    records = []
    for path in paths:
        try:
            records.append(_read(path)[1])
        except (BrokenFileError, OSError) as error:
            if on_broken is None:
                raise
            on_broken(error)
    if not records:
        raise ValueError(f"there are no finished runs in {folder}: qpsbgd train writes them")
    return records


def weights_as_bytes(weights: Mapping[str, torch.Tensor]) -> bytes:
    """Return the content of a weights file.

    torch writes into memory, and the caller to the disk: on a full disk torch raises a `RuntimeError` of many
    lines.
    """
    packed = io.BytesIO()
    torch.save(dict(weights), packed)
    return packed.getvalue()


def _weights_from_bytes(packed: bytes, path: Path) -> dict[str, torch.Tensor]:
    with parsing(path, "is no file of weights"):
        if not packed.startswith(b"PK"):  # the older form of such files states its own sizes
            raise ValueError("it is no zip archive")
        weights = torch.load(io.BytesIO(packed), map_location="cpu", weights_only=True)
        if not isinstance(weights, dict):
            raise ValueError(f"it holds {type(weights).__name__}, expected a dictionary of tensors")
        for name, tensor in weights.items():
            if not (isinstance(name, str) and isinstance(tensor, torch.Tensor) and _is_whole(tensor)):
                raise ValueError(f"{name!r} is no tensor")
    return weights


def _is_whole(tensor: torch.Tensor) -> bool:
    """Whether the tensor's elements lie in memory: its shape may state more than the file holds."""
    if tensor.layout != torch.strided or tensor.device.type != "cpu":
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _digest(packed: bytes) -> str:
    return hashlib.sha256(packed).hexdigest()


def _read(path: Path) -> tuple[dict[str, Any], Record]:
    content = read_json(path, _MAX_RECORD_BYTES, _NO_RECORD)
    with parsing(path, _NO_RECORD):
        record = Record.from_json(content)
    return content, record
