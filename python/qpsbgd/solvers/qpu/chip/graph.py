"""The working graph of a structured sampler: which qubits and couplers there are, and where they lie."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["WorkingGraph", "working_graph"]

Integers = npt.NDArray[np.int64]

_FAMILIES = ("chimera", "pegasus", "zephyr")

_PEGASUS_OFFSETS = np.array([[2] * 4 + [10] * 4 + [6] * 4, [6] * 4 + [2] * 4 + [10] * 4])
"""Where the lines of each of 12 tracks begin, for orientations 0 and 1: the chips' own arrangement."""


@dataclass(frozen=True, eq=False)
class WorkingGraph:
    """Qubits and couplers of one sampler.

    Attributes
    ----------
    family : {"chimera", "pegasus", "zephyr"}
        Topology.
    shape : tuple of int
        Size of the topology, as the sampler's properties give it.
    qubits : int64 array (N,)
        Qubits that work, ascending.
    couplers : int64 array (E, 2)
        Couplers that work, each with the lower qubit first, ascending.
    """

    family: str
    shape: tuple[int, ...]
    qubits: Integers
    couplers: Integers

    @cached_property
    def key(self) -> str:
        """Hash of topology, qubits and couplers: graphs with the same key have the same embeddings."""
        digest = hashlib.sha256(f"{self.family} {self.shape} {len(self.qubits)}".encode())
        digest.update(self.qubits.astype("<i8").tobytes())
        digest.update(self.couplers.astype("<i8").tobytes())
        return digest.hexdigest()

    @cached_property
    def ends(self) -> Integers:
        """Both ends of every coupler as indices into `qubits`, (E, 2)."""
        return np.searchsorted(self.qubits, self.couplers)

    @cached_property
    def boxes(self) -> Integers:
        """Where each qubit lies, (N, 4): first and last column, first and last row, in whole steps.

        A qubit of Pegasus or Zephyr is a line across several columns or rows, one of Chimera lies in a cell.
        """
        return {"chimera": _chimera_boxes, "pegasus": _pegasus_boxes, "zephyr": _zephyr_boxes}[self.family](
            self._coordinates
        )

    @cached_property
    def _coordinates(self) -> Integers:
        return np.stack(np.unravel_index(self.qubits, _extents(self.family, self.shape)), axis=1)

    def network(self) -> Any:
        """Build the graph as Ocean's tools take it, a networkx.Graph that names its topology."""
        from dwave.system import qpu_graph

        return qpu_graph(self.family, self.shape, self.qubits.tolist(), self.couplers.tolist())

    def within(self, chosen: npt.NDArray[np.bool_]) -> tuple[WorkingGraph, Integers]:
        """Cut out the chosen qubits as a graph of the smallest topology of this family that holds them.

        Parts of one form become equal graphs wherever they lie.

        Returns
        -------
        WorkingGraph, int64 array
            The part, and this graph's qubit for each of its qubits.
        """
        family, coordinates = self.family, self._coordinates[chosen]
        labels = self.qubits[chosen]
        inside = chosen[self.ends].all(axis=1)
        shape = self.shape
        if len(labels):
            coordinates = coordinates - _corner(family, coordinates)
            shape = _fitting_shape(family, self.shape, coordinates)
        moved = np.ravel_multi_index(tuple(coordinates.T), _extents(family, shape)).astype(np.int64)
        order = np.argsort(moved)
        renamed = np.zeros(len(self.qubits), dtype=np.int64)
        renamed[chosen] = moved
        couplers = np.sort(renamed[self.ends[inside]], axis=1)
        couplers = couplers[np.lexsort(couplers.T[::-1])]
        return WorkingGraph(family, shape, moved[order], couplers), labels[order]


def working_graph(sampler: Any) -> WorkingGraph:
    """Read the working graph of a sampler.

    Raises
    ------
    TypeError
        If the sampler has no qubits and couplers (it is no `dimod.Structured`).
    ValueError
        If no clique embeddings are known for its topology.
    """
    nodes, edges = getattr(sampler, "nodelist", None), getattr(sampler, "edgelist", None)
    if nodes is None or edges is None:
        raise TypeError(
            "sampler must be structured, with nodelist and edgelist (a DWaveSampler, say), "
            f"but is {type(sampler).__name__}"
        )
    topology = sampler.properties.get("topology") or {}
    family, shape = topology.get("type"), topology.get("shape")
    if family not in _FAMILIES or shape is None:
        raise ValueError(
            f"sampler {type(sampler).__name__} has topology {family!r} of shape {shape}, "
            f"expected one of {_FAMILIES} with its shape"
        )
    couplers = np.sort(np.array(list(edges), dtype=np.int64).reshape(-1, 2), axis=1)
    return WorkingGraph(
        family,
        _full_shape(family, tuple(int(length) for length in shape)),
        np.unique(np.array(list(nodes), dtype=np.int64)),
        np.unique(couplers, axis=0),
    )


def _full_shape(family: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Fill in what a shape may leave out: four qubits a side, and as many columns as rows."""
    if family == "chimera":
        return (*shape, *(shape[0], shape[0], 4)[len(shape) :])
    return (*shape, 4) if family == "zephyr" and len(shape) == 1 else shape


def _extents(family: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Sizes of the coordinates that a qubit's number counts, the last one fastest.

    Chimera: row, column, side, qubit of the side. Pegasus: orientation u, tile w, track k of 12, segment z.
    Zephyr: orientation u, line w, track k, half j, segment z. Lines of orientation 0 run along a column.
    """
    if family == "chimera":
        return shape[0], shape[1], 2, shape[2]
    if family == "pegasus":
        return 2, shape[0], 12, shape[0] - 1
    return 2, 2 * shape[0] + 1, shape[1], 2, shape[0]


def _corner(family: str, coordinates: Integers) -> Integers:
    """Coordinates to subtract from each qubit so that the part moves, by whole tiles, to the origin."""
    corner = np.zeros_like(coordinates)
    if family == "chimera":
        corner[:, :2] = coordinates[:, :2].min(axis=0)
        return corner
    lines_per_tile = 1 if family == "pegasus" else 2
    across, along = coordinates[:, 1] // lines_per_tile, coordinates[:, -1]
    vertical = coordinates[:, 0] == 0
    column = np.where(vertical, across, along).min()
    row = np.where(vertical, along, across).min()
    corner[:, 1] = lines_per_tile * np.where(vertical, column, row)
    corner[:, -1] = np.where(vertical, row, column)
    return corner


def _fitting_shape(family: str, shape: tuple[int, ...], coordinates: Integers) -> tuple[int, ...]:
    largest = coordinates.max(axis=0)
    if family == "chimera":
        return int(largest[0]) + 1, int(largest[1]) + 1, shape[2]
    if family == "pegasus":
        return (max(2, int(largest[1]) + 1, int(largest[-1]) + 2),)
    return max(1, (int(largest[1]) + 1) // 2, int(largest[-1]) + 1), shape[1]


def _lines(orientation: Integers, across: Integers, first: Integers, last: Integers) -> Integers:
    """Boxes of lines: those of orientation 0 run along a column, those of orientation 1 along a row."""
    along_column = np.stack([across, across, first, last], axis=1)
    along_row = np.stack([first, last, across, across], axis=1)
    return np.where(orientation[:, None] == 0, along_column, along_row)


def _chimera_boxes(coordinates: Integers) -> Integers:
    row, column = coordinates[:, 0], coordinates[:, 1]
    return np.stack([column, column, row, row], axis=1)


def _pegasus_boxes(coordinates: Integers) -> Integers:
    # A line is 12 tracks long; four tracks that begin alike are one step.
    u, w, k, z = coordinates.T
    first = 12 * z + _PEGASUS_OFFSETS[u, k]
    return _lines(u, (12 * w + k) // 4, first // 4, (first + 11) // 4)


def _zephyr_boxes(coordinates: Integers) -> Integers:
    u, w, _, j, z = coordinates.T
    first = 2 * z + j
    return _lines(u, w, first, first + 1)
