"""What the batches of one solver share: the opened sampler, the settings, the QPU time, the report.

`Device` is the hardware: a sampler with what is known of it. `Session` holds it together with all that lasts
from one batch to the next. Batches (`batch`) know the session, the solver (`solver`) knows both.
"""

from __future__ import annotations

import copy
import math
import os
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import dimod
import numpy as np
import numpy.typing as npt

from qpsbgd.solvers.qpu.chip.graph import working_graph
from qpsbgd.solvers.qpu.chip.layout import Doubles, Layout, make_layout
from qpsbgd.solvers.qpu.chip.store import EmbeddingStore
from qpsbgd.solvers.qpu.config import configured_secrets, require_token
from qpsbgd.solvers.qpu.cost import Ledger, TimingModel
from qpsbgd.solvers.qpu.errors import QPUConfigError, QPUError, QPUFallbackWarning, QPUUnreachableError
from qpsbgd.solvers.qpu.options import Options
from qpsbgd.solvers.qpu.retry import is_device_failure, is_transient
from qpsbgd.solvers.qpu.scaling import Limits
from qpsbgd.solvers.qpu.secrecy import Secrets, portable

__all__ = ["Device", "Report", "Session"]


@dataclass
class Report:
    """What a solver has submitted so far.

    Attributes
    ----------
    submissions : int
        Submissions that the sampler answered.
    attempts : int
        Tries, failed ones included.
    rows : int
        Rows in the answered submissions; every block of a wide row counts.
    fallback_rows : int
        Rows that the native solver answered instead.
    reads : int
        Reads of the answered submissions.
    chain_break_fraction : float
        Mean part of a row's chains that were broken.
    fewest_effective_bits : float
        Effective bits of the row that was programmed least exactly.
    """

    submissions: int = 0
    attempts: int = 0
    rows: int = 0
    fallback_rows: int = 0
    reads: int = 0
    chain_break_fraction: float = 0.0
    fewest_effective_bits: float = float("inf")

    def add(self, rows: int, reads: int, break_fractions: Doubles, effective_bits: Doubles) -> None:
        """Count one answered submission."""
        self.submissions += 1
        self.reads += reads
        self.rows += rows
        self.chain_break_fraction += float((break_fractions - self.chain_break_fraction).sum()) / self.rows
        self.fewest_effective_bits = min(self.fewest_effective_bits, float(effective_bits.min()))


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
        self._layouts: dict[tuple[int, int, int], Layout] = {}

    def capacity(self, size: int) -> int:
        """Rows of `size` spins that fit into one submission."""
        return len(self.store.packing(size))

    def layout(self, size: int, rows: int, clique_size: int | None = None) -> Layout:
        """Where `rows` rows of `size` spins go, planned for cliques of at least that size.

        Cliques of `size` have the shortest chains. But the search for packings may find fewer of them than of
        larger ones, so that the rows planned for `clique_size` do not fit: then these rows take the first
        chains of the larger cliques.

        Parameters
        ----------
        size : int
            Spins of a row.
        rows : int
            At most ``capacity(clique_size)``.
        clique_size : int, optional
            Spins that the rows were planned for, at least `size`; `size` itself if not given.
        """
        key = (size, rows, clique_size or size)
        if key not in self._layouts:
            cliques = self.store.packing(size)
            if len(cliques) < rows and clique_size is not None:
                cliques = self.store.packing(clique_size)
            if len(cliques) < rows:
                raise ValueError(
                    f"rows is {rows}, but {len(cliques)} cliques of {size} spins fit on the chip"
                )
            self._layouts[key] = make_layout(self.graph, cliques[:rows], size)
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


class Session:
    """What all batches of one solver share.

    Parameters
    ----------
    options : Options
        Settings.
    sampler : dimod.Structured, optional
        The sampler; not given: a ``dwave.system.DWaveSampler`` is opened when it is needed.
    config : mapping, optional
        Arguments of that DWaveSampler.
    cache_dir : path, optional
        Folder of the packings.
    timing_data : mapping, optional
        As `TimingModel`.

    Attributes
    ----------
    ledger : Ledger
        QPU time spent and promised.
    report : Report
        What has been submitted.
    healthy : bool
        False after a fallback: then a submission is tried once only, until one succeeds.
    """

    def __init__(
        self,
        options: Options,
        sampler: Any = None,
        config: Mapping[str, Any] | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        timing_data: Mapping[str, Any] | None = None,
    ) -> None:
        self.options = options
        self.ledger = Ledger(options.max_qpu_seconds)
        self.report = Report()
        self.healthy = True
        self._given = sampler
        self._config = dict(config or {})
        self._cache_dir = cache_dir
        self._timing_data = timing_data
        self._device: Device | None = None
        self._warned = False

    @property
    def device(self) -> Device:
        """The sampler's graph, packings and limits; opens the sampler if it was not yet open.

        Raises
        ------
        QPUConfigError
            If no token is configured, or no QPU can be opened with it. `QPUUnreachableError`, which is one,
            if the network failed and retries did not help.
        ValueError
            If reads or annealing time are outside of what the sampler takes.
        """
        if self._device is None:
            sampler = self._given if self._given is not None else self._open()
            self._device = Device(sampler, self._cache_dir, self._timing_data)
        _check_ranges(self.options, self._device.sampler.properties)
        return self._device

    @property
    def sampler_name(self) -> str:
        """Class of the sampler, open or not."""
        return "DWaveSampler" if self._given is None else type(self._given).__name__

    def close(self) -> None:
        """Close the sampler if it was opened here."""
        device, self._device = self._device, None
        if device is not None and self._given is None:
            device.sampler.close()

    def _open(self) -> Any:
        """Open the sampler; try again after failures of the network."""
        retries = self.options.retry.max_retries if self.healthy else 0
        for attempt in range(1, retries + 1):
            try:
                return _open(self._config)
            except QPUUnreachableError:
                time.sleep(self.options.retry.delay(attempt))
        return _open(self._config)

    def failure(self, error: Exception, attempts: int) -> QPUError | None:
        """Return what to raise for a submission's final failure; None if the native solver shall answer.

        Mistakes in the program, budget and configuration errors are raised as they are, unless a secret is in
        them or in what they came from.
        """
        secrets = self._secrets()
        kind = type(error).__name__
        text = secrets.redacted(f"{kind}: {error}")
        if not is_device_failure(error):
            raise QPUError(text) if secrets.are_in(error) else error
        tries = f"{attempts} tries" if attempts > 1 else "1 try"
        if self.options.fallback == "native":
            if not self._warned:
                self._warned = True
                message = f"the QPU failed after {tries} ({text}); the native solver answers instead"
                warnings.warn(message, QPUFallbackWarning, stacklevel=2)
            return None
        advice = "fallback='native' would have gone on without it"
        return QPUError(f"the QPU failed after {tries} ({text}); {advice}")

    def _secrets(self) -> Secrets:
        return configured_secrets(self._config, getattr(self._device, "sampler", None))

    def __getstate__(self) -> dict[str, Any]:
        # Connections stay here, and so do secrets: a copy elsewhere reads its own configuration.
        return {**self.__dict__, "_config": portable(self._config), "_device": None}

    def __deepcopy__(self, memo: dict[int, Any]) -> Session:
        """Copy settings and counts; the sampler, a connection, is shared."""
        twin = copy.copy(self)
        twin._config = dict(self._config)
        twin.ledger, twin.report = copy.deepcopy((self.ledger, self.report), memo)
        twin.ledger.reserved = 0.0
        return twin


def _open(config: Mapping[str, Any]) -> Any:
    require_token(config)
    from dwave.system import DWaveSampler

    try:
        return DWaveSampler(**copy.deepcopy(dict(config)))
    except Exception as error:
        kind = type(error).__name__
        text = configured_secrets(config).redacted(f"no QPU could be opened ({kind}: {error})")
        failure = QPUUnreachableError if is_transient(error) else QPUConfigError
    raise failure(text)  # outside the handler: the original message may hold a secret


def _check_ranges(options: Options, properties: Mapping[str, Any]) -> None:
    """Raise unless the sampler takes the reads and the annealing time."""
    reads = math.ceil(options.num_reads / max(1, options.num_spin_reversal_transforms))
    for name, value, limits in (
        ("num_reads", reads, "num_reads_range"),
        ("annealing_time", options.annealing_time, "annealing_time_range"),
    ):
        low, high = properties.get(limits) or (-math.inf, math.inf)
        if value is not None and not low <= value <= high:
            raise ValueError(f"{name} is {value}, but the sampler takes {low} to {high}")
