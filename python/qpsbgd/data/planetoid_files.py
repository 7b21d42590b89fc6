"""Cora and PubMed from their public form, the files ``ind.NAME.x``, ``.graph``, ... of Planetoid.

These files are pickles of Python 2 with arrays of numpy and matrices of scipy. `qpsbgd.data.pickles` reads
them without running them. Nodes come in the order and with the split that others train on (Yang, Cohen,
Salakhutdinov 2016): first those of ``allx``, of which the first are the training set and the next 500 the
validation set, then the test nodes in ascending order.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qpsbgd.data.datasets import data_folder
from qpsbgd.data.files import atomic_write
from qpsbgd.data.pickles import Made, Name, read_pickle
from qpsbgd.data.reading import parsing, read_bounded

__all__ = ["PARTS", "convert_planetoid"]

PARTS = ("x", "y", "tx", "ty", "allx", "ally", "graph", "test.index")
"""Endings of the files, after ``ind.NAME.``; x and y are the first rows of allx and ally."""

_MAX_BYTES = 1 << 28
_MAX_EDGES = 1 << 26
_VALIDATION = 500

Array = npt.NDArray[Any]


def convert_planetoid(
    name: str, folder: str | os.PathLike[str], data_dir: str | os.PathLike[str] | None = None
) -> Path:
    """Write ``planetoid/NAME.npz``, which `qpsbgd.data.graphs.planetoid` reads, from the public files.

    Parameters
    ----------
    name : {"cora", "pubmed"}
        Which network.
    folder : path
        Has ``ind.NAME.x`` and the other files of `PARTS`.
    data_dir : path, optional
        Data folder to write into, see `qpsbgd.data.datasets.data_folder`.

    Returns
    -------
    Path
        The file that was written.

    Raises
    ------
    BrokenFileError
        If a file does not hold what it should; the message names it.
    OSError
        If a file is missing, or the result cannot be written.

    Examples
    --------
    ``convert_planetoid("cora", "planetoid/data")`` writes into the data folder.

    >>> convert_planetoid("cora", "no-such-folder")
    Traceback (most recent call last):
    FileNotFoundError: [Errno 2] No such file or directory: 'no-such-folder/ind.cora.x'
    """
    source = Path(folder)
    files = {part: source / f"ind.{name}.{part}" for part in PARTS}
    contents = {part: read_bounded(file, _MAX_BYTES) for part, file in files.items()}
    values: dict[str, Any] = {}
    for part, content in contents.items():
        with parsing(files[part], "is no file of Planetoid"):
            values[part] = _READERS.get(part, _classes)(content)
    with parsing(source / f"ind.{name}.*", "do not fit together"):
        arrays = _joined(values)
    target = data_folder(data_dir) / "planetoid" / f"{name}.npz"
    with atomic_write(target) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type] # its stub takes allow_pickle for an array
    return target


Matrix = tuple[Array, Array, Array, int]
"""A matrix in compressed rows: values, columns, where rows start, number of columns."""


def _joined(values: dict[str, Any]) -> dict[str, Array]:
    """Put nodes in their order, and make the arrays of `qpsbgd.data.graphs.FIELDS`."""
    test: Array = values["test.index"]
    first = len(values["allx"][2]) - 1
    training = len(values["x"][2]) - 1
    ordered = np.sort(test)
    if not np.array_equal(ordered, np.arange(first, first + len(test))):
        raise ValueError(
            f"the test nodes are not {first} to {first + len(test) - 1}, which follow those of allx"
        )
    if len(values["tx"][2]) - 1 != len(test) or not 0 < training < first:
        raise ValueError(
            f"x, allx, tx and test.index are for {training}, {first}, {len(values['tx'][2]) - 1} and "
            f"{len(test)} nodes"
        )
    nodes = first + len(test)
    # Row k of tx belongs to node test[k].
    data, columns, starts, width = _stacked(values["allx"], _rows(values["tx"], np.argsort(test)))
    labels = np.concatenate([values["ally"], values["ty"][np.argsort(test)]])
    if len(labels) != nodes or len(values["y"]) != training:
        raise ValueError(f"y, ally and ty are for {len(values['y'])} and {len(labels)} nodes in all")
    edges: Array = values["graph"]
    if edges.size and (edges.min() < 0 or edges.max() >= nodes):
        raise ValueError(f"an edge of graph leads to node {edges.max()}, but there are {nodes} nodes")
    edges = np.sort(edges[:, edges[0] != edges[1]], axis=0)
    edges = np.unique(edges, axis=1)
    number = np.arange(nodes)
    return {
        "x_data": data.astype(np.float32),
        "x_indices": columns.astype(np.int32),
        "x_indptr": starts.astype(np.int32),
        "x_shape": np.array([nodes, width], dtype=np.int64),
        "edge_index": edges.astype(np.int32),
        "y": labels.astype(np.int64),
        "train_mask": number < training,
        "val_mask": (number >= training) & (number < min(training + _VALIDATION, first)),
        "test_mask": number >= first,
    }


def _rows(matrix: Matrix, order: Array) -> Matrix:
    """Return the rows of a matrix in another order."""
    data, columns, starts, width = matrix
    counts = np.diff(starts)[order]
    ends = np.cumsum(counts)
    places = np.arange(ends[-1]) - np.repeat(ends - counts, counts) + np.repeat(starts[:-1][order], counts)
    return data[places], columns[places], np.concatenate([[0], ends]), width


def _stacked(above: Matrix, below: Matrix) -> Matrix:
    if above[3] != below[3]:
        raise ValueError(f"allx has {above[3]} columns, but tx has {below[3]}")
    starts = np.concatenate([above[2], above[2][-1] + below[2][1:]])
    return np.concatenate([above[0], below[0]]), np.concatenate([above[1], below[1]]), starts, above[3]


# ----------------------------------------------------------------------------------------------------
# What the pickles hold


def _array(value: Any) -> Array:
    """Make the array of numbers that a pickled one describes."""
    if not (isinstance(value, Made) and value.name.name == "_reconstruct"):
        raise ValueError("an array is expected")
    state = value.state
    if not (isinstance(state, tuple) and len(state) == 5 and isinstance(state[1], tuple)):
        raise ValueError("the state of an array has other fields than numpy's")
    _version, shape, dtype, fortran_order, raw = state
    if not all(isinstance(length, int) and length >= 0 for length in shape):
        raise ValueError("an array has a shape of something else than lengths")
    content = raw.encode("latin-1") if isinstance(raw, str) else raw
    numbers = _dtype(dtype)
    if not isinstance(content, bytes) or len(content) != math.prod(shape) * numbers.itemsize:
        raise ValueError(f"an array has other bytes than shape {shape} and {numbers} need")
    array: Array = np.frombuffer(content, numbers)
    return array.reshape(shape, order="F" if fortran_order else "C")


def _dtype(value: Any) -> np.dtype[Any]:
    """Make a dtype of numbers."""
    known = isinstance(value, Made) and str(value.name) == "numpy.dtype" and isinstance(value.state, tuple)
    code = value.arguments[0] if known and value.arguments else None
    if not (isinstance(code, str) and code[:1] in "biuf" and code[1:] in ("1", "2", "4", "8")):
        raise ValueError(f"an array holds {code if known else 'something'}, expected numbers")
    order = value.state[1] if len(value.state) > 1 else "<"
    return np.dtype(f"{order}{code}" if order in ("<", ">") else code)


def _matrix(content: bytes) -> Matrix:
    """Read a matrix in scipy's compressed rows."""
    value = read_pickle(content)
    state = value.state if isinstance(value, Made) else None
    if not (_is_csr(value) and isinstance(state, dict) and {"data", "indices", "indptr"} <= state.keys()):
        raise ValueError("a matrix in compressed rows is expected")
    shape = state.get("_shape", state.get("shape"))
    if not (isinstance(shape, tuple) and len(shape) == 2 and all(isinstance(one, int) for one in shape)):
        raise ValueError("the matrix has no shape")
    data, columns, starts = (_array(state[part]) for part in ("data", "indices", "indptr"))
    whole = columns.dtype.kind in "iu" and starts.dtype.kind in "iu"
    if not whole or starts.shape != (shape[0] + 1,) or data.shape != columns.shape or data.ndim != 1:
        raise ValueError("its arrays do not fit its shape")
    starts = starts.astype(np.int64)
    if starts[0] != 0 or starts[-1] != len(data) or (np.diff(starts) < 0).any():
        raise ValueError("its rows do not start where they should")
    if columns.size and (columns.min() < 0 or columns.max() >= shape[1]):
        raise ValueError(f"it has column {columns.max()}, but {shape[1]} columns")
    return data, columns.astype(np.int64), starts, shape[1]


def _is_csr(value: Any) -> bool:
    """Whether a pickled object is scipy's csr_matrix, made directly or by ``copyreg._reconstructor``."""
    names = [value.name, *value.arguments] if isinstance(value, Made) else []
    return any(isinstance(name, Name) and name.name == "csr_matrix" for name in names)


def _classes(content: bytes) -> Array:
    """Read labels: one row a node, with a 1 in the column of its class."""
    array = _array(read_pickle(content))
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(f"an array of nodes and classes is expected, but it has shape {array.shape}")
    classes: Array = array.argmax(axis=1)
    return classes


def _edges(content: bytes) -> Array:
    """Read a dict of neighbours as an array (2, edges), every edge as often as it is stated."""
    value = read_pickle(content)
    is_defaultdict = isinstance(value, Made) and str(value.name) == "collections.defaultdict"
    neighbours = value.items if is_defaultdict else value
    if not isinstance(neighbours, dict):
        raise ValueError("a dict of lists of neighbours is expected")
    if not all(isinstance(node, int) and isinstance(others, list) for node, others in neighbours.items()):
        raise ValueError("a node is no whole number, or its neighbours are no list")
    if sum(map(len, neighbours.values())) > _MAX_EDGES:
        raise ValueError(f"it states more than {_MAX_EDGES:,} edges")
    pairs = [(node, other) for node, others in neighbours.items() for other in others]
    if not all(type(other) is int and abs(other) < 2**31 for _node, other in pairs):
        raise ValueError("a neighbour is no node")
    return np.array(pairs, dtype=np.int64).reshape(-1, 2).T


def _numbers(content: bytes) -> Array:
    """Read the test nodes, one a line."""
    return np.array([int(line) for line in content.split()], dtype=np.int64)


_READERS = {"x": _matrix, "tx": _matrix, "allx": _matrix, "graph": _edges, "test.index": _numbers}
"""Part to its reader; the others hold classes."""
