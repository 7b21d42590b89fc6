"""Embedding of rows on qubits and back, by index arrays instead of Python loops.

Spin i of a row becomes a chain of qubits. The qubits of the chain share its field evenly. All couplers
between two chains share their coupling evenly. Every coupler inside a chain gets the chain strength.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qpsbgd.solvers.qpu.chip.graph import WorkingGraph
from qpsbgd.solvers.qpu.chip.packing import Clique

__all__ = ["Layout", "Unembedded", "make_layout"]

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Unembedded:
    """Spins read off the chains, by majority.

    Attributes
    ----------
    spins : int8 array (rows, reads, n)
        Where a chain is split in two halves, the spin is the one its field prefers.
    break_fractions : float64 array (rows,)
        Part of the row's chains, over all reads, whose qubits did not agree.
    """

    spins: npt.NDArray[np.int8]
    break_fractions: Doubles


@dataclass(frozen=True)
class Layout:
    """Index arrays of `rows` cliques of n chains, made by `make_layout`.

    Attributes
    ----------
    rows, size : int
        Number of cliques and of their spins n.
    qubits : int64 array (Q,)
        Qubits in use, chain by chain.
    chain : int64 array (Q,)
        Number of each qubit's chain, ``row * n + spin``.
    chain_starts, chain_lengths : int64 arrays (rows * n,)
        Where each chain begins in `qubits`, and how long it is.
    couplers : int64 array (C, 2)
        Ends of the couplers in use as indices into `qubits`: those between chains, then those inside one.
    edges : int64 array (C,)
        Number of each coupler in the graph.
    num_between : int
        How many couplers lie between chains.
    row, one, other : int64 arrays (num_between,)
        Row of each coupler between chains, and the spins that it couples.
    share : float64 array (num_between,)
        One over the number of couplers that share its coupling.
    inside_row : int64 array (C - num_between,)
        Row of each coupler inside a chain.
    """

    rows: int
    size: int
    qubits: Integers
    chain: Integers
    chain_starts: Integers
    chain_lengths: Integers
    couplers: Integers
    edges: Integers
    num_between: int
    row: Integers
    one: Integers
    other: Integers
    share: Doubles
    inside_row: Integers

    @property
    def coupler_row(self) -> Integers:
        """Row of every coupler, (C,)."""
        return np.concatenate([self.row, self.inside_row])

    @property
    def qubit_row(self) -> Integers:
        """Row of every qubit, (Q,)."""
        return self.chain // self.size

    def embed(self, h: Doubles, W: Doubles, chain_strengths: Doubles) -> tuple[Doubles, Doubles]:
        """Spread rows over their qubits.

        Parameters
        ----------
        h : array (rows, n)
            Fields.
        W : array (n, n) or (rows, n, n)
            Symmetric couplings: the energy is ``h's`` and, for each pair i < j, ``W_ij s_i s_j``.
        chain_strengths : array (rows,)
            Strength that couplers inside a chain get, with a minus sign.

        Returns
        -------
        float64 arrays (Q,) and (C,)
            Fields of the qubits and couplings of the couplers.
        """
        fields = (h / self.chain_lengths.reshape(self.rows, self.size)).reshape(-1)[self.chain]
        between = W[self.one, self.other] if W.ndim == 2 else W[self.row, self.one, self.other]
        return fields, np.concatenate([between * self.share, -chain_strengths[self.inside_row]])

    def unembed(self, samples: npt.NDArray[np.int8], preferred: npt.NDArray[np.int8]) -> Unembedded:
        """Read the rows' spins off the qubits.

        Parameters
        ----------
        samples : int8 array (reads, Q)
            Spins of the qubits, in the order of `qubits`.
        preferred : int8 array (rows, n)
            Spins to take where a chain is split in two halves.
        """
        sums = np.add.reduceat(samples, self.chain_starts, axis=1, dtype=np.int32)
        broken = (np.abs(sums) != self.chain_lengths).mean(axis=0).reshape(self.rows, self.size).mean(axis=1)
        votes = np.where(sums == 0, preferred.reshape(-1), np.sign(sums)).astype(np.int8)
        spins = votes.reshape(len(samples), self.rows, self.size).swapaxes(0, 1)
        return Unembedded(np.ascontiguousarray(spins), broken)


def make_layout(graph: WorkingGraph, cliques: Sequence[Clique], size: int) -> Layout:
    """Index the first `size` chains of each clique.

    Parameters
    ----------
    graph : WorkingGraph
        Where the cliques lie.
    cliques : sequence of Clique
        One for each row.
    size : int
        Spins of a row; a clique may have more chains.
    """
    chains = [chain for clique in cliques for chain in clique[:size]]
    lengths = np.array([len(chain) for chain in chains], dtype=np.int64)
    qubits = np.array([qubit for chain in chains for qubit in chain], dtype=np.int64)
    chain = np.repeat(np.arange(len(chains)), lengths)
    place = np.full(len(graph.qubits), -1, dtype=np.int64)
    place[np.searchsorted(graph.qubits, qubits)] = np.arange(len(qubits))
    ends = place[graph.ends]
    edges = np.flatnonzero((ends >= 0).all(axis=1))
    ends = ends[edges]
    chains_of_ends = chain[ends]
    same_chain = chains_of_ends[:, 0] == chains_of_ends[:, 1]
    same_row = chains_of_ends[:, 0] // size == chains_of_ends[:, 1] // size
    between, inside = ends[same_row & ~same_chain], ends[same_chain]
    edges = np.concatenate([edges[same_row & ~same_chain], edges[same_chain]])
    pairs: Any = np.sort(chain[between], axis=1)
    _, pair, count = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    return Layout(
        rows=len(cliques),
        size=size,
        qubits=qubits,
        chain=chain,
        chain_starts=np.concatenate([[0], np.cumsum(lengths)[:-1]]),
        chain_lengths=lengths,
        couplers=np.concatenate([between, inside]),
        edges=edges,
        num_between=len(between),
        row=pairs[:, 0] // size,
        one=pairs[:, 0] % size,
        other=pairs[:, 1] % size,
        share=1.0 / count[np.reshape(pair, -1)],
        inside_row=chain[inside[:, 0]] // size,
    )
