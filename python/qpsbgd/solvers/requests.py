"""Work that needs a solver now and then, as generators, so that all of it can be solved at once.

A piece of work yields a list of `Request` wherever it needs problems solved. It is sent the list of their
`Solutions`, in the same order, and returns its result at the end. One list holds everything that the work can
ask at that point: a solver that works elsewhere solves all of a list at the same time.

`answer_requests` runs such pieces of work. `together` makes one piece of several.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any, Generic, Literal, NamedTuple, TypeAlias, TypeVar

from qpsbgd.problem.ising import IsingProblem, Solutions
from qpsbgd.solvers.protocol import (
    AsyncQuboSolver,
    PendingSolutions,
    QuboSolver,
    checked_energies,
    checked_solutions,
)

__all__ = ["Request", "Work", "answer_requests", "together"]

ResultT = TypeVar("ResultT")


class Request(NamedTuple):
    """One batch to solve.

    Attributes
    ----------
    problem : IsingProblem
        The batch.
    seed : int
        Seed for the solver.
    rounds : int
        How often the work asks for a batch of this size from here on, this time included.
    first : int
        Number of problems that come before these ones in the batch they are a part of. Above 0 only for
        solvers that have ``solve_part(problem, *, seed, first_problem)``, which answers as for the whole.
    """

    problem: IsingProblem
    seed: int
    rounds: int = 1
    first: int = 0


Work: TypeAlias = Generator[list[Request], list[Solutions], ResultT]
"""Yields lists of requests, is sent lists of their solutions, and returns its result."""


def answer_requests(
    works: Sequence[Work[ResultT]], solver: QuboSolver | Literal["native", "device"]
) -> list[ResultT]:
    """Run all pieces of work to their end and return their results.

    An ordinary solver gets one problem after the other. An `AsyncQuboSolver` sees the whole step:

    1. `check_budget` gets the problems of every work's first list, each as often as its `rounds` say. Empty
       lists are answered at once and do not count.
    2. All of these problems are submitted, before the first answer is awaited.
    3. A work that has its answers goes on and submits its next list, while others are still awaited.

    When anything raises, all answers still awaited are cancelled and all works are closed.

    Parameters
    ----------
    works : sequence of generators
        Fresh ones.
    solver : QuboSolver, "native" or "device"
        What answers; the names are for work that needs no answers.

    Raises
    ------
    TypeError
        If work asks for solutions and `solver` is "native", or the solver does not return `Solutions`.
    ValueError
        If the solver's samples have another shape than the problem, or are not spins, or come with energies
        that are not theirs.

    Examples
    --------
    >>> from qpsbgd.problem import ising_problem
    >>> from qpsbgd.solvers.native import NativeSolver
    >>> def work(field):
    ...     [solutions] = yield [Request(ising_problem([field], [[0.0]]), seed=0)]
    ...     return int(solutions.best_samples[0, 0])
    >>> answer_requests([work(1.0), work(-1.0)], NativeSolver())
    [-1, 1]
    """
    try:
        # Protocols are slow to ask: .04 ms.
        if not isinstance(solver, str) and isinstance(solver, AsyncQuboSolver):
            return _answer_all(works, solver)
        return [_answer_one(work, solver) for work in works]
    finally:
        for work in works:
            work.close()


def together(works: Iterable[Work[ResultT]]) -> Work[list[ResultT]]:
    """Make one piece of work of several: each of its lists holds what all of them ask at that point.

    Each piece is started as soon as `works` gives it. So pieces that are made one by one and ask nothing are
    never held at the same time.

    Examples
    --------
    >>> from qpsbgd.problem import ising_problem
    >>> from qpsbgd.solvers.native import NativeSolver
    >>> def work(field):
    ...     [solutions] = yield [Request(ising_problem([field], [[0.0]]), seed=0)]
    ...     return int(solutions.best_samples[0, 0])
    >>> one = together(work(field) for field in (1.0, -1.0))
    >>> answer_requests([one], NativeSolver())
    [[-1, 1]]
    """
    running = _Running[ResultT]()
    try:
        asked = running.start(works)
        while asked:
            answers = iter((yield [request for requests in asked.values() for request in requests]))
            asked = running.resume(
                {number: [next(answers) for _ in requests] for number, requests in asked.items()}
            )
        return running.results
    finally:
        running.close()


class _Running(Generic[ResultT]):
    """Pieces of work that go on at the same time, by their numbers, and the results of those at their end."""

    def __init__(self) -> None:
        self._works: dict[int, Work[ResultT]] = {}
        self._results: dict[int, ResultT] = {}

    @property
    def results(self) -> list[ResultT]:
        """Results in the order of the works, when all are at their end."""
        return [self._results[number] for number in sorted(self._results)]

    def start(self, works: Iterable[Work[ResultT]]) -> dict[int, list[Request]]:
        """Start each work; return what they ask, without those that ended."""
        asked: dict[int, list[Request]] = {}
        for number, work in enumerate(works):
            self._works[number] = work
            del work  # or it would outlive its end
            asked.update(self.resume({number: None}))
        return asked

    def resume(self, answers: Mapping[int, Any]) -> dict[int, list[Request]]:
        """Send works their answers (None starts one); return what they ask next, without those that ended.

        Empty lists are answered at once, so that everything returned waits for a solver.
        """
        asked = {}
        for number, solutions in answers.items():
            try:
                requests = self._works[number].send(solutions)
                while not requests:
                    requests = self._works[number].send([])
                asked[number] = requests
            except StopIteration as end:
                self._results[number] = end.value
                del self._works[number]
        return asked

    def close(self) -> None:
        """Close works that are not at their end."""
        for work in self._works.values():
            work.close()


def _answer_one(work: Work[ResultT], solver: QuboSolver | Literal["native", "device"]) -> ResultT:
    """Run one piece of work; its problems are solved one after the other."""
    try:
        requests = next(work)
        while True:
            if isinstance(solver, str):
                raise TypeError(f"the {solver} projection asks no solver, but was asked for solutions")
            requests = work.send(
                [_checked(solver, request.problem, _solved(request, solver)) for request in requests]
            )
    except StopIteration as end:
        result: ResultT = end.value
        return result


def _checked(solver: Any, problem: IsingProblem, answer: Any) -> Solutions:
    return checked_energies(solver, problem, checked_solutions(solver, problem, answer))


def _solved(request: Request, solver: Any) -> Any:
    if request.first:
        return solver.solve_part(request.problem, seed=request.seed, first_problem=request.first)
    return solver.solve(request.problem, seed=request.seed)


def _answer_all(works: Sequence[Work[ResultT]], solver: AsyncQuboSolver) -> list[ResultT]:
    """Run all pieces of work at the same time."""
    running = _Running[ResultT]()
    asked = running.start(works)
    first = [request for requests in asked.values() for request in requests]
    if first:
        solver.check_budget([request.problem for request in first for _ in range(request.rounds)])
    awaited: list[PendingSolutions] = []
    try:
        queue = deque(_submitted(solver, number, requests, awaited) for number, requests in asked.items())
        while queue:
            # The first in the queue asks again as soon as it is answered, while the others are under way.
            number, pending = queue.popleft()
            solutions = [_checked(solver, problem, answer.result()) for problem, answer in pending]
            for again, requests in running.resume({number: solutions}).items():
                queue.append(_submitted(solver, again, requests, awaited))
    except BaseException:
        for answer in awaited:  # nothing happens to those that are done
            answer.cancel()
        raise
    return running.results


def _submitted(
    solver: AsyncQuboSolver, number: int, requests: list[Request], awaited: list[PendingSolutions]
) -> tuple[int, list[tuple[IsingProblem, PendingSolutions]]]:
    """Submit what a work asks; return its number, and each problem with its answer, noted as awaited too."""
    pending = []
    for problem, seed, _, _ in requests:
        answer = solver.submit(problem, seed=seed)
        awaited.append(answer)
        pending.append((problem, answer))
    return number, pending
