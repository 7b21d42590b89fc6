"""Cache of packings, one search for each working graph: in memory, and in files for the next process."""

from __future__ import annotations

import json
import os
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
        Folder of the files ``GRAPH-SIZE.json``; `default_cache_dir` if not given. A file is made anew if it
        is damaged, belongs to another graph, or was written by another version. If the folder cannot be
        written, the next process searches again.
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
        try:
            content = json.loads(self.path(size).read_text())
        except (OSError, ValueError):
            return None
        return self._checked(content, size)

    def _checked(self, content: Any, size: int) -> list[Clique] | None:
        """Return the cliques of a file's content, or None unless all of them are whole and fit this graph."""
        expected = {"format": _FORMAT, "graph": self.graph.key, "size": size}
        if not isinstance(content, dict) or {name: content.get(name) for name in expected} != expected:
            return None
        try:
            cliques = [tuple(tuple(map(int, chain)) for chain in clique) for clique in content["cliques"]]
        except (KeyError, TypeError, ValueError):
            return None
        return cliques if is_packing(self.graph, cliques, size) else None


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
    if len(set(used)) != len(used) or not np.isin(used, graph.qubits).all():
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
