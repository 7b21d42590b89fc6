"""Measures every method on every family of problems, beside what ``method="auto"`` makes of them.

    python benchmarks/choose.py                  # calls without a time limit: sweeps from 1 to thousands
    python benchmarks/choose.py --timed 0.001 0.1 1
    python benchmarks/choose.py --held-out       # other random problems than those that chose the rules

For each problem the gap is the energy above the best found by any method at any budget of this run, over the
energy of that best. The default is on the front where no single method has a gap 10 % smaller in the
same time, or the same gap in half the time. The rules live in ``cpp/src/batch/rules.cpp``.
Times are processor times of one thread, the least of a few calls.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from families import FAMILIES, Batch, make
from qpsbgd import solve_ising

SWEEPS = {
    "descent": (None,),
    "tabu": (1, 3, 10, 30, 100, 200, 300, 1000, 3000),
    "anneal": (10, 30, 100, 300, 1000, 3000, 10000),
    "auto": (None, 1, 10, 100, 1000),
}
LONGEST_SECONDS = 2.0
TOLERANCE = 0.10
TIMES_SLOWER = 2.0


@dataclass
class Point:
    """One budget of one method on one problem: mean energy a problem, processor seconds a problem."""

    family: str
    n: int
    seed: int
    method: str
    budget: str
    seconds: float
    energies: list[float]
    chosen: str
    gap: float = float("nan")


def measure(batch: Batch, method: str, calls: int, **budget: Any) -> tuple[float, list[float], str]:
    """Processor seconds a problem (least of the calls), mean energies over seeds, the method chosen."""
    seconds, energies, chosen = [], [], ""
    for seed in range(calls):
        begin = time.process_time()
        solutions = solve_ising(batch.h, batch.J, method=method, seed=seed, num_threads=1, **budget)
        seconds.append((time.process_time() - begin) / len(batch.h))
        energies.append(solutions.best_energies)
        chosen = str(solutions.info["method"])
    return min(seconds), np.mean(energies, axis=0).tolist(), chosen


def points_of(family: str, n: int, seed: int, limits: list[float], calls: int, reads: int) -> Iterable[Point]:
    """Every method at every budget, each method's budgets from the smallest until they take too long."""
    batch = make(family, n, seed)
    n = batch.h.shape[1]
    for method, ladder in SWEEPS.items():
        budgets: list[tuple[str, dict[str, Any]]]
        if limits:
            budgets = [(f"{limit:g} s", {"time_limit": limit}) for limit in limits]
        else:
            budgets = [(f"{s or 'default'} sweeps", {"num_sweeps": s}) for s in ladder]
        for label, budget in budgets:
            seconds, energies, chosen = measure(batch, method, calls, num_reads=reads, **budget)
            yield Point(family, n, seed, method, label, seconds, energies, chosen)
            if not limits and seconds * len(batch.h) > LONGEST_SECONDS:
                break


def set_gaps(points: list[Point]) -> None:
    """Gap of every point of one problem to the best energies of all of them."""
    best = np.min([point.energies for point in points], axis=0)
    for point in points:
        point.gap = float(np.mean((np.asarray(point.energies) - best) / np.abs(best)))


def shortfall(default: Point, others: list[Point]) -> str:
    """What keeps the default from the front, or nothing."""
    # The best in the same time, and in half of it. Gaps within a millionth count as equal.
    ahead = [p for p in others if p.seconds <= 1.02 * default.seconds]
    quick = [p for p in ahead if TIMES_SLOWER * p.seconds <= default.seconds]
    best = min(ahead, key=lambda p: p.gap, default=None)
    at_half = min(quick, key=lambda p: p.gap, default=None)
    if best is None or default.gap <= (1 + TOLERANCE) * best.gap + 1e-6:
        return ""
    if at_half is None or default.gap <= at_half.gap + 1e-6:
        return ""
    return f"{best.method} {best.budget}: gap {best.gap:.2e} in {best.seconds:.2e} s"


def report(points: list[Point]) -> int:
    """Print the table; the number of points at which the default is off the front."""
    off = 0
    problems = sorted({(p.family, p.n, p.seed) for p in points}, key=lambda key: (key[0], key[1], key[2]))
    for family, n, seed in problems:
        of_problem = [p for p in points if (p.family, p.n, p.seed) == (family, n, seed)]
        set_gaps(of_problem)
        others = [p for p in of_problem if p.method != "auto"]
        print(f"\n{family} n={n} seed={seed}")
        for point in of_problem:
            better = shortfall(point, others) if point.method == "auto" else ""
            off += bool(better)
            print(
                f"  {point.method:8}{point.budget:16}{point.seconds:10.2e} s  gap {point.gap:9.2e}"
                f"  {point.chosen if point.method == 'auto' else '':8}{'<- ' + better if better else ''}"
            )
    total = sum(p.method == "auto" for p in points)
    print(f"\nThe default is off the front at {off} of {total} points.")
    return off


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--families", nargs="*", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--sizes", nargs="*", type=int, help="only these sizes")
    parser.add_argument("--seeds", type=int, default=1, help="problems of each family and size")
    parser.add_argument("--calls", type=int, default=3, help="seeds of the solver")
    parser.add_argument("--reads", type=int, default=1, help="reads of every call; the best one counts")
    parser.add_argument("--timed", nargs="*", type=float, default=[], metavar="SECONDS", help="time limits")
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--out", type=Path, help="write every point as JSON")
    arguments = parser.parse_args()
    first = 100 if arguments.held_out else 0
    points: list[Point] = []
    for family in arguments.families:
        for n in FAMILIES[family][1]:
            if arguments.sizes and n not in arguments.sizes:
                continue
            for seed in range(first, first + arguments.seeds):
                points.extend(points_of(family, n, seed, arguments.timed, arguments.calls, arguments.reads))
    report(points)
    if arguments.out:
        arguments.out.write_text(json.dumps([asdict(point) for point in points], indent=1))


if __name__ == "__main__":
    main()
