"""Writing instances in the formats that `qpsbgd.data.instances.formats` reads."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from qpsbgd.data.files import atomic_write
from qpsbgd.data.instances.model import Instance, Kind

__all__ = ["FORMATS", "write"]

FORMATS: dict[str, tuple[Kind, ...]] = {
    "sparse": ("qubo",),
    "rudy": ("maxcut",),
    "dimacs": ("maxcut",),
    "qbsolv": ("qubo",),
    "coo": ("qubo", "ising"),
    "beasley": ("qubo",),
}
"""Formats, and the kinds of instances that each can hold."""

_FORMAT_OF_ENDING = {
    ".sparse": "sparse",
    ".bq": "sparse",
    ".txt": "rudy",
    ".mc": "rudy",
    ".rud": "rudy",
    ".rudy": "rudy",
    ".col": "dimacs",
    ".qubo": "qbsolv",
    ".coo": "coo",
}


def write(
    instances: Instance | Sequence[Instance], path: str | os.PathLike[str], format: str | None = None
) -> None:
    """Write an instance, or several in Beasley's format; a file of that name is replaced whole or not at all.

    Parameters
    ----------
    instances : Instance or sequence of them
        What to write.
    path : path
        The file; compressed by gzip where it ends in ``.gz``.
    format : {"sparse", "rudy", "dimacs", "qbsolv", "coo", "beasley"}, optional
        By default the ending decides.

    Raises
    ------
    ValueError
        If the format is unknown, or cannot hold this kind or number of instances.
    OSError
        If the file cannot be written; one that was there stays.

    Examples
    --------
    >>> import tempfile
    >>> from qpsbgd.data.instances import Instance, read_instance
    >>> edge = Instance("edge", "maxcut", 2, np.array([0]), np.array([1]), np.array([0.5]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(edge, Path(folder) / "edge.mc")
    ...     read_instance(Path(folder) / "edge.mc").values
    array([0.5])
    """
    target = Path(path)
    every = [instances] if isinstance(instances, Instance) else list(instances)
    ending = Path(target.stem).suffix if target.suffix == ".gz" else target.suffix
    chosen = _FORMAT_OF_ENDING.get(ending.lower()) if format is None else format
    if chosen not in FORMATS:
        given = f"format is {format!r}" if format is not None else f"{target} ends in {ending!r}"
        raise ValueError(f"{given}, expected one of {', '.join(FORMATS)}")
    for instance in every:
        if instance.kind not in FORMATS[chosen]:
            kinds = " or ".join(map(repr, FORMATS[chosen]))
            raise ValueError(
                f"{instance.name} is of kind {instance.kind!r}, but format {chosen!r} holds {kinds}"
            )
    if chosen != "beasley" and len(every) != 1:
        raise ValueError(f"format {chosen!r} holds one instance, but {len(every)} are given")
    text = "\n".join(_lines(every, chosen)) + "\n"
    content = text.encode("ascii")
    with atomic_write(target) as file:
        file.write(gzip.compress(content, mtime=0) if target.suffix == ".gz" else content)


def _lines(instances: list[Instance], format: str) -> Iterable[str]:
    one = instances[0] if instances else None
    if format == "beasley":
        yield str(len(instances))
        for instance in instances:
            yield f"{instance.n} {len(instance.values)}"
            yield from _entries(instance, 1, -1.0)
    elif one is not None and format == "qbsolv":
        diagonals = int(np.count_nonzero(one.rows == one.columns))
        yield f"p qubo 0 {one.n} {diagonals} {len(one.values) - diagonals}"
        yield from _entries(one, 0, np.where(one.rows == one.columns, 1.0, 2.0))
    elif one is not None and format == "coo":
        yield f"# vartype={'BINARY' if one.kind == 'qubo' else 'SPIN'}"
        twice = 2.0 if one.kind == "qubo" else 1.0
        yield from _entries(one, 0, np.where(one.rows == one.columns, 1.0, twice))
        if not np.isin(one.n - 1, (one.rows, one.columns)):
            yield f"{one.n - 1} {one.n - 1} 0"  # the last variable tells how many there are
    elif one is not None:
        yield f"p edge {one.n} {len(one.values)}" if format == "dimacs" else f"{one.n} {len(one.values)}"
        prefix = "e " if format == "dimacs" else ""
        yield from (prefix + line for line in _entries(one, 1, 1.0))


def _entries(instance: Instance, base: int, factor: float | np.ndarray) -> Iterable[str]:
    for i, j, value in zip(
        (instance.rows + base).tolist(),
        (instance.columns + base).tolist(),
        (instance.values * factor).tolist(),
        strict=True,
    ):
        yield f"{i} {j} {repr(value).removesuffix('.0')}"
