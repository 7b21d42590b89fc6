"""Streams of problems: an iterator in, an iterator of solutions out, in bounded memory and on any executor.

Problems are cut into parts of about equal cost. A part is solved here, or by a worker of an executor, where
neighbours of the same shape are one native call. Every problem draws its random numbers by its number in the
stream, so answers depend neither on the parts nor on the executor.

A worker that dies takes its part with it, and with a process pool all others, too. Where `executor` is a
function that makes executors, another one is made, and what was under way is sent again.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from qpsbgd.problem.checks import check_choice, seed_or_random
from qpsbgd.problem.ising import CSRCouplings, IsingProblem, Solutions
from qpsbgd.solvers.native import NativeSolver, default_num_threads, for_workers

__all__ = ["ProblemError", "solve_stream"]

_MOST_PROBLEMS = 256
_MOST_ENTRIES = 1 << 20
"""Of a part: problems, and couplings of all of them."""

_TRIES = 3
"""How often a part is sent before its loss counts as its own fault."""

_PARTS_PER_WORKER = 2
"""Parts under way: one that is solved and one that waits."""


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
    executor: Executor | Callable[[], Executor] | None = None,
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
        another executor made when workers die, and shut down at the end. The workers of pools of threads or
        processes share this machine's processors.
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
        If an element of `problems` is no `IsingProblem`.
    ProblemError
        If a problem cannot be solved and `errors` is "raise".
    BrokenExecutor
        If workers die, and `executor` is no function or its workers die again and again.

    Examples
    --------
    >>> from qpsbgd.problem import qubo_problem
    >>> stream = (qubo_problem(np.diag([-1.0, float(k)])) for k in range(3))
    >>> [solutions.best_samples[0].tolist() for solutions in solve_stream(stream, seed=0)]
    [[1, 0], [1, 0], [1, 0]]
    """
    check_choice("errors", errors, ("raise", "yield"))
    solver = NativeSolver() if solver is None else solver
    drawn = seed_or_random(seed)
    parts = _parts(problems)
    answers: Iterator[list[Solutions | ProblemError]]
    if executor is None:
        answers = (_solve_part(solver, part, drawn) for part in parts)
    else:
        answers = _Workers(solver, drawn, executor).solve(parts)
    return _flattened(answers, errors)


@dataclass(frozen=True)
class _Part:
    """Problems that follow each other in the stream."""

    first: int
    problems: list[IsingProblem]


def _flattened(
    answers: Iterator[list[Solutions | ProblemError]], errors: str
) -> Iterator[Solutions | ProblemError]:
    for answer in itertools.chain.from_iterable(answers):
        if errors == "raise" and isinstance(answer, ProblemError):
            raise answer
        yield answer


def _parts(problems: Iterable[IsingProblem]) -> Iterator[_Part]:
    first, part, entries = 0, list[IsingProblem](), 0
    for number, problem in enumerate(problems):
        if not isinstance(problem, IsingProblem):
            raise TypeError(
                f"problems must hold IsingProblem, as ising_problem and qubo_problem make them, but problem "
                f"{number} is {type(problem).__name__}"
            )
        size = len(problem.J.data) if isinstance(problem.J, CSRCouplings) else problem.J.size
        if part and (entries + size > _MOST_ENTRIES or len(part) == _MOST_PROBLEMS):
            yield _Part(first, part)
            first, part, entries = number, [], 0
        part.append(problem)
        entries += size
    if part:
        yield _Part(first, part)


def _solve_part(solver: NativeSolver, part: _Part, seed: int) -> list[Solutions | ProblemError]:
    """Solve neighbours of the same shape together; where one of them fails, each alone."""
    found: list[Solutions | ProblemError] = []
    number = part.first
    for _, same in itertools.groupby(part.problems, _shape):
        group = list(same)
        try:
            found += _solve_group(solver, group, seed, number)
        except (ValueError, TypeError, ArithmeticError, MemoryError) as error:
            if len(group) == 1:
                found.append(_failed(number, error))
            else:
                alone = (_solve_part(solver, _Part(number + k, [one]), seed) for k, one in enumerate(group))
                found += itertools.chain.from_iterable(alone)
        number += len(group)
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
    solver: NativeSolver, group: Sequence[IsingProblem], seed: int, number: int
) -> list[Solutions | ProblemError]:
    begin = time.perf_counter_ns()
    if len(group) == 1:
        return [solver._solve(group[0], seed, number, begin)]
    n = group[0].num_spins
    joined = IsingProblem(
        np.concatenate([problem.h for problem in group]),
        np.stack([np.asarray(problem.J).reshape(n, n) for problem in group]),
        np.concatenate([problem.offset for problem in group]),
        group[0].coupling_scale,
        group[0].binary,
    )
    together = solver._solve(joined, seed, number, begin)
    return [_one_of(together, index) for index in range(len(group))]


def _one_of(together: Solutions, index: int) -> Solutions:
    info = dict(together.info)
    if "trace" in info:
        info["trace"] = [info["trace"][index]]
    chosen = slice(index, index + 1)
    return replace(together, samples=together.samples[chosen], energies=together.energies[chosen], info=info)


class _Workers:
    """An executor, and the parts that are under way there."""

    def __init__(self, solver: NativeSolver, seed: int, executor: Executor | Callable[[], Executor]) -> None:
        self._solver, self._seed = solver, seed
        self._make = None if isinstance(executor, Executor) else executor
        self._executor = executor if isinstance(executor, Executor) else executor()
        self._queue: deque[tuple[_Part, Future[list[Solutions | ProblemError]]]] = deque()

    def solve(self, parts: Iterator[_Part]) -> Iterator[list[Solutions | ProblemError]]:
        workers = getattr(self._executor, "_max_workers", None) or default_num_threads()
        self._solver = for_workers(self._solver, self._executor, workers)
        try:
            for part in itertools.islice(parts, workers * _PARTS_PER_WORKER):
                self._send(part)
            while self._queue:
                yield self._first_answer()
                for part in itertools.islice(parts, 1):
                    self._send(part)
        finally:
            for _, future in self._queue:
                future.cancel()
            if self._make is not None:
                self._executor.shutdown(wait=False, cancel_futures=True)

    def _send(self, part: _Part) -> None:
        try:
            future = self._executor.submit(_solve_part, self._solver, part, self._seed)
        except BrokenExecutor as error:  # noticed when the part before is awaited
            future = Future()
            future.set_exception(error)
        self._queue.append((part, future))

    def _first_answer(self) -> list[Solutions | ProblemError]:
        for attempt in range(_TRIES):
            future = self._queue[0][1]
            try:
                answer = future.result()
            except BrokenExecutor:
                if self._make is None or attempt == _TRIES - 1:
                    raise
                self._send_again(self._make)
                continue
            self._queue.popleft()
            return answer
        raise AssertionError("the last attempt returns or raises")

    def _send_again(self, make: Callable[[], Executor]) -> None:
        """Make another executor, and send it what the broken one has not answered."""
        with suppress(Exception):
            self._executor.shutdown(wait=False, cancel_futures=True)
        self._executor = make()
        before, self._queue = self._queue, deque()
        for part, future in before:
            if future.done() and not future.cancelled() and future.exception() is None:
                self._queue.append((part, future))
            else:
                self._send(part)
