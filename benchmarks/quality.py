"""The best energy within a time limit, on Gset and like instances, ours with default arguments beside peers.

    python benchmarks/quality.py G22 G67 --seconds 1 60 --seeds 5 --json build/quality.json
    python benchmarks/quality.py --plot build/quality.json docs/images/energy-time.png

Everything runs on one thread. A peer joins where it can be imported: MQLib (`--heuristic`), annealing of
openjij and dwave-samplers, and tabu search of dwave-samplers. A peer without a time limit runs again and
again, each time with twice the sweeps, while the next run is likely to end in time; the best run counts.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

import gset
from qpsbgd import solve_ising

Couplings = scipy.sparse.csr_matrix
Solver = Callable[[Couplings, float, int], float]  # couplings, seconds, seed -> energy

DEFAULT_INSTANCES = ["G22", "G32", "G35", "G39", "G40", "G55", "G56", "G57", "G60", "G62", "G65", "G67"]
PUBLISHED_MEANS = {  # of TSHEA, a memetic tabu search (Wu et al., 2015)
    "G22": 13359.0,
    "G32": 1410.0,
    "G35": 7685.6,
    "G39": 2408.0,
    "G55": 10291.8,
    "G60": 14173.5,
    "G67": 6937.3,
}


@dataclass(frozen=True)
class Run:
    """One solve: the value is the cut, or minus the energy where the instance is no cut."""

    instance: str
    solver: str
    seconds: float
    seed: int
    value: float
    elapsed: float
    processor: float


@dataclass(frozen=True)
class Instance:
    """Minimise s'Js; the value of an energy is (total - energy) / 2."""

    name: str
    couplings: Couplings
    total: float
    best_known: float | None

    def value(self, energy: float) -> float:
        return (self.total - energy) / 2.0


def instance(name: str, folder: Path | None) -> Instance:
    """A file NAME.txt of the folder, a generated member of Gset, or `bqp2500`: a tenth of all pairs."""
    if name == "bqp2500":
        rng = np.random.default_rng(2500)
        upper = scipy.sparse.random(
            2500, 2500, 0.1, random_state=rng, data_rvs=lambda k: rng.integers(-100, 101, k)
        )
        return Instance(name, scipy.sparse.triu(upper, 1).tocsr(), 0.0, None)
    path = folder / f"{name}.txt" if folder else None
    text = path.read_text() if path and path.exists() else gset.text(name)
    numbers = np.array(text.split()[2:], dtype=np.int64).reshape(-1, 3)
    n = int(text.split()[0])
    ends = (numbers[:, 0] - 1, numbers[:, 1] - 1)
    couplings = scipy.sparse.coo_matrix((numbers[:, 2].astype(float), ends), shape=(n, n)).tocsr()
    best = float(gset.MEMBERS[name][1]) if name in gset.MEMBERS else None
    return Instance(name, couplings, float(couplings.sum()), best)


def ours(couplings: Couplings, seconds: float, seed: int) -> float:
    """The call that a user makes."""
    fields = np.zeros(couplings.shape[0])
    return float(
        solve_ising(fields, couplings, time_limit=seconds, seed=seed, num_threads=1).best_energies[0]
    )


def _doubling(run: Callable[[int, int], float], seconds: float, seed: int, first: int) -> float:
    """run(sweeps, seed) with ever more sweeps; at least once."""
    start = time.monotonic()
    best, sweeps, last = np.inf, first, 0.0
    while best == np.inf or time.monotonic() - start + 2.0 * last < seconds:
        began = time.monotonic()
        best = min(best, run(sweeps, seed))
        last = time.monotonic() - began
        sweeps, seed = 2 * sweeps, seed + 1000
    return float(best)


def _as_dict(couplings: Couplings) -> dict[tuple[int, int], float]:
    entries = couplings.tocoo()
    return {
        (int(i), int(j)): float(w) for i, j, w in zip(entries.row, entries.col, entries.data, strict=True)
    }


def _mqlib(heuristic: str) -> Solver:
    mqlib: Any = importlib.import_module("MQLib")

    def solve(couplings: Couplings, seconds: float, seed: int) -> float:
        problem = mqlib.Instance("M", (couplings + couplings.T).toarray())
        found = mqlib.runHeuristic(heuristic, problem, seconds, lambda *_: 1, seed)
        return float(couplings.sum() - 2.0 * found["objval"])

    return solve


def _openjij() -> Solver:
    openjij: Any = importlib.import_module("openjij")

    def solve(couplings: Couplings, seconds: float, seed: int) -> float:
        J = _as_dict(couplings)

        def run(sweeps: int, seed: int) -> float:
            return float(openjij.SASampler().sample_ising({}, J, num_sweeps=sweeps, seed=seed).first.energy)

        return _doubling(run, seconds, seed, 50)

    return solve


def _dwave(sampler: str) -> Solver:
    dimod: Any = importlib.import_module("dimod")
    samplers: Any = importlib.import_module("dwave.samplers")

    def solve(couplings: Couplings, seconds: float, seed: int) -> float:
        fields = dict.fromkeys(range(couplings.shape[0]), 0.0)
        bqm = dimod.BinaryQuadraticModel.from_ising(fields, _as_dict(couplings))
        if sampler == "tabu":
            limit = {"timeout": max(1, int(1000 * seconds)), "num_restarts": 10**9}
            return float(samplers.TabuSampler().sample(bqm, num_reads=1, seed=seed, **limit).first.energy)

        def run(sweeps: int, seed: int) -> float:
            annealer = samplers.SimulatedAnnealingSampler()
            return float(annealer.sample(bqm, num_reads=1, num_sweeps=sweeps, seed=seed).first.energy)

        return _doubling(run, seconds, seed, 50)

    return solve


def solvers(wanted: list[str], heuristic: str) -> dict[str, Solver]:
    """Ours, and those of the wanted peers that can be imported."""
    peers: dict[str, tuple[str, Callable[[], Solver]]] = {
        "mqlib": (f"MQLib {heuristic}", lambda: _mqlib(heuristic)),
        "openjij": ("openjij SA", _openjij),
        "dwave-sa": ("dwave SA", lambda: _dwave("sa")),
        "dwave-tabu": ("dwave tabu", lambda: _dwave("tabu")),
    }
    found = {"qpsbgd (default)": ours}
    for name in wanted:
        label, make = peers[name]
        try:
            found[label] = make()
        except ImportError as error:
            print(f"left out {name}: {error}", file=sys.stderr)
    return found


def measure(problem: Instance, label: str, solve: Solver, seconds: float, seed: int) -> Run:
    """One run, with its wall and processor time."""
    start, busy = time.monotonic(), time.process_time()
    value = problem.value(solve(problem.couplings, seconds, seed))
    return Run(
        problem.name, label, seconds, seed, value, time.monotonic() - start, time.process_time() - busy
    )


def line(problem: Instance, runs: list[Run]) -> str:
    """Mean, best and gap of the runs of one solver at one limit."""
    values = [run.value for run in runs]
    mean = statistics.fmean(values)
    known = problem.best_known
    gap = f"{100 * (known - mean) / abs(known):8.3f} %" if known else " " * 10
    busy = statistics.fmean(run.processor for run in runs)
    numbers = f"mean {mean:10.1f}  best {max(values):9.0f}  known {known or float('nan'):8.0f}  gap {gap}"
    published = PUBLISHED_MEANS.get(problem.name, float("nan"))
    head = f"{problem.name:8s} {runs[0].solver:18s} {runs[0].seconds:7g} s"
    return f"{head}  {numbers}  TSHEA {published:8.1f}  processor {busy:6.2f} s"


def plot(source: Path, target: Path) -> None:
    """Gap to the best known value, or to the best of any run, against the time spent: a panel an instance."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    runs = [Run(**entry) for entry in json.loads(source.read_text())["runs"]]
    names = list(dict.fromkeys(run.instance for run in runs))
    labels = list(dict.fromkeys(run.solver for run in runs))
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3.6 * columns, 2.8 * rows), squeeze=False, sharex=True
    )
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    for axis, name in zip(axes.flat, names, strict=False):
        known = gset.MEMBERS[name][1] if name in gset.MEMBERS else -np.inf
        best = max(known, *(run.value for run in runs if run.instance == name))
        for number, label in enumerate(labels):
            own = [run for run in runs if run.instance == name and run.solver == label]
            times = sorted({run.seconds for run in own})
            means = [statistics.fmean(run.value for run in own if run.seconds == t) for t in times]
            spent = [statistics.fmean(run.elapsed for run in own if run.seconds == t) for t in times]
            gaps = [100 * (1 - mean / best) for mean in means]
            axis.plot(spent, np.maximum(gaps, 1e-3), "o-", ms=3, lw=2 if number == 0 else 1, label=label)
        axis.set(title=name, xscale="log", yscale="log", ylim=(7e-4, None))
        axis.grid(alpha=0.25)
    for axis in axes[:, 0]:
        axis.set_ylabel("mean gap, % (0 at .001)")
    for axis in axes[-1]:
        axis.set_xlabel("time, s")
    lines, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(lines, names, frameon=False, fontsize=8, ncols=len(names), loc="upper center")
    figure.tight_layout(rect=(0, 0, 1, 0.93))
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=110)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("instances", nargs="*", default=DEFAULT_INSTANCES, help="members of Gset, or bqp2500")
    parser.add_argument("--seconds", nargs="+", type=float, default=[10.0], help="time limits")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--peers", nargs="*", default=["mqlib", "openjij", "dwave-sa", "dwave-tabu"])
    parser.add_argument("--heuristic", default="BURER2002", help="of MQLib")
    parser.add_argument("--json", type=Path, help="where the runs go; written after every line")
    parser.add_argument(
        "--plot", nargs=2, type=Path, metavar=("JSON", "PNG"), help="draw these runs, measure nothing"
    )
    return parser.parse_args()


def main() -> None:
    """Measure and print, or draw."""
    arguments = _arguments()
    if arguments.plot:
        plot(*arguments.plot)
        return
    data = os.environ.get("QPSBGD_DATA")
    folder = Path(data) / "qubo" / "gset" if data else None
    runs: list[Run] = []
    for name in arguments.instances:
        problem = instance(name, folder)
        for label, solve in solvers(arguments.peers, arguments.heuristic).items():
            for seconds in arguments.seconds:
                own = [measure(problem, label, solve, seconds, seed) for seed in range(arguments.seeds)]
                runs += own
                print(line(problem, own), flush=True)
                if arguments.json:
                    arguments.json.parent.mkdir(parents=True, exist_ok=True)
                    arguments.json.write_text(json.dumps({"runs": [asdict(run) for run in runs]}, indent=1))


if __name__ == "__main__":
    main()
