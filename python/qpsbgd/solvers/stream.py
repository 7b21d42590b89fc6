"""Streams of problems: an iterator in, an iterator of solutions out, in bounded memory and on any executor.

Problems are cut into parts of about equal estimated cost. A part is solved here, or by a worker of an
executor, where neighbours of the same shape are one native call. Every problem draws its random numbers by
its number in the stream, so answers depend neither on the parts nor on the executor.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from qpsbgd.problem.checks import check_choice, seed_or_random
from qpsbgd.problem.ising import CSRCouplings, IsingProblem, Solutions
from qpsbgd.solvers.costs import num_entries, problem_seconds
from qpsbgd.solvers.device.choose import refuse_on_device
from qpsbgd.solvers.native import NativeSolver
from qpsbgd.solvers.workers import Cancellation, Executors, Workers, check_executor, in_order

__all__ = ["ProblemError", "solve_stream"]

_MOST_PROBLEMS = 256
_MOST_ENTRIES = 1 << 20
_MOST_SECONDS = 0.05
"""Of a part: problems, couplings of all of them, and what they are estimated to take."""


class ProblemError(RuntimeError):
    """A problem of a stream could not be solved; ``__cause__`` is why, unless it was another process.

    Attributes
    ----------
    number : int
        Its number in the stream, from 0.

    Examples
    --------
    >>> str(ProblemError(3, "too large"))
    'problem 3: too large'
    """

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"problem {number}: {reason}")
        self.number = number
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments, not the message."""
        return type(self), (self.number, self.reason)


def solve_stream(
    problems: Iterable[IsingProblem],
    *,
    solver: NativeSolver | None = None,
    seed: int | None = None,
    executor: Executors | None = None,
    errors: Literal["raise", "yield"] = "raise",
) -> Iterator[Any]:
    """Solve problems as they come, and give their solutions in the same order.

    Parameters
    ----------
    problems : iterable of IsingProblem
        As `qpsbgd.problem.ising_problem` and `qubo_problem` make them, read a few parts ahead.
    solver : NativeSolver, optional
        With its options; the default one if not given. A `time_limit` counts for each part.
    seed : int, optional
        0 <= seed < 2**64. None draws one. Dense problems of one size have the answers that they have in one
        batch.
    executor : concurrent.futures.Executor, or function that makes one, optional
        Solves the parts: of threads, processes, `dask.distributed`, `mpi4py.futures`. Only with a function is
        another executor made when workers die or parts are refused, and shut down at the end. Without
        `num_threads` the parts that are at work on a machine share its processors, where the executor tells
        how many these are.
    errors : {"raise", "yield"}
        What happens to a problem that cannot be solved: it ends the stream, or its `ProblemError` comes in
        the place of its solutions and the others go on.

    Yields
    ------
    Solutions, or ProblemError with errors="yield"
        One for each problem. ``info["timing"]`` and ``info["sweeps"]`` are those of all problems that were
        one native call.

    Raises
    ------
    TypeError
        If an element of `problems` is no `IsingProblem`, or `executor` neither an executor nor a function.
    ProblemError
        If a problem cannot be solved, or kills each worker that gets it, and `errors` is "raise".
    BrokenExecutor
        If workers die, and `executor` is no function or its workers die at any work.

    Examples
    --------
    >>> from qpsbgd.problem import qubo_problem
    >>> stream = (qubo_problem(np.diag([-1.0, float(k)])) for k in range(3))
    >>> [solutions.best_samples[0].tolist() for solutions in solve_stream(stream, seed=0)]
    [[1, 0], [1, 0], [1, 0]]
    """
    check_choice("errors", errors, ("raise", "yield"))
    solver = NativeSolver() if solver is None else solver
    if solver.device is not None:
        refuse_on_device(executor=executor)
    drawn = seed_or_random(seed)
    parts = _parts(problems, solver, drawn)
    if executor is None:
        return _flattened((_solve_part(part) for part in parts), errors)
    check_executor(executor)
    return _flattened(in_order(parts, executor), errors)


@dataclass(frozen=True)
class _Part:
    """Problems that follow each other in the stream, and how to solve them."""

    solver: NativeSolver
    seed: int
    first: int
    problems: list[IsingProblem]

    def call(self, workers: Workers, cancellation: Cancellation) -> tuple[Any, ...]:
        return _solve_in_worker, self, workers, cancellation

    def halves(self) -> list[_Part]:
        middle = len(self.problems) // 2
        if not middle:
            return []
        return [
            replace(self, problems=self.problems[:middle]),
            replace(self, first=self.first + middle, problems=self.problems[middle:]),
        ]

    def lost(self, error: BaseException) -> list[Solutions | ProblemError]:
        failure = ProblemError(self.first, f"each worker that got it died ({type(error).__name__}: {error})")
        failure.__cause__ = error
        return [failure]


def _flattened(
    answers: Iterator[list[Solutions | ProblemError]], errors: str
) -> Iterator[Solutions | ProblemError]:
    with contextlib.closing(answers):  # type: ignore[type-var]
        for answer in itertools.chain.from_iterable(answers):
            if errors == "raise" and isinstance(answer, ProblemError):
                raise answer
            yield answer


def _parts(problems: Iterable[IsingProblem], solver: NativeSolver, seed: int) -> Iterator[_Part]:
    options = solver.method, solver.num_reads, solver.num_sweeps, solver.time_limit
    first, part, entries, seconds = 0, list[IsingProblem](), 0, 0.0
    try:
        for number, problem in enumerate(problems):
            _check_problem(problem, number)
            size, cost = num_entries(problem), problem_seconds(problem, *options)
            full = entries + size > _MOST_ENTRIES or seconds + cost > _MOST_SECONDS
            if part and (full or len(part) == _MOST_PROBLEMS):
                yield _Part(solver, seed, first, part)
                first, part, entries, seconds = number, [], 0, 0.0
            part.append(problem)
            entries += size
            seconds += cost
    except Exception:
        if part:  # the problems before have their solutions all the same
            yield _Part(solver, seed, first, part)
        raise
    if part:
        yield _Part(solver, seed, first, part)


def _check_problem(problem: object, number: int) -> None:
    if not isinstance(problem, IsingProblem):
        raise TypeError(
            f"problems must hold IsingProblem, as ising_problem and qubo_problem make them, but problem "
            f"{number} is {type(problem).__name__}"
        )


def _solve_in_worker(
    part: _Part, workers: Workers, cancellation: Cancellation
) -> list[Solutions | ProblemError]:
    if part.solver.num_threads is None:
        part = replace(part, solver=replace(part.solver, num_threads=workers.num_threads()))
    return _solve_part(part, cancellation.asked)


def _solve_part(part: _Part, cancelled: Callable[[], bool] | None = None) -> list[Solutions | ProblemError]:
    """Solve neighbours of the same shape together; where one of them fails, each alone."""
    found: list[Solutions | ProblemError] = []
    number = part.first
    for _, same in itertools.groupby(part.problems, _shape):
        group = list(same)
        if cancelled is not None and cancelled():
            raise CancelledError("nobody waits for this part any more")
        try:
            found += _solve_group(part, group, number, cancelled)
        except (ValueError, TypeError, ArithmeticError, MemoryError) as error:
            if len(group) == 1:
                found.append(_failed(number, error))
            else:
                for k, one in enumerate(group):
                    found += _solve_part(replace(part, first=number + k, problems=[one]), cancelled)
        number += len(group)
    if cancelled is not None and cancelled():  # what was found is not what was asked for
        raise CancelledError("nobody waits for this part any more")
    return found


def _failed(number: int, error: Exception) -> ProblemError:
    failure = ProblemError(number, str(error) or type(error).__name__)
    failure.__cause__ = error
    return failure


def _shape(problem: IsingProblem) -> Any:
    """Return what problems share that are one native call; the identity of those that are a call each."""
    if isinstance(problem.J, CSRCouplings) or problem.num_problems != 1 or problem.initial_states is not None:
        return id(problem)
    return problem.num_spins, problem.J.dtype, problem.coupling_scale, problem.binary


def _solve_group(
    part: _Part, group: Sequence[IsingProblem], number: int, cancelled: Callable[[], bool] | None
) -> list[Solutions | ProblemError]:
    begin = time.perf_counter_ns()
    if len(group) == 1:
        return [part.solver._solve(group[0], part.seed, number, begin, cancelled)]
    n = group[0].num_spins
    joined = IsingProblem(
        np.concatenate([problem.h for problem in group]),
        np.stack([np.asarray(problem.J).reshape(n, n) for problem in group]),
        np.concatenate([problem.offset for problem in group]),
        group[0].coupling_scale,
        group[0].binary,
    )
    together = part.solver._solve(joined, part.seed, number, begin, cancelled)
    return [_one_of(together, index) for index in range(len(group))]


def _one_of(together: Solutions, index: int) -> Solutions:
    info = dict(together.info)
    if "trace" in info:
        info["trace"] = [info["trace"][index]]
    chosen = slice(index, index + 1)
    return replace(together, samples=together.samples[chosen], energies=together.energies[chosen], info=info)
