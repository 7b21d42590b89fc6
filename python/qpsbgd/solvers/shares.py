"""A batch shared by the workers of an executor: in parts of equally many problems, and joined again.

The solver is a `qpsbgd.solvers.native.NativeSolver`, which this module does not know.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from qpsbgd.problem.ising import IsingProblem, Solutions
from qpsbgd.solvers.presolving import check_presolve_fits
from qpsbgd.solvers.watching import Progress, reporter, targets_of
from qpsbgd.solvers.workers import Cancellation, Executors, PartsOf, Workers, check_executor, in_order

__all__ = ["solve_on"]


@dataclass(frozen=True)
class _Part:
    """Some problems of a batch, from number `first` on, and how to solve them."""

    solver: Any
    seed: int
    first: int
    problem: IsingProblem
    beside: int = 1
    """Parts of the batch, this one included."""

    def call(self, workers: Workers, cancellation: Cancellation) -> tuple[Any, ...]:
        return _solve_in_worker, self, workers.at_most(self.beside), cancellation

    def halves(self) -> list[_Part]:
        count = self.problem.num_problems
        return [self.some(0, count // 2), self.some(count // 2, count)] if count > 1 else []

    def some(self, begin: int, end: int, beside: int = 2) -> _Part:
        """Return one of some parts of it."""
        targets = targets_of(self.solver.target_energy, self.problem.num_problems)
        solver = replace(self.solver, target_energy=targets[begin:end]) if targets else self.solver
        return _Part(solver, self.seed, self.first + begin, self.problem.rows(slice(begin, end)), beside)

    def lost(self, error: BaseException) -> Solutions:
        name = type(error).__name__
        raise RuntimeError(
            f"problem {self.first} of the batch: each worker that got it died ({name}: {error})"
        ) from error


def _solve_in_worker(part: _Part, workers: Workers, cancellation: Cancellation) -> Solutions:
    solver = part.solver
    if solver.num_threads is None:
        solver = replace(solver, num_threads=workers.num_threads())
    found: Solutions = solver._solve(
        part.problem, part.seed, part.first, time.perf_counter_ns(), cancellation.asked
    )
    if cancellation.asked():  # what was found is not what was asked for
        raise CancelledError("nobody waits for this part any more")
    return found


def solve_on(
    solver: Any,
    problem: IsingProblem,
    seed: int,
    executor: Executors | None,
    begin: int,
    progress: Progress,
) -> Solutions:
    """Solve here, or in parts on an executor; the random streams make both answers equal."""
    if executor is None:
        with reporter(progress, problem.num_problems, solver.time_limit) as report:
            here: Solutions = solver._solve(problem, seed, 0, begin, None, report)
            return here
    check_executor(executor)
    check_presolve_fits(solver.presolve, problem, num_best=solver.num_best, sampling=solver.sampling)
    count = problem.num_problems
    if count > 1:
        solver = replace(solver, presolve=False)  # a part of one problem is solved as in the whole batch
    whole = _Part(solver.within(begin), seed, 0, problem)
    energies, found = np.full(count, np.inf), list[Solutions]()
    with contextlib.ExitStack() as stack:
        report = stack.enter_context(reporter(progress, count, solver.time_limit))
        # The problems of a batch have one size, so parts of equal cost are those of equally many. More of
        # them tell more of the progress; with a time limit they must all be at work at once.
        more = 1 if report is None or solver.time_limit is not None else 4
        parts = PartsOf(lambda workers: _cut(whole, more * workers.count))
        for answer in stack.enter_context(contextlib.closing(in_order(parts, executor))):
            found.append(answer)
            done = sum(part.samples.shape[0] for part in found)
            energies[done - answer.samples.shape[0] : done] = answer.best_energies
            if report is not None:
                report((time.perf_counter_ns() - begin) / 1e9, energies)
    return _joined(found)


def _cut(whole: _Part, num_parts: int) -> Iterator[_Part]:
    """Cut a batch into that many parts, or into its problems."""
    count = whole.problem.num_problems
    num_parts = min(num_parts, count)
    bounds = np.linspace(0, count, num_parts + 1).astype(int).tolist()
    return (whole.some(begin, end, num_parts) for begin, end in itertools.pairwise(bounds))


def _joined(parts: list[Solutions]) -> Solutions:
    """Put the parts of a batch together: as many reads as every part has."""
    info = dict(parts[0].info)
    info["sweeps"] = sum(part.info["sweeps"] for part in parts)
    info["proven_optimal"] = all(part.info["proven_optimal"] for part in parts)
    info["timing"] = {key: sum(part.info["timing"][key] for part in parts) for key in parts[0].info["timing"]}
    asked = info["num_reads"] + info["reads_left_out"]
    done = min(part.info["num_reads"] for part in parts)  # a time limit leaves some parts fewer than others
    info["num_reads"], info["reads_left_out"] = done, asked - done
    if "trace" in info:
        info["trace"] = [trace for part in parts for trace in part.info["trace"]]
    reads = min(part.samples.shape[1] for part in parts)
    return Solutions(
        np.concatenate([part.samples[:, :reads] for part in parts]),
        np.concatenate([part.energies[:, :reads] for part in parts]),
        info,
        parts[0].binary,
    )
