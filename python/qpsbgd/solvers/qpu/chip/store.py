"""Cache of packings, one search for each working graph: in memory, and in files for the next process."""

from __future__ import annotations

import json
import os
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from qpsbgd.data.files import atomic_write
from qpsbgd.solvers.qpu.chip.graph import WorkingGraph
from qpsbgd.solvers.qpu.chip.packing import Clique, largest_clique_size, pack_cliques

__all__ = ["EmbeddingStore", "default_cache_dir"]

_FORMAT = 1
"""Version of the file format and of the packing search; files of other versions are made anew."""

_MOST_BYTES = 2**26
"""Of a file; the largest chips need a hundredth of it."""

_PACKINGS: dict[tuple[str, int], list[Clique]] = {}
_LARGEST: dict[str, int] = {}


def default_cache_dir() -> Path:
    """Folder of the embedding files: ``$XDG_CACHE_HOME/qpsbgd/embeddings``, else under ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "qpsbgd" / "embeddings"


class EmbeddingStore:
    """The packings of one working graph, made on first use.

    Parameters
    ----------
    graph : WorkingGraph
        Qubits and couplers.
    cache_dir : path, optional
        Folder of the files ``GRAPH-SIZE.json``; `default_cache_dir` if not given. A file is made anew, with a
        warning, if it is damaged or belongs to another graph; and if it was written by another version. If
        the folder cannot be written, the next process searches again.
    """

    def __init__(self, graph: WorkingGraph, cache_dir: str | os.PathLike[str] | None = None) -> None:
        self.graph = graph
        self._folder = default_cache_dir() if cache_dir is None else Path(cache_dir)

    @property
    def largest(self) -> int:
        """Number of spins of the largest clique."""
        if self.graph.key not in _LARGEST:
            _LARGEST[self.graph.key] = largest_clique_size(self.graph)
        return _LARGEST[self.graph.key]

    def packing(self, size: int) -> list[Clique]:
        """Disjoint cliques of `size` spins, as many as the search finds."""
        key = (self.graph.key, size)
        if key not in _PACKINGS:
            _PACKINGS[key] = self._load(size) or self._make(size)
        return _PACKINGS[key]

    def path(self, size: int) -> Path:
        """File of the packing of cliques of `size` spins."""
        return self._folder / f"{self.graph.key[:32]}-{size}.json"

    def _make(self, size: int) -> list[Clique]:
        cliques = pack_cliques(self.graph, size)
        content = {"format": _FORMAT, "graph": self.graph.key, "size": size, "cliques": cliques}
        try:
            with atomic_write(self.path(size)) as file:
                file.write(json.dumps(content, separators=(",", ":")).encode())
        except OSError:
            pass  # a cache: the answer is in memory
        return cliques

    def _load(self, size: int) -> list[Clique] | None:
        """Return the packing of a file, or None, with a warning where the file is not what was written."""
        path = self.path(size)
        try:
            # Not a pipe, which nobody may ever write to, and of bounded size.
            if not path.is_file():
                return None
            with path.open("rb") as file:
                text = file.read(_MOST_BYTES + 1)
            if len(text) > _MOST_BYTES:
                raise ValueError(f"it has more than {_MOST_BYTES} bytes")
            return self._checked(json.loads(text), size)
        except (OSError, ValueError, RecursionError) as error:
            message = f"the cached embedding {path} is ignored and made anew: {error}"
            warnings.warn(message, RuntimeWarning, stacklevel=4)
            return None

    def _checked(self, content: Any, size: int) -> list[Clique] | None:
        """Return the cliques of a file's content; None for those of another version.

        Raises
        ------
        ValueError
            Unless all of them are whole and fit this graph.
        """
        if not isinstance(content, dict):
            raise ValueError("it holds no record")
        if content.get("format") != _FORMAT:
            return None
        expected = {"graph": self.graph.key, "size": size}
        if any(content.get(name) != value for name, value in expected.items()):
            raise ValueError("it belongs to another graph or size")
        cliques = _cliques(content.get("cliques"))
        if not cliques or not is_packing(self.graph, cliques, size):
            raise ValueError(f"it holds no disjoint cliques of {size} chains of this graph")
        return cliques


def _cliques(value: Any) -> list[Clique]:
    """Return lists of lists of lists of qubits as cliques; an empty list for anything else."""
    if not isinstance(value, list) or not all(isinstance(clique, list) for clique in value):
        return []
    chains = [chain for clique in value for chain in clique]
    if not all(isinstance(chain, list) for chain in chains):
        return []
    if not all(type(qubit) is int for chain in chains for qubit in chain):  # a bool is an int too
        return []
    return [tuple(map(tuple, clique)) for clique in value]


def is_packing(graph: WorkingGraph, cliques: list[Clique], size: int) -> bool:
    """Whether these are disjoint cliques of `size` connected chains in the graph.

    Examples
    --------
    >>> import numpy as np
    >>> graph = WorkingGraph("chimera", (1, 1, 2), np.arange(4), np.array([[0, 2], [0, 3], [1, 2], [1, 3]]))
    >>> is_packing(graph, [((0, 2), (1, 3))], 2), is_packing(graph, [((0, 1), (2, 3))], 2)
    (True, False)
    """
    used = [qubit for clique in cliques for chain in clique for qubit in chain]
    if len(set(used)) != len(used) or not set(used) <= set(graph.qubits.tolist()):
        return False
    if any(len(clique) != size or not all(clique) for clique in cliques):
        return False
    chain_of = np.full(len(graph.qubits), -1)
    chains = [chain for clique in cliques for chain in clique]
    for number, chain in enumerate(chains):
        chain_of[np.searchsorted(graph.qubits, chain)] = number
    one, other = chain_of[graph.ends].T
    inside = (one >= 0) & (one == other)
    between = (one >= 0) & (other >= 0) & (one != other) & (one // size == other // size)
    pairs = np.unique(np.sort(np.stack([one[between], other[between]], axis=1), axis=1), axis=0)
    if len(pairs) != len(cliques) * size * (size - 1) // 2:
        return False
    return _all_connected(graph, chains, graph.couplers[inside])


def _all_connected(graph: WorkingGraph, chains: list[tuple[int, ...]], couplers: Any) -> bool:
    """Whether these couplers connect all qubits of each chain (union-find)."""
    parent = {qubit: qubit for chain in chains for qubit in chain}

    def root(qubit: int) -> int:
        while parent[qubit] != qubit:
            parent[qubit] = parent[parent[qubit]]
            qubit = parent[qubit]
        return qubit

    for one, other in couplers.tolist():
        parent[root(one)] = root(other)
    return all(root(one) == root(other) for chain in chains for one, other in pairwise(chain))
