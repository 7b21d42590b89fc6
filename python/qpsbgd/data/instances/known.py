"""Tables of the best objectives known for instance files."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from qpsbgd.data.reading import BrokenFileError, read_json

__all__ = ["BestKnown", "best_known"]

_MAX_TABLE_BYTES = 1 << 24


@dataclass(frozen=True)
class BestKnown:
    """The best objective known for an instance.

    Attributes
    ----------
    value : float
        In the terms of the file: QUBO value or cut weight.
    status : str
        Whether it is proven, and by whom.
    """

    value: float
    status: str

    def gap(self, value: float) -> float:
        """Return the relative distance ``|best - value| / |best|`` (absolute where the best is 0).

        Examples
        --------
        >>> BestKnown(-200.0, "").gap(-198.0)
        0.01
        """
        distance = abs(self.value - value)
        return distance / abs(self.value) if self.value else distance


def best_known(path: str | os.PathLike[str]) -> BestKnown | None:
    """Look up an instance file in the ``best_known.json`` of its folder or of one above it.

    Parameters
    ----------
    path : path
        The instance file.

    Returns
    -------
    BestKnown or None
        None where no table lists the file.

    Raises
    ------
    ValueError
        If the nearest table cannot be understood; the message names it.

    Examples
    --------
    >>> best_known("nowhere/instance.txt") is None
    True
    """
    file = Path(path).resolve()
    for folder in file.parents:
        table = folder / "best_known.json"
        if not table.is_file():
            continue
        problem = "is not a table of best-known values"
        content = read_json(table, _MAX_TABLE_BYTES, problem)
        instances = content.get("instances") if isinstance(content, dict) else None
        if not isinstance(instances, dict):
            raise BrokenFileError(table, f"{problem}: it has no object 'instances'")
        name = file.relative_to(folder).as_posix()
        if name not in instances:
            return None
        entry = instances[name]
        if not (isinstance(entry, dict) and isinstance(entry.get("status"), str)):
            raise BrokenFileError(table, f"{problem}: {name!r} has no text 'status'")
        try:
            number = float(entry.get("best_known", math.nan))
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise BrokenFileError(table, f"{problem}: 'best_known' of {name!r} is no finite number")
        return BestKnown(number, entry["status"])
    return None
