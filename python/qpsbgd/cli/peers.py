"""Other solvers that ``qpsbgd bench`` compares with, each made to search for a given time.

A solver with a time limit of its own gets it. One without is called again and again, with twice as much work
in each call, and with a last call as large as the time that is left. All else is a peer's default. A peer is
imported and given the model in its form before its clock starts, and judging an answer stops the clock.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from qpsbgd.problem import CSRCouplings, IsingProblem

__all__ = ["PEERS", "Attempt", "Model", "Peer", "search_by_peer", "search_by_qpsbgd"]

_DENSE_UP_TO = 8000
"""Variables that a peer takes whose matrix is dense: 8000 make 256 MB in float32."""
_FIRST_CALL = 100
"""Sweeps or steps of the first call to a solver without a time limit."""
_LEAST_CALL = 10
"""Of the last one, below which the rest of the time is left."""
_SAFETY = 0.95
"""Part of the time left that the last call is sized for."""


@dataclass(frozen=True)
class Attempt:
    """What one search for one seed came to: energies by our own formula, times in seconds."""

    spins: npt.NDArray[np.int8]
    energy: float
    found_after: float
    seconds: float


@dataclass
class Model:
    """A problem in the forms that peers take; each is made once, and only where a peer asks for it."""

    problem: IsingProblem
    num_threads: int = 1

    @cached_property
    def bqm(self) -> Any:
        """The model of dimod."""
        return self.problem.to_bqm()

    @cached_property
    def matrix_and_fields(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """J as a dense matrix whose entries all count, and h."""
        J, n = self.problem.J, self.problem.num_spins
        if n > _DENSE_UP_TO:
            raise ValueError(f"its matrix is dense: {n} variables are more than {_DENSE_UP_TO}")
        if isinstance(J, CSRCouplings):
            rows, columns, values = J.triplets()
            dense = np.zeros((n, n))
            np.add.at(dense, (rows, columns), values)
        else:
            dense = np.asarray(J, dtype=np.float64)
        dense = self.problem.coupling_scale * (dense + dense.T) / 2
        return dense.astype(np.float32), self.problem.h[0].astype(np.float32)


@dataclass
class Search:
    """The clock of one search, and the best answer so far."""

    problem: IsingProblem
    seed: int
    time_limit: float
    begin: float = field(default_factory=time.perf_counter)
    _best: Attempt | None = None

    def seconds(self) -> float:
        """Time since the search began, without that of judging answers."""
        return time.perf_counter() - self.begin

    def left(self) -> float:
        """Time left; negative after the limit."""
        return self.time_limit - self.seconds()

    def found(self, spins: npt.ArrayLike) -> None:
        """Judge an answer that has just come, and keep it if it is the best."""
        now = self.seconds()
        states = np.asarray(spins, dtype=np.int8)
        if states.shape != (self.problem.num_spins,) or not (np.abs(states) == 1).all():
            raise ValueError(f"its answer is not {self.problem.num_spins} spins of -1 and +1")
        energy = float(self.problem.energies(states[None, None])[0, 0])
        if self._best is None or energy < self._best.energy:
            self._best = Attempt(states, energy, now, now)
        self.begin += self.seconds() - now

    def outcome(self) -> Attempt:
        """Return the best answer, with the time of the whole search."""
        if self._best is None:
            raise ValueError("it gave no answer")
        return Attempt(self._best.spins, self._best.energy, self._best.found_after, self.seconds())


@dataclass(frozen=True)
class Peer:
    """Another solver: its module, the distribution that brings it, and how it searches."""

    module: str
    distribution: str
    search: Callable[[Model, Search], None]
    prepare: Callable[[Model], object]
    is_dwave: bool = False  # it may be only another name of dwave-samplers

    def lack(self) -> str | None:
        """Say why it cannot be compared with, or None if it can."""
        try:
            installed = importlib.util.find_spec(self.module) is not None
        except ModuleNotFoundError:  # the package above it is not there
            installed = False
        if not installed:
            return f"not installed: pip install {self.distribution}"
        if self.is_dwave and self._class_is_of_dwave():
            return "this version is dwave-samplers' own annealing"
        return None

    def version(self) -> str:
        """Its version."""
        return importlib.metadata.version(self.distribution)

    def _class_is_of_dwave(self) -> bool:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sampler: type = importlib.import_module(self.module).SimulatedAnnealingSampler
        return sampler.__module__.startswith("dwave.samplers")


def search_by_qpsbgd(model: Model, seed: int, time_limit: float, method: str = "auto") -> Attempt:
    """Search with the solver of this package.

    Examples
    --------
    >>> from qpsbgd.problem import ising_problem
    >>> search_by_qpsbgd(Model(ising_problem([1.0, -2.0], np.zeros((2, 2)))), 0, 0.1).energy
    -3.0
    """
    from qpsbgd.solvers.native import NativeSolver

    solver = NativeSolver(method=method, time_limit=time_limit, num_threads=model.num_threads)  # type: ignore[arg-type]
    begin = time.perf_counter()
    solutions = solver.solve(model.problem, seed=seed)
    seconds = time.perf_counter() - begin
    spins = np.where(solutions.best_samples[0] > 0, 1, -1).astype(np.int8)
    energy = float(model.problem.energies(spins[None, None])[0, 0])
    return Attempt(spins, energy, float(solutions.info["trace"][0][-1][0]), seconds)


def search_by_peer(peer: Peer, model: Model, seed: int, time_limit: float) -> Attempt:
    """Search with a peer; what it warns of is not shown.

    Examples
    --------
    >>> from qpsbgd.problem import ising_problem
    >>> peer = Peer("numpy", "numpy", lambda model, search: search.found([-1, 1]), lambda model: None)
    >>> search_by_peer(peer, Model(ising_problem([1.0, -2.0], np.zeros((2, 2)))), 0, 0.1).energy
    -3.0
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module(peer.module)
        peer.prepare(model)
        search = Search(model.problem, seed, time_limit)
        peer.search(model, search)
        return search.outcome()


def in_growing_calls(search: Search, call: Callable[[int, int], npt.ArrayLike]) -> None:
    """Call ``call(work, seed)`` with twice the work each time, the last time as much as still fits."""
    work, number = _FIRST_CALL, 0
    while True:
        begin = search.seconds()
        answer = call(work, (search.seed + 1009 * number) % 2**31)
        seconds_a_unit = (search.seconds() - begin) / work
        search.found(answer)
        fits = int(_SAFETY * search.left() / seconds_a_unit)
        if fits < _LEAST_CALL:
            return
        work, number = min(2 * work, fits), number + 1


def _spins(answer: Any) -> npt.ArrayLike:
    """Return the spins of the best read of a dimod sample set, in the order of the variables 0, 1, ..."""
    sample = answer.record.sample[np.argmin(answer.record.energy)]
    return np.asarray(sample, dtype=np.int8)[np.argsort(list(answer.variables))]


def _anneal(model: Model, search: Search, *, module: str, sampler: str) -> None:
    made = getattr(importlib.import_module(module), sampler)()
    in_growing_calls(
        search,
        lambda sweeps, seed: _spins(made.sample(model.bqm, num_reads=1, num_sweeps=sweeps, seed=seed)),
    )


def _tabu(model: Model, search: Search) -> None:
    from dwave.samplers import TabuSampler

    milliseconds = max(1, round(1000 * search.time_limit))
    search.found(_spins(TabuSampler().sample(model.bqm, num_reads=1, timeout=milliseconds, seed=search.seed)))


def _prepare_bifurcation(model: Model) -> None:
    """Make the matrix, and let the package load what its first call loads."""
    import simulated_bifurcation
    import torch

    _ = model.matrix_and_fields
    simulated_bifurcation.minimize(torch.ones(2, 2), domain="spin", agents=1, max_steps=1, verbose=False)


def _bifurcate(model: Model, search: Search, *, mode: str) -> None:
    import simulated_bifurcation
    import torch

    J, h = model.matrix_and_fields

    def call(steps: int, seed: int) -> npt.ArrayLike:
        torch.manual_seed(seed)
        spins, _value = simulated_bifurcation.minimize(
            J, h, 0.0, domain="spin", dtype=torch.float32, max_steps=steps, mode=mode, verbose=False,
            early_stopping=False,
        )  # fmt: skip
        answer: npt.ArrayLike = np.sign(spins.numpy())
        return answer

    before = torch.get_num_threads()
    torch.set_num_threads(model.num_threads)
    try:
        in_growing_calls(search, call)
    finally:
        torch.set_num_threads(before)


def _of_dimod(module: str, distribution: str, sampler: str, **more: Any) -> Peer:
    search = partial(_anneal, module=module, sampler=sampler)
    return Peer(module, distribution, search, lambda model: model.bqm, **more)


def _of_bifurcation(mode: str) -> Peer:
    search = partial(_bifurcate, mode=mode)
    return Peer("simulated_bifurcation", "simulated-bifurcation", search, _prepare_bifurcation)


PEERS: dict[str, Peer] = {
    "dwave-annealing": _of_dimod("dwave.samplers", "dwave-samplers", "SimulatedAnnealingSampler"),
    "dwave-tabu": Peer("dwave.samplers", "dwave-samplers", _tabu, lambda model: model.bqm),
    "neal": _of_dimod("neal", "dwave-neal", "SimulatedAnnealingSampler", is_dwave=True),
    "openjij": _of_dimod("openjij", "openjij", "SASampler"),
    "bifurcation-ballistic": _of_bifurcation("ballistic"),
    "bifurcation-discrete": _of_bifurcation("discrete"),
}
"""Name to peer, in the order of the table."""


def usable(names: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return which peers can be compared with, and why the others cannot.

    Examples
    --------
    >>> usable([])
    ([], {})
    """
    lacks = {name: PEERS[name].lack() for name in names}
    return [name for name in names if lacks[name] is None], {
        name: lack for name, lack in lacks.items() if lack
    }
