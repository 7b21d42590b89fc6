"""Graphs with labelled nodes: the karate club, and the citation networks Cora and PubMed.

The citation networks are read from ``planetoid/cora.npz`` and ``planetoid/pubmed.npz`` in the data folder
(see `qpsbgd.data.datasets.data_folder`), which hold the arrays of `FIELDS`. They are not downloaded:
``qpsbgd data`` makes them from their public form (`qpsbgd.data.planetoid_files`).
"""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qpsbgd.data.datasets import data_folder
from qpsbgd.data.reading import BrokenFileError, parsing, read_bounded
from qpsbgd.extras import needed_for

__all__ = ["FIELDS", "GraphDataset", "karate", "load_graph", "planetoid"]

FIELDS: Mapping[str, str] = {
    "x_data": "node features as a CSR matrix: float32 (non-zeros,)",
    "x_indices": "its columns: int32 (non-zeros,)",
    "x_indptr": "where its rows start: int32 (nodes + 1,)",
    "x_shape": "its shape: int64 (2,)",
    "edge_index": "int32 (2, edges): each undirected edge once, no loops, no duplicates",
    "y": "classes 0, 1, ...: int64 (nodes,)",
    "train_mask": "bool (nodes,)",
    "val_mask": "bool (nodes,)",
    "test_mask": "bool (nodes,)",
}
"""Arrays of a citation network's file."""

_MAX_BYTES = 1 << 30
"""What the file, all arrays in it, and the dense features may have each; PubMed's features have 39 MB."""
_PLANETOID = ("cora", "pubmed")
_KARATE_CLASSES = (
    *(1, 1, 1, 1, 3, 3, 3, 1, 0, 1, 3, 1, 1, 1, 0, 0, 3),
    *(1, 0, 1, 0, 1, 0, 0, 2, 2, 0, 0, 2, 0, 0, 2, 0, 0),
)
"""Communities of greatest modularity, as PyTorch Geometric numbers them."""
_KARATE_TRAIN: Mapping[str, tuple[int, ...]] = {"clubs": (0, 33), "communities": (0, 4, 8, 24)}
"""The two leaders; the first member of each community, as in PyTorch Geometric."""


@dataclass(frozen=True)
class GraphDataset:
    """One undirected graph whose nodes are to be classified, from the labels of a few of them.

    Attributes
    ----------
    name : str
        Name that `load_graph` knows it by.
    features : float32 array (nodes, d)
        Node features as the source has them, not normalised.
    edge_index : int64 array (2, edges)
        Every edge in both directions: sources in row 0, targets in row 1.
    labels : int64 array (nodes,)
        Classes 0 .. num_classes - 1.
    train_mask, val_mask, test_mask : bool array (nodes,)
        The split; no node is in two of them.
    num_classes : int
        Number of classes.

    Examples
    --------
    >>> graph = load_graph("karate")
    >>> graph.features.shape, graph.edge_index.shape, int(graph.train_mask.sum())
    ((34, 34), (2, 156), 2)
    """

    name: str
    features: npt.NDArray[np.float32]
    edge_index: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    train_mask: npt.NDArray[np.bool_]
    val_mask: npt.NDArray[np.bool_]
    test_mask: npt.NDArray[np.bool_]
    num_classes: int

    def row_normalised(self) -> npt.NDArray[np.float32]:
        """Features divided by the sum of each node's own, as Kipf and Welling train on them.

        Examples
        --------
        >>> load_graph("karate").row_normalised().sum(axis=1).max()
        np.float32(1.0)
        """
        sums = self.features.sum(axis=1, keepdims=True)
        return (self.features / np.where(sums > 0, sums, 1)).astype(np.float32)


def load_graph(name: str, data_dir: str | os.PathLike[str] | None = None) -> GraphDataset:
    """Load a graph by its name.

    Parameters
    ----------
    name : {"karate", "karate-communities", "cora", "pubmed"}
        Which one.
    data_dir : path, optional
        Data folder, see `qpsbgd.data.datasets.data_folder`.

    Returns
    -------
    GraphDataset
        The graph.

    Raises
    ------
    ValueError
        If there is no graph of that name, or a file does not hold what it should.
    FileNotFoundError
        If the file is not there.

    Examples
    --------
    >>> load_graph("karate").num_classes, load_graph("karate-communities").num_classes
    (2, 4)
    """
    if name == "karate":
        return karate()
    if name == "karate-communities":
        return karate("communities")
    if name in _PLANETOID:
        return planetoid(name, data_dir)
    raise ValueError(f"name is {name!r}, expected 'karate', 'karate-communities', 'cora' or 'pubmed'")


def karate(labels: str = "clubs") -> GraphDataset:
    """Zachary's karate club: 34 members and 78 friendships, without weights.

    The features are the identity matrix, and there is no validation set.

    Parameters
    ----------
    labels : {"clubs", "communities"}
        Which of the two clubs a member joined when the club split, with the two leaders (nodes 0 and 33)
        labelled; or one of the four communities of greatest modularity, with the first member of each
        labelled. All other members are the test.

    Returns
    -------
    GraphDataset
        ``"karate"`` or ``"karate-communities"``.

    Raises
    ------
    ValueError
        If `labels` is something else.
    ModuleNotFoundError
        If networkx is not installed.

    Examples
    --------
    >>> karate().labels[[0, 33]], karate("communities").labels[:5]
    (array([0, 1]), array([1, 1, 1, 1, 3]))
    """
    if labels not in _KARATE_TRAIN:
        raise ValueError(f"labels is {labels!r}, expected 'clubs' or 'communities'")
    with needed_for("the karate club", "networkx", "datasets"):
        import networkx
    graph = networkx.karate_club_graph()
    nodes = graph.number_of_nodes()
    edges = np.array(sorted(graph.edges()), dtype=np.int64).T
    train = np.isin(np.arange(nodes), _KARATE_TRAIN[labels])
    clubs = [int(graph.nodes[node]["club"] == "Officer") for node in range(nodes)]
    classes = np.array(clubs if labels == "clubs" else _KARATE_CLASSES, dtype=np.int64)
    return GraphDataset(
        "karate" if labels == "clubs" else "karate-communities",
        np.eye(nodes, dtype=np.float32),
        np.concatenate([edges, edges[::-1]], axis=1),
        classes,
        train,
        np.zeros(nodes, dtype=np.bool_),
        ~train,
        int(classes.max()) + 1,
    )


def planetoid(name: str, data_dir: str | os.PathLike[str] | None = None) -> GraphDataset:
    """Load a citation network with its public split: 20 nodes a class, 500 for validation, 1000 for the test.

    Parameters
    ----------
    name : {"cora", "pubmed"}
        Cora has 2708 papers, 1433 words that occur in them or not, and 7 classes; PubMed has 19717 papers,
        500 words weighted by TF-IDF, and 3 classes.
    data_dir : path, optional
        Data folder, see `qpsbgd.data.datasets.data_folder`.

    Returns
    -------
    GraphDataset
        The graph, its features not normalised.

    Raises
    ------
    ValueError
        If the name is another one, or the file does not hold what it should; the message names the array.
    FileNotFoundError
        If the file is not there.

    Examples
    --------
    ``planetoid("cora")`` gives the graph, once ``qpsbgd data cora FOLDER`` has made its file.

    >>> planetoid("citeseer")
    Traceback (most recent call last):
    ValueError: name is 'citeseer', expected one of cora, pubmed
    """
    if name not in _PLANETOID:
        raise ValueError(f"name is {name!r}, expected one of {', '.join(_PLANETOID)}")
    path = data_folder(data_dir) / "planetoid" / f"{name}.npz"
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is missing: put the file there, make it by 'qpsbgd data {name} FOLDER', or name another "
            f"data folder by --data-dir or QPSBGD_DATA"
        )
    arrays = _read_npz(path)
    features = _dense(path, arrays)
    nodes = len(features)
    edges = arrays["edge_index"]
    _require(path, "edge_index", edges.ndim == 2 and len(edges) == 2 and edges.dtype.kind in "iu", edges)
    inside = edges.size == 0 or (edges.min() >= 0 and edges.max() < nodes)
    _require(path, "edge_index", inside and not np.any(edges[0] == edges[1]), edges)
    edges = edges.astype(np.int64)
    both = np.concatenate([edges, edges[::-1]], axis=1)
    _require(path, "edge_index", len(np.unique(both[0] * nodes + both[1])) == both.shape[1], edges)
    labels = arrays["y"]
    numbers = labels.shape == (nodes,) and labels.dtype.kind in "iu"
    # A network has an output for each class, so the largest label is a size too.
    _require(path, "y", numbers and labels.min() >= 0 and labels.max() < nodes, labels)
    masks = [arrays[f"{part}_mask"] for part in ("train", "val", "test")]
    for part, mask in zip(("train", "val", "test"), masks, strict=True):
        _require(path, f"{part}_mask", mask.shape == (nodes,) and mask.dtype == np.bool_ and mask.any(), mask)
    if np.sum(masks, axis=0).max() > 1:
        raise BrokenFileError(path, "is corrupt: a node is in two of train_mask, val_mask and test_mask")
    classes = int(labels.max()) + 1
    return GraphDataset(name, features, both, labels.astype(np.int64), masks[0], masks[1], masks[2], classes)


def _read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read all arrays of `FIELDS`; raise if the file holds pickled objects, or states more than it holds."""
    packed = read_bounded(path, _MAX_BYTES)
    with parsing(path, "is corrupt"), zipfile.ZipFile(io.BytesIO(packed)) as archive:
        present = set(archive.namelist())
        missing = [name for name in FIELDS if f"{name}.npy" not in present]
        if missing:
            raise ValueError(f"there is no {', '.join(missing)}")
        if sum(archive.getinfo(f"{name}.npy").file_size for name in FIELDS) > _MAX_BYTES:
            raise ValueError(f"its arrays have more than {_MAX_BYTES:,} bytes")
        return {name: _read_array(archive, name) for name in FIELDS}


def _read_array(archive: zipfile.ZipFile, name: str) -> npt.NDArray[Any]:
    """Read one array, after its header has been compared with the length of what follows it."""
    # numpy's own reader asks for the memory that the header states before it looks at what is there.
    length = archive.getinfo(f"{name}.npy").file_size
    with archive.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read_header is None:
            raise ValueError(f"{name} has the format {version}, expected (1, 0) or (2, 0)")
        shape, fortran_order, dtype = read_header(file)
        if dtype.kind not in "biuf":
            raise ValueError(f"{name} has the dtype {dtype}, expected numbers")
        size = math.prod(shape) * dtype.itemsize  # of Python's integers, which do not wrap
        if min(shape, default=0) < 0 or size != length - file.tell():
            raise ValueError(f"{name} has {length - file.tell()} bytes of data for shape {shape} and {dtype}")
        content = file.read(size)
    if len(content) != size:
        raise ValueError(f"{name} ends after {len(content)} of {size} bytes")
    if dtype.kind == "b" and max(content, default=0) > 1:
        raise ValueError(f"{name} has the byte {max(content)}, expected 0 or 1")
    array: npt.NDArray[Any] = np.frombuffer(content, dtype)
    array = array.reshape(shape, order="F") if fortran_order else array.reshape(shape)
    return array.astype(dtype.newbyteorder("="))


def _dense(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
    """Make the dense features (nodes, d) from their CSR arrays."""
    data, columns, starts, shape = (arrays[f"x_{part}"] for part in ("data", "indices", "indptr", "shape"))
    _require(path, "x_shape", shape.shape == (2,) and shape.dtype.kind in "iu" and shape.min() > 0, shape)
    nodes, width = int(shape[0]), int(shape[1])
    _require(path, "x_indptr", starts.shape == (nodes + 1,) and starts.dtype.kind in "iu", starts)
    if 4 * nodes * width > _MAX_BYTES:
        raise BrokenFileError(
            path, f"is corrupt: x_shape states {nodes} by {width} features, more than {_MAX_BYTES:,} bytes"
        )
    _require(path, "x_indptr", starts.min() >= 0 and starts.max() <= data.size, starts)
    counts = starts[1:].astype(np.int64) - starts[:-1].astype(np.int64)
    _require(path, "x_indptr", starts[0] == 0 and starts[-1] == data.size and counts.min() >= 0, starts)
    _require(path, "x_data", data.ndim == 1 and data.dtype.kind == "f", data)
    _require(path, "x_data", np.all(np.abs(data) <= np.finfo(np.float32).max), data)  # false for NaN
    fits = columns.shape == data.shape and columns.dtype.kind in "iu"
    _require(path, "x_indices", fits and columns.min(initial=0) >= 0, columns)
    _require(path, "x_indices", columns.max(initial=0) < width, columns)
    features = np.zeros((nodes, width), dtype=np.float32)
    with np.errstate(over="ignore"):
        np.add.at(features, (np.repeat(np.arange(nodes), counts), columns.astype(np.int64)), data)
    _require(path, "x_data", np.isfinite(features).all(), data)  # repeated places add up
    return features


def _require(path: Path, name: str, condition: Any, array: npt.NDArray[Any]) -> None:
    if not condition:
        raise BrokenFileError(
            path,
            f"is corrupt: {name} has shape {array.shape} and dtype {array.dtype}, or holds values "
            f"that do not fit; expected {FIELDS[name]}",
        )
