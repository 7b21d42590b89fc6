"""Readers of the public QUBO and Max-Cut text formats.

A file is one header line ``n m`` and m lines ``i j value``, counted from 1:

- QUBO (Biq Mac, ending ``.sparse``): minimise ``x'Qx`` over x in {0,1}^n with q_ij = q_ji = value, so that
  an off-diagonal line counts twice and a diagonal one once;
- Max-Cut (Gset and rudy, ending ``.txt``): maximise the summed weight of the edges between two sides.
"""

from __future__ import annotations

import math
import os
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy as np
import numpy.typing as npt

from qpsbgd.data.reading import BrokenFileError, read_json, shown

__all__ = ["MAX_VARIABLES", "BestKnown", "Instance", "SparseRows", "best_known", "read_instance"]

Kind = Literal["qubo", "maxcut"]

_KIND_OF_SUFFIX: dict[str, Kind] = {".sparse": "qubo", ".txt": "maxcut"}
_ALWAYS_DENSE_UP_TO = 64
_NEVER_DENSE_FROM = 3000
_DENSE_FROM_DENSITY = 0.05
_MAX_LINE = 1024
_MAX_TABLE_BYTES = 1 << 24

MAX_VARIABLES = 1 << 20
"""Variables that an instance may have unless the reader is told otherwise.

A header of two numbers states the size of every array of the instance, and the largest public instances have
some 20,000 variables.
"""


@dataclass(frozen=True)
class SparseRows:
    """A sparse (n, n) matrix in compressed rows, with the attributes of `scipy.sparse.csr_matrix`.

    The solvers take it like scipy's own, so that reading an instance does not need scipy.

    Attributes
    ----------
    shape : (int, int)
        The matrix is square.
    indptr : int64 array (n + 1,)
        Row i holds the entries ``indptr[i]`` to ``indptr[i + 1] - 1``.
    indices : int32 array (nnz,)
        Columns.
    data : float64 array (nnz,)
        Values.

    Examples
    --------
    >>> SparseRows.from_entries(2, np.array([0, 0]), np.array([1, 1]), np.array([2.0, 3.0])).data
    array([5.])
    """

    shape: tuple[int, int]
    indptr: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int32]
    data: npt.NDArray[np.float64]
    ndim: int = 2

    @classmethod
    def from_entries(
        cls,
        n: int,
        rows: npt.NDArray[np.int64],
        columns: npt.NDArray[np.int64],
        values: npt.NDArray[np.float64],
    ) -> SparseRows:
        """Make the (n, n) matrix of entries (rows, columns, values); repeated places add up."""
        places, of_entry = np.unique(rows * n + columns, return_inverse=True)
        data = np.bincount(of_entry, values, places.size).astype(np.float64)
        lengths = np.bincount(places // n, minlength=n)
        indptr = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        return cls((n, n), indptr, (places % n).astype(np.int32), data)

    def tocsr(self) -> SparseRows:
        """Return the matrix itself, which is in compressed rows already."""
        return self


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
        """Return the relative distance |best - value| / |best| (absolute where the best is 0).

        Examples
        --------
        >>> BestKnown(-200.0, "").gap(-198.0)
        0.01
        """
        distance = abs(self.value - value)
        return distance / abs(self.value) if self.value else distance


@dataclass(frozen=True)
class Instance:
    """One QUBO or Max-Cut instance, as its file states it.

    Attributes
    ----------
    name : str
        File name without its ending.
    kind : {"qubo", "maxcut"}
        QUBO (minimise over bits) or Max-Cut (maximise over spins).
    n : int
        Number of variables.
    rows, columns : int64 array (m,)
        Places of the file's lines, counted from 0.
    values : float64 array (m,)
        Values of the file's lines; lines for the same place add up.
    """

    name: str
    kind: Kind
    n: int
    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]

    @property
    def sense(self) -> Literal["min", "max"]:
        """Whether the file's objective is minimised or maximised."""
        return "min" if self.kind == "qubo" else "max"

    def solver_arguments(self) -> dict[str, Any]:
        """Arguments for `solve_qubo` (a QUBO: ``Q``) or `solve_ising` (Max-Cut: ``h`` and ``J``).

        The matrix is a float64 array (n, n), or `SparseRows` where the instance is large or sparse. With
        Max-Cut, minimising s'Js = sum w_ij s_i s_j maximises the cut, sum w_ij (1 - s_i s_j) / 2.

        Examples
        --------
        >>> one = np.array([1.0])
        >>> edge = Instance("edge", "maxcut", 2, np.array([0]), np.array([1]), one)
        >>> edge.solver_arguments()["J"]
        array([[0., 1.],
               [0., 0.]])
        """
        apart = self.rows != self.columns
        rows, columns, values = self.rows[apart], self.columns[apart], self.values[apart]
        if self.kind == "maxcut":
            return {"h": np.zeros(self.n), "J": self._matrix(rows, columns, values)}
        rows, columns = np.concatenate((self.rows, columns)), np.concatenate((self.columns, rows))
        return {"Q": self._matrix(rows, columns, np.concatenate((self.values, values)))}

    def _matrix(
        self,
        rows: npt.NDArray[np.int64],
        columns: npt.NDArray[np.int64],
        values: npt.NDArray[np.float64],
    ) -> npt.NDArray[np.float64] | SparseRows:
        dense = self.n <= _ALWAYS_DENSE_UP_TO or (
            self.n < _NEVER_DENSE_FROM and self.values.size >= _DENSE_FROM_DENSITY * self.n * self.n / 2
        )
        if not dense:
            return SparseRows.from_entries(self.n, rows, columns, values)
        matrix = np.zeros((self.n, self.n))
        np.add.at(matrix, (rows, columns), values)
        return matrix

    def value(self, samples: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Objective of samples in the file's own terms: x'Qx of bits, or the cut weight of spins.

        Parameters
        ----------
        samples : array (..., n)
            Bits {0, 1} for a QUBO, spins {-1, +1} for Max-Cut.

        Returns
        -------
        float64 array (...)
            One value per sample.

        Raises
        ------
        ValueError
            If the last dimension is not n.

        Examples
        --------
        >>> one = np.array([1.0])
        >>> edge = Instance("edge", "maxcut", 2, np.array([0]), np.array([1]), one)
        >>> edge.value([[1, 1], [1, -1]])
        array([0., 1.])
        """
        states = np.asarray(samples)
        if states.ndim == 0 or states.shape[-1] != self.n:
            raise ValueError(f"samples have shape {states.shape}, but {self.name} has {self.n} variables")
        flat = states.reshape(-1, self.n)
        values = np.empty(len(flat))
        twice = np.where(self.rows == self.columns, 1.0, 2.0)
        for index, state in enumerate(flat):  # one at a time: (samples, lines) need not fit in memory
            left, right = state[self.rows], state[self.columns]
            if self.kind == "maxcut":
                values[index] = self.values[left != right].sum()
            else:
                values[index] = (self.values * twice)[(left != 0) & (right != 0)].sum()
        return values.reshape(states.shape[:-1])


def read_instance(
    path: str | os.PathLike[str], kind: Kind | None = None, *, max_variables: int = MAX_VARIABLES
) -> Instance:
    r"""Read a QUBO or Max-Cut file.

    The memory that this takes grows with the lines that are there, whatever the header states.

    Parameters
    ----------
    path : path
        The file.
    kind : {"qubo", "maxcut"}, optional
        What it holds; without it the ending decides, ``.sparse`` (QUBO) or ``.txt`` (Max-Cut).
    max_variables : int
        Number of variables above which the file is refused.

    Returns
    -------
    Instance
        The instance with indices from 0.

    Raises
    ------
    ValueError
        If the ending says nothing and `kind` is not given, or a line is malformed: the message names file
        and line.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "triangle.txt"
    ...     _ = path.write_text("3 3\n1 2 1\n2 3 1\n1 3 1\n")
    ...     read_instance(path).value([1, -1, 1])
    array(2.)
    """
    file = Path(path)
    if kind is None:
        kind = _KIND_OF_SUFFIX.get(file.suffix)
    if kind not in ("qubo", "maxcut"):
        endings = "'.sparse' (QUBO) or '.txt' (Max-Cut)"
        raise ValueError(f"{file} ends in {file.suffix!r} and its kind is not given, expected {endings}")
    with file.open(encoding="utf-8", errors="replace") as stream:
        n, rows, columns, values = _read_lines(file, stream, max_variables)
    with np.errstate(over="ignore"):
        total = 2 * np.abs(values).sum()
    if not np.isfinite(total):
        raise BrokenFileError(file, "has values whose sum is beyond the range of float64")
    return Instance(file.stem, kind, n, rows, columns, values)


def _read_lines(
    file: Path, stream: TextIO, max_variables: int
) -> tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Read the number of variables, and the places and values of the lines."""
    header: tuple[int, int] | None = None
    rows, columns, values = array("q"), array("q"), array("d")
    number = 0
    while line := stream.readline(_MAX_LINE + 1):
        number += 1
        if len(line) > _MAX_LINE:
            raise BrokenFileError(file, f", line {number}: it has more than {_MAX_LINE} characters")
        fields = line.split()
        if not fields:
            continue
        if header is None:
            header = _header(file, number, fields, max_variables)
            continue
        n, m = header
        if len(values) == m:
            raise BrokenFileError(file, f", line {number}: it is one more than the {m} lines of the header")
        row, column, value = _entry(file, number, fields, n)
        rows.append(row)
        columns.append(column)
        values.append(value)
    if header is None:
        raise BrokenFileError(file, "is empty, expected a header line with two counts")
    n, m = header
    if len(values) != m:
        raise BrokenFileError(file, f"has {len(values)} lines after its header, which announces {m}")
    return n, np.array(rows, np.int64), np.array(columns, np.int64), np.array(values, np.float64)


def _header(file: Path, number: int, fields: list[str], max_variables: int) -> tuple[int, int]:
    try:
        n, m = (int(field) for field in fields)
    except ValueError:
        n = m = -1
    if n < 1 or m < 0:
        expected = "the numbers of variables and of lines"
        raise BrokenFileError(file, f", line {number}: found {shown(' '.join(fields))}, expected {expected}")
    max_variables = min(max_variables, np.iinfo(np.int32).max)  # columns are int32
    if n > max_variables:
        found = f"the header states {shown(fields[0])} variables"
        raise BrokenFileError(file, f", line {number}: {found}, expected at most {max_variables}")
    return n, m


def _entry(file: Path, number: int, fields: list[str], n: int) -> tuple[int, int, float]:
    try:
        row, column, value = int(fields[0]), int(fields[1]), float(fields[2])
    except (ValueError, IndexError):
        row = column = 0
        value = 0.0
    if len(fields) != 3 or not (1 <= row <= n and 1 <= column <= n and math.isfinite(value)):
        expected = f"two indices of 1..{n} and a number"
        raise BrokenFileError(file, f", line {number}: found {shown(' '.join(fields))}, expected {expected}")
    return row - 1, column - 1, value


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
