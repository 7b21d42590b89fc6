"""An opened sampler with what is known of it: graph, packings, limits, timing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import dimod
import numpy as np
import numpy.typing as npt

from qpsbgd.solvers.qpu.chip.graph import working_graph
from qpsbgd.solvers.qpu.chip.layout import Doubles, Layout, make_layout
from qpsbgd.solvers.qpu.chip.store import EmbeddingStore
from qpsbgd.solvers.qpu.cost import TimingModel
from qpsbgd.solvers.qpu.scaling import Limits

__all__ = ["Device"]


class Device:
    """One structured sampler, ready for rows.

    Parameters
    ----------
    sampler : dimod.Structured
        A DWaveSampler or one like it.
    cache_dir : path, optional
        Folder of the packings.
    timing_data : mapping, optional
        As `TimingModel`.

    Raises
    ------
    TypeError, ValueError
        As `working_graph`.
    """

    def __init__(
        self,
        sampler: Any,
        cache_dir: str | os.PathLike[str] | None = None,
        timing_data: Mapping[str, Any] | None = None,
    ) -> None:
        self.sampler = sampler
        self.graph = working_graph(sampler)
        self.store = EmbeddingStore(self.graph, cache_dir)
        self.limits = Limits.of(sampler.properties)
        self.timing = TimingModel(sampler, timing_data)
        self._layouts: dict[tuple[int, int], Layout] = {}

    def capacity(self, size: int) -> int:
        """Rows of `size` spins that fit into one submission."""
        return len(self.store.packing(size))

    def layout(self, size: int, rows: int) -> Layout:
        """Where `rows` rows of `size` spins go; at most `capacity`."""
        key = (size, rows)
        if key not in self._layouts:
            self._layouts[key] = make_layout(self.graph, self.store.packing(size)[:rows], size)
        return self._layouts[key]

    def groups_of(self, layout: Layout) -> npt.NDArray[np.int64] | None:
        """Coupling groups at both ends of the layout's couplers, where the sampler limits groups."""
        return None if self.limits.group is None else self._groups[layout.edges]

    @cached_property
    def _groups(self) -> npt.NDArray[np.int64]:
        """Number of the coupling group that each coupler belongs to at each of its ends, (E, 2)."""
        from dwave.system.coupling_groups import coupling_groups

        number = {}
        for group, edges in enumerate(coupling_groups(self.graph.network())):
            number.update({(int(qubit), int(neighbour)): group for neighbour, qubit in edges})
        one, other = self.graph.couplers.T.tolist()
        pairs = zip(one, other, strict=True)
        return np.array([(number[a, b], number[b, a]) for a, b in pairs], dtype=np.int64).reshape(-1, 2)

    def sample(
        self, layout: Layout, fields: Doubles, couplings: Doubles, **parameters: Any
    ) -> dimod.SampleSet:
        """Send one submission; its answer may still be under way."""
        one, other = layout.couplers.T
        model = dimod.BinaryQuadraticModel.from_numpy_vectors(
            fields, (one, other, couplings), 0.0, dimod.SPIN, variable_order=layout.qubits.tolist()
        )
        return self.sampler.sample(model, **parameters)

    @cached_property
    def accepted(self) -> frozenset[str]:
        """Parameters that the sampler does something with: a mock lists more than it mocks."""
        return frozenset(getattr(self.sampler, "mocked_parameters", None) or self.sampler.parameters)
