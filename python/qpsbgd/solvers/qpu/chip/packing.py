"""Many cliques at once: disjoint clique embeddings that together fill a working graph.

A row of n spins needs a chain of coupled qubits for each spin, and a coupler between any two chains. The
cliques come from ``minorminer.busclique`` (Boothby, King, Roy: Fast clique minor generation in Chimera qubit
connectivity graphs, 2016), which finds one clique with short chains in a given graph. To get many, a small
window slides over the chip, as small as one clique allows, and each position is searched. What is left at the
end is searched as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from qpsbgd.solvers.qpu.chip.graph import WorkingGraph

__all__ = ["Clique", "largest_clique_size", "pack_cliques"]

Clique = tuple[tuple[int, ...], ...]
"""The chains of an embedded clique: the qubits of each of its spins."""

Mask = npt.NDArray[np.bool_]

_ORDERS = ("rows", "diagonals")
_LARGER_WINDOWS = 1
_FEWEST_QUBITS = 0.9
"""A window with fewer free qubits than this part of what a clique takes is not searched."""


def largest_clique_size(graph: WorkingGraph) -> int:
    """Return the number of spins of the largest clique that `minorminer.busclique` embeds in the graph."""
    return len(_table_of_cliques(graph).largest_clique())


def pack_cliques(graph: WorkingGraph, size: int) -> list[Clique]:
    """Find many disjoint embeddings of the clique of `size` spins; the same ones in every call.

    The window slides in several orders; the order that gives the most cliques wins, and among those the one
    that takes the fewest qubits.

    Returns
    -------
    list of Clique
        None of their qubits is used twice. Empty if not even one clique fits.
    """
    if size == 1:
        return [((int(qubit),),) for qubit in graph.qubits]
    return _Packer(graph, size).best()


class _Packer:
    """One search: the graph, the size, and what was found in windows of each form seen so far."""

    def __init__(self, graph: WorkingGraph, size: int) -> None:
        self._graph = graph
        self._size = size
        self._known: dict[str, list[list[int]]] = {}

    def best(self) -> list[Clique]:
        everything = np.ones(len(self._graph.qubits), dtype=bool)
        if not self._embed(everything):
            return []
        width, fewest = self._smallest_window(everything)
        widths = range(width, width + 1 + _LARGER_WINDOWS)
        packings = [self._pack(widths, order, fewest, everything.copy()) for order in _ORDERS]
        return max(packings, key=lambda cliques: (len(cliques), -sum(map(_num_qubits, cliques))))

    def _pack(self, widths: range, order: str, fewest: int, free: Mask) -> list[Clique]:
        """Take what fits into each position of the window, then what fits anywhere."""
        found = []
        for width in widths:
            for column, row in self._positions(width, order):
                window = self._inside(column, row, width)
                while np.count_nonzero(free & window) >= fewest and (clique := self._embed(free & window)):
                    found.append(clique)
                    self._take(clique, free)
        while clique := self._embed(free):
            found.append(clique)
            self._take(clique, free)
        return found

    def _smallest_window(self, everything: Mask) -> tuple[int, int]:
        """Return the width of the smallest window that holds a clique, and the fewest qubits to look at."""
        boxes = self._graph.boxes
        low, high = boxes[:, [0, 2]].min(axis=0), boxes[:, [1, 3]].max(axis=0)
        too_small, width = 0, int((high - low).max()) + 1
        clique = self._embed(everything)
        while width - too_small > 1:
            middle = (width + too_small) // 2
            column, row = (int(start) for start in np.maximum((low + high - middle) // 2, low))
            corners = [(column, row), (column + 1, row), (column, row + 1), (column + 1, row + 1)]
            found = [self._embed(everything & self._inside(c, r, middle)) for c, r in corners]
            if any(found):
                width, clique = middle, min(filter(None, found), key=_num_qubits)
            else:
                too_small = middle
        return width, int(_FEWEST_QUBITS * _num_qubits(clique))

    def _positions(self, width: int, order: str) -> list[tuple[int, int]]:
        boxes = self._graph.boxes
        low, high = boxes[:, [0, 2]].min(axis=0), boxes[:, [1, 3]].max(axis=0)
        columns, rows = (
            range(int(first), max(int(first), int(last) - width + 1) + 1)
            for first, last in zip(low, high, strict=True)
        )
        cells = [(column, row) for column in columns for row in rows]
        if order == "diagonals":
            cells.sort(key=lambda cell: (sum(cell), cell))
        return cells

    def _inside(self, column: int, row: int, width: int) -> Mask:
        boxes = self._graph.boxes
        columns = (boxes[:, 0] >= column) & (boxes[:, 1] < column + width)
        inside: Mask = columns & (boxes[:, 2] >= row) & (boxes[:, 3] < row + width)
        return inside

    def _embed(self, allowed: Mask) -> Clique:
        """One clique among the allowed qubits; empty if there is none."""
        if np.count_nonzero(allowed) < self._size:
            return ()
        part, labels = self._graph.within(allowed)
        if part.key not in self._known:
            self._known[part.key] = _find_clique(part, self._size)
        positions = self._known[part.key]
        return tuple(tuple(sorted(labels[chain].tolist())) for chain in positions)

    def _take(self, clique: Clique, free: Mask) -> None:
        used = [qubit for chain in clique for qubit in chain]
        free[np.searchsorted(self._graph.qubits, used)] = False


def _num_qubits(clique: Clique) -> int:
    return sum(map(len, clique))


def _find_clique(graph: WorkingGraph, size: int) -> list[list[int]]:
    """Return the chains of one clique as indices into the graph's qubits; empty if there is none."""
    chains = _table_of_cliques(graph).find_clique_embedding(size)
    return [np.searchsorted(graph.qubits, chain).tolist() for chain in chains.values()]


def _table_of_cliques(graph: WorkingGraph) -> Any:
    """Make busclique's cliques of all sizes, kept in memory: its own files would be one a window.

    Its search for a single size would do, but runs out of memory for some small sizes, such as 5 to 8 on
    Zephyr and 4 on Chimera (minorminer 0.2.22).
    """
    from minorminer import busclique

    class InMemory(busclique.busgraph_cache):  # type: ignore[misc]
        def _fetch_cache(self, dirname: str, compute: Callable[[], Any], force_write: bool = False) -> Any:
            return compute()

    return InMemory(graph.network(), seed=0)
