"""What the benchmarks share: workloads, peers, the ladder of our budgets, and how a result is recorded.

A time says nothing without the energy beside it. So every solver of a workload answers the same rows, its
spins are judged here by one float64 formula, and `report.py` compares times only at equal energy.
Peers get every advantage that costs us little: ready-made dimod models (building them is not timed, except in
the published way, where it is part of the method), ready-made couplings and fields, and tuned temperatures.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import dimod
import numpy as np
import numpy.typing as npt
import pytest

from qpsbgd import _core, solve_ising

Floats = npt.NDArray[np.floating[Any]]
Spins = npt.NDArray[np.int8]

ROW_ENERGIES_KEPT = 512  # of a result, for comparisons on the rows that a peer answered


# ----------------------------------------------------------------------------------------------------
# Results


@dataclass(frozen=True)
class Mode:
    """How much a run of the benchmarks measures."""

    full: bool

    def choose(self, short: Any, full: Any) -> Any:
        return full if self.full else short


def median_seconds(benchmark: Any) -> float:
    """Median time of one call; NaN where pytest-benchmark is told not to measure."""
    return float("nan") if benchmark.stats is None else float(benchmark.stats.stats.median)


def record(
    benchmark: Any,
    *,
    workload: str,
    solver: str,
    budget: str = "",
    peer: bool = False,
    unit: str = "row",
    rows: int = 1,
    seconds: float | None = None,
    energies: npt.ArrayLike | None = None,
    equal_energy: bool = True,
    **more: Any,
) -> None:
    """Note a result in `benchmark.extra_info`, in the form that `report.py` reads.

    `rows` counts the units of work ("row", "attempt", "problem", ...) that took `seconds`, by default the
    median time of a call. `energies` holds one energy per row, in an order that all solvers of the workload
    share. With `equal_energy` a peer is compared with the cheapest of ours that is not worse; without, both
    did the same work.
    """
    per_row = (median_seconds(benchmark) if seconds is None else seconds) / rows
    info = {
        "workload": workload,
        "solver": solver,
        "budget": budget,
        "peer": peer,
        "unit": unit,
        "rows": rows,
        "per_row_seconds": None if math.isnan(per_row) else per_row,
        "equal_energy": equal_energy,
        **more,
    }
    if energies is not None:
        values = np.atleast_1d(np.asarray(energies, dtype=np.float64))
        assert np.isfinite(values).all()
        info |= {"energy": float(values.mean()), "row_energies": values[:ROW_ENERGIES_KEPT].tolist()}
    benchmark.extra_info.update(info)


def record_facts(benchmark: Any, workload: str, **facts: float | str) -> None:
    """Note figures that no peer is compared with."""
    benchmark.extra_info.update(workload=workload, facts=facts)


# ----------------------------------------------------------------------------------------------------
# Workloads


@dataclass(frozen=True)
class Layer:
    """Row problems of one layer, taken literally: minimise ||v_j - X G||² over G in {-1,+1}^d.

    X (n, d) ~ N(0,1), V = X W' (n, m) with W ~ N(0,1), float32; J = X'X, h_j = -2 X'v_j.
    """

    name: str
    d: int
    n: int
    m: int
    tuned_beta: tuple[float, float]  # for peers that count every pair once

    @cached_property
    def inputs(self) -> tuple[Floats, Floats]:
        """X (n, d) and V (n, m)."""
        random = np.random.default_rng(0)
        X = random.normal(size=(self.n, self.d)).astype(np.float32)
        W = random.normal(size=(self.m, self.d)).astype(np.float32)
        return X, X @ W.T

    @cached_property
    def couplings(self) -> Floats:
        """X'X in float64, for peers."""
        X = self.inputs[0].astype(np.float64)
        return X.T @ X

    def fields(self, row: int) -> Floats:
        """h of one row in float64, for peers."""
        X, V = self.inputs
        return -2.0 * V[:, row].astype(np.float64) @ X

    def energies(self, spins: npt.NDArray[Any]) -> Floats:
        """s'Js + h_j's of spins (rows, d), rows 0, 1, ...: ||X s||² - 2 v_j'X s."""
        assert spins.ndim == 2
        assert spins.shape[1] == self.d
        assert (np.abs(spins) == 1).all()
        X, V = (array.astype(np.float64) for array in self.inputs)
        products = spins.astype(np.float64) @ X.T
        return (products * (products - 2.0 * V.T[: len(spins)])).sum(axis=1)

    @cached_property
    def random_energy(self) -> float:
        """Mean energy of random spins, trace(J), which whatever calls itself a solver has to beat."""
        return float(np.trace(self.couplings))

    @cached_property
    def sanity_bound(self) -> float:
        """Mean energy that ours has to beat: of no step at all (0), and of the signs of X'v_j."""
        X, V = self.inputs
        return min(0.0, float(self.energies(np.where(V.T @ X >= 0, 1, -1)).mean()))


LAYERS = {
    layer.name: layer
    for layer in (
        Layer("W1", 128, 64, 128, (1 / 50, 1 / 8)),
        Layer("W2", 784, 128, 256, (1 / 60, 1 / 10)),
    )
}


def torus(height: int, width: int) -> tuple[Floats, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Random ±1 couplings of a torus, with the two ends of every edge."""
    sites = np.arange(height * width).reshape(height, width)
    first = np.concatenate((sites.ravel(), sites.ravel()))
    second = np.concatenate((np.roll(sites, -1, axis=1).ravel(), np.roll(sites, -1, axis=0).ravel()))
    values = np.random.default_rng(0).choice([-1.0, 1.0], size=first.size)
    return values, first, second


def data_folder() -> Path:
    """The folder with qubo/, which `$QPSBGD_DATA` names; by default the one beside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("QPSBGD_DATA") or beside)
    if not (folder / "qubo").is_dir():
        pytest.skip("no data folder: QPSBGD_DATA names none")
    return folder


# ----------------------------------------------------------------------------------------------------
# Ours


@dataclass(frozen=True)
class Rung:
    """One budget of ours."""

    method: str
    num_sweeps: int | None = None
    num_reads: int = 1

    @property
    def budget(self) -> str:
        if self.num_sweeps is not None:
            return f"{self.num_sweeps}x{self.num_reads}"
        return "defaults" if self.num_reads == 1 else f"{self.num_reads} reads"

    def __str__(self) -> str:
        return f"{self.method}-{self.budget}".replace(" ", "_")


def ladder(method: str, sweeps: Iterable[int | None], reads: Iterable[int]) -> list[Rung]:
    return [Rung(method, one, count) for count in reads for one in sweeps]


LADDERS = {
    "W1": [
        *ladder("descent", [None], [1, 4, 16]),
        *ladder("anneal", [3, 10, 30, 100, 300, 1000], [1, 4]),
        *ladder("anneal", [1000], [16]),
        *ladder("tabu", [1, 2, 3, 4, 5, 6, 8, 10, 16, 20, 24, 30], [1]),
        *ladder("tabu", [3, 10, 30], [4]),
        *ladder("auto", [None], [1]),
    ],
    "W2": [
        *ladder("descent", [None], [1, 4]),
        *ladder("anneal", [3, 10, 30, 100, 300, 1000], [1]),
        *ladder("anneal", [30, 300], [4]),
        *ladder("tabu", [1, 2, 3, 4, 5, 6, 10, 30, 100], [1]),
        *ladder("tabu", [3, 10, 30], [4]),
        *ladder("auto", [None], [1]),
    ],
}


def solve_layer(layer: Layer, rung: Rung, seed: int, num_threads: int = 1) -> Spins:
    """Ours end to end: X and V in, the best spins of every row out."""
    X, V = layer.inputs
    J, h = _core.gram_and_weight_gradient(X, V, 1.0, -2.0, num_threads)
    return solve_ising(
        h,
        J,
        method=rung.method,
        num_sweeps=rung.num_sweeps,
        num_reads=rung.num_reads,
        seed=seed,
        num_threads=num_threads,
    ).best_samples


def repeat_seeded(benchmark: Any, solve: Callable[[int], Any], rounds: int) -> list[Any]:
    """Time `solve(seed)` for seeds 0, 1, ... after one call that is not timed; every answer."""
    answers: list[Any] = []
    seeds = iter(range(rounds + 1))
    solve(0)
    benchmark.pedantic(lambda: answers.append(solve(next(seeds))), rounds=rounds)
    return answers


# ----------------------------------------------------------------------------------------------------
# Peers


@dataclass(frozen=True)
class Model:
    """One row's problem as peers take it."""

    h: Floats
    J: Floats  # symmetric, every entry counts
    tuned_beta: tuple[float, float]

    @cached_property
    def bqm(self) -> dimod.BinaryQuadraticModel:
        couplings = np.triu(self.J + self.J.T, 1)
        row, column = np.nonzero(couplings)
        return bqm_of_edges(self.h, row, column, couplings[row, column])

    def dictionary_bqm(self) -> dimod.BinaryQuadraticModel:
        """The model as published programs make it: through dictionaries."""
        n = len(self.h)
        linear = {i: float(self.h[i]) for i in range(n)}
        quadratic = {(i, j): float(self.J[i, j] + self.J[j, i]) for i in range(n) for j in range(i + 1, n)}
        return dimod.BinaryQuadraticModel(linear, quadratic, 0.0, dimod.SPIN)


def bqm_of_edges(
    h: npt.NDArray[Any], row: npt.NDArray[Any], column: npt.NDArray[Any], values: npt.NDArray[Any]
) -> dimod.BinaryQuadraticModel:
    labels = list(range(len(h)))
    return dimod.BinaryQuadraticModel.from_numpy_vectors(
        h, (row, column, values), 0.0, dimod.SPIN, variable_order=labels
    )


def best_spins(answer: Any) -> Spins:
    """Spins of the lowest energy of a dimod sample set, in the order of the variables 0..n-1."""
    sample = answer.record.sample[np.argmin(answer.record.energy)]
    return np.asarray(sample, dtype=np.int8)[np.argsort(list(answer.variables))]


@dataclass(frozen=True)
class Peer:
    """Another solver with its settings; `solve` takes a model and a seed."""

    name: str
    module: str
    budget: str
    solve: Callable[[Model, int], Spins]
    slow: bool = False  # answers a quarter of the rows

    def __str__(self) -> str:
        return f"{self.name}-{self.budget}".replace(" ", "_")


def dwave_annealing(model: Model, seed: int, *, sweeps: int, reads: int, tuned: bool) -> Spins:
    from dwave.samplers import SimulatedAnnealingSampler

    beta = model.tuned_beta if tuned else None
    return best_spins(
        SimulatedAnnealingSampler().sample(
            model.bqm, num_reads=reads, num_sweeps=sweeps, beta_range=beta, seed=seed
        )
    )


def dwave_tabu(model: Model, seed: int, *, milliseconds: int) -> Spins:
    from dwave.samplers import TabuSampler

    return best_spins(TabuSampler().sample(model.bqm, timeout=milliseconds, seed=seed))


def dwave_descent(model: Model, seed: int, *, reads: int) -> Spins:
    from dwave.samplers import SteepestDescentSampler

    return best_spins(SteepestDescentSampler().sample(model.bqm, num_reads=reads, seed=seed))


def neal_as_published(model: Model, seed: int) -> Spins:
    import neal

    return best_spins(neal.SimulatedAnnealingSampler().sample(model.dictionary_bqm(), seed=seed))


def openjij_annealing(model: Model, seed: int, *, sweeps: int, reads: int, tuned: bool) -> Spins:
    import openjij

    hot, cold = model.tuned_beta if tuned else (None, None)
    return best_spins(
        openjij.SASampler().sample(
            model.bqm, num_sweeps=sweeps, num_reads=reads, beta_min=hot, beta_max=cold, seed=seed
        )
    )


def openjij_quantum(model: Model, seed: int, *, sweeps: int, reads: int) -> Spins:
    """With temperature and transverse field in the problem's units; the defaults, 5 and 1, quench it."""
    import openjij

    cold = model.tuned_beta[1]
    return best_spins(
        openjij.SQASampler().sample(
            model.bqm, num_sweeps=sweeps, num_reads=reads, beta=cold, gamma=25.0 / cold, seed=seed
        )
    )


def bifurcation(model: Model, seed: int, *, mode: str, agents: int, steps: int) -> Spins:
    import simulated_bifurcation
    import torch

    torch.manual_seed(seed)
    with warnings.catch_warnings():  # says that its agents did not converge within max_steps
        warnings.simplefilter("ignore")
        vector, _ = simulated_bifurcation.minimize(
            model.J.astype(np.float32),
            model.h.astype(np.float32),
            0.0,
            domain="spin",
            dtype=torch.float32,
            agents=agents,
            max_steps=steps,
            mode=mode,
            verbose=False,
        )
    return vector.numpy().astype(np.int8)


def _annealing(sweeps: int, reads: int, tuned: bool) -> Peer:
    name = f"dwave SA, {'tuned' if tuned else 'default'} beta"
    solve = partial(dwave_annealing, sweeps=sweeps, reads=reads, tuned=tuned)
    return Peer(name, "dwave.samplers", f"{sweeps}x{reads}", solve)


def _tabu(milliseconds: int) -> Peer:
    solve = partial(dwave_tabu, milliseconds=milliseconds)
    return Peer("dwave tabu", "dwave.samplers", f"{milliseconds} ms", solve)


def _descent(reads: int) -> Peer:
    solve = partial(dwave_descent, reads=reads)
    return Peer(
        "dwave steepest descent", "dwave.samplers", "1 read" if reads == 1 else f"{reads} reads", solve
    )


def _openjij(sweeps: int, reads: int, tuned: bool) -> Peer:
    name = f"openjij SA, {'tuned' if tuned else 'default'} beta"
    solve = partial(openjij_annealing, sweeps=sweeps, reads=reads, tuned=tuned)
    return Peer(name, "openjij", f"{sweeps}x{reads}", solve, slow=True)


def _openjij_quantum(sweeps: int, reads: int) -> Peer:
    solve = partial(openjij_quantum, sweeps=sweeps, reads=reads)
    return Peer("openjij SQA, tuned", "openjij", f"{sweeps}x{reads}", solve, slow=True)


def _bifurcation(mode: str, agents: int, steps: int) -> Peer:
    solve = partial(bifurcation, mode=mode, agents=agents, steps=steps)
    name = f"simulated-bifurcation, {mode}"
    return Peer(name, "simulated_bifurcation", f"{agents} agents, {steps} steps", solve, slow=True)


NEAL = Peer("neal as published", "neal", "defaults", neal_as_published, slow=True)

PEERS = {
    "W1": [
        *(_annealing(sweeps, 10, True) for sweeps in (100, 300, 1000)),
        *(_annealing(sweeps, 10, False) for sweeps in (100, 1000)),
        *(_tabu(milliseconds) for milliseconds in (5, 20, 100)),
        *(_descent(reads) for reads in (1, 100)),
        NEAL,
        _openjij(100, 10, True),
        _openjij(1000, 1, False),
        _openjij_quantum(1000, 1),
        *(_bifurcation(mode, 16, 10000) for mode in ("ballistic", "discrete")),
    ],
    "W2": [
        *(_annealing(1000, reads, True) for reads in (1, 10)),
        _annealing(1000, 1, False),
        *(_tabu(milliseconds) for milliseconds in (20, 500)),
        *(_descent(reads) for reads in (1, 100)),
        NEAL,
        _openjij(100, 1, True),
        _openjij_quantum(1000, 1),
        *(_bifurcation(mode, 16, 10000) for mode in ("ballistic", "discrete")),
    ],
}
# Only with --full: what peers do when left at their defaults, for minutes.
BIFURCATIONS = [_bifurcation(mode, 128, 10000) for mode in ("ballistic", "discrete")]
FULL_PEERS = {
    "W1": [_annealing(10000, 10, True), *BIFURCATIONS],
    "W2": [_annealing(1000, 10, False), *BIFURCATIONS],
}


@cache
def model_of_row(layer: Layer, row: int) -> Model:
    return Model(layer.fields(row), layer.couplings, layer.tuned_beta)


def need(module: str) -> None:
    pytest.importorskip(module, reason=f"{module} is not installed", exc_type=ImportError)


def solve_rows(peer: Peer, layer: Layer, rows: int) -> Spins:
    return np.array([peer.solve(model_of_row(layer, row), row) for row in range(rows)])


def per_mode(values: Sequence[Any], full_values: Sequence[Any]) -> list[Any]:
    """Parameters of a test, the second ones with --full only."""
    marked = [pytest.param(value, marks=pytest.mark.full, id=str(value)) for value in full_values]
    return [*(pytest.param(value, id=str(value)) for value in values), *marked]


# ----------------------------------------------------------------------------------------------------
# Time to a target


def time_to_target(seconds_per_run: float, hits: int, runs: int) -> float:
    """Seconds of repeated runs until the target is reached with probability 99 %: t ln(.01) / ln(1 - p).

    At least one run; infinite without a hit.
    """
    if hits == 0:
        return math.inf
    if hits == runs:
        return seconds_per_run
    return seconds_per_run * max(1.0, math.log(0.01) / math.log1p(-hits / runs))
