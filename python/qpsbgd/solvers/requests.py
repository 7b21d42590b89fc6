"""Work that needs a solver now and then, as generators, so that several pieces can be solved at once.

A piece of work yields a `Request` wherever it needs a batch solved, is sent the `Solutions`, and returns its
result at the end. `answer_requests` runs such pieces: one after the other with an ordinary solver; with an
`AsyncQuboSolver` it submits the requests of all of them before it awaits the first answer.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

from qpsbgd.problem.ising import IsingProblem, Solutions
from qpsbgd.solvers.protocol import AsyncQuboSolver, PendingSolutions, QuboSolver

__all__ = ["Request", "answer_requests"]

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
        How many requests of this size the work makes from here on, this one included.
    """

    problem: IsingProblem
    seed: int
    rounds: int = 1


def answer_requests(
    works: Sequence[Generator[Request, Solutions, ResultT]], solver: QuboSolver | Literal["native"]
) -> list[ResultT]:
    """Run all pieces of work to their end and return their results.

    Parameters
    ----------
    works : sequence of generators
        Fresh ones.
    solver : QuboSolver or "native"
        What answers; "native" is for work that needs no answers.

    Examples
    --------
    >>> from qpsbgd.problem import ising_problem
    >>> from qpsbgd.solvers.native import NativeSolver
    >>> def work(field):
    ...     solutions = yield Request(ising_problem([field], [[0.0]]), seed=0)
    ...     return int(solutions.best_samples[0, 0])
    >>> answer_requests([work(1.0), work(-1.0)], NativeSolver())
    [-1, 1]
    """
    # Protocols are slow to ask: .04 ms.
    if not isinstance(solver, str) and isinstance(solver, AsyncQuboSolver):
        return _answer_together(works, solver)
    results: list[ResultT] = []
    for work in works:
        try:
            request = next(work)
            while True:
                if isinstance(solver, str):
                    raise TypeError("the native projection asks no solver")
                request = work.send(solver.solve(request.problem, seed=request.seed))
        except StopIteration as end:
            results.append(end.value)
    return results


def _answer_together(
    works: Sequence[Generator[Request, Solutions, ResultT]], solver: AsyncQuboSolver
) -> list[ResultT]:
    results: list[Any] = [None] * len(works)
    requests: dict[int, Request] = {}
    pending: dict[int, PendingSolutions] = {}
    try:
        for number, work in enumerate(works):
            try:
                requests[number] = next(work)
            except StopIteration as end:
                results[number] = end.value
        solver.check_budget([request.problem for request in requests.values() for _ in range(request.rounds)])
        for number, request in requests.items():
            pending[number] = solver.submit(request.problem, seed=request.seed)
        while pending:
            for number in list(pending):
                solutions = pending[number].result()
                del pending[number]
                try:
                    request = works[number].send(solutions)
                    pending[number] = solver.submit(request.problem, seed=request.seed)
                except StopIteration as end:
                    results[number] = end.value
    finally:
        for answer in pending.values():  # none are left, unless something was raised
            answer.cancel()
    return results
