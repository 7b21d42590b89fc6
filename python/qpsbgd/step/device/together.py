"""Descents of many layers by few launches: work yields its rows, and is resumed once they have descended.

A small layer leaves most of a GPU idle, and each launch takes the host some microseconds. So layers whose
rows share a kernel wait for one another. Cost: one copy of their matrices and fields into common arrays,
d² + 2 r d numbers a layer, which is little beside the rows of A that their flips read.

The layers that wait keep their matrices. They hold at most `_MOST_HELD` numbers together.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack
from typing import Any, Generic, TypeAlias, TypeVar

import torch

from qpsbgd.solvers.requests import answer_requests
from qpsbgd.step.device.choose import descend_all, joined
from qpsbgd.step.device.descent import Rows

__all__ = ["Descents", "alone", "answer_descents", "answered"]

ResultT = TypeVar("ResultT")

Descents: TypeAlias = Generator[Rows, None, ResultT]
"""Yields rows, goes on when they have descended, and returns its result."""

_MOST_HELD = 2**24


def alone(work: Descents[ResultT]) -> ResultT:
    """Run one piece of work to its end.

    Examples
    --------
    >>> def work():
    ...     yield from ()
    ...     return 1
    >>> alone(work())
    1
    """
    (result,) = answer_descents([work])
    return result


def answer_descents(works: Sequence[Descents[ResultT]], kinds: Iterable[str] = ()) -> list[ResultT]:
    """Run all pieces of work to their end, and return their results.

    Rows that can share a launch wait until all works have been started, or too many numbers are held. Others
    descend at once, so that their matrices are not held any longer.

    Parameters
    ----------
    works : sequence of generators
        Fresh ones.
    kinds : iterable of str
        Kinds of devices on which autocast is off meanwhile.

    Raises
    ------
    TypeError
        If work asks for anything but a descent.
    """
    run = _Run(works)
    with ExitStack() as stack:
        for work in works:
            stack.callback(work.close)
        for kind in kinds:
            stack.enter_context(torch.autocast(kind, enabled=False))
        for number in range(len(works)):
            run.resume(number)
        run.answer()
        return [run.results[number] for number in range(len(works))]


def answered(
    works: Sequence[Generator[Any, Any, ResultT]], solver: Any, kinds: Iterable[str]
) -> list[ResultT]:
    """Run the work of a step: descents on devices of these kinds, or requests that a solver answers."""
    on_device = isinstance(solver, str) and solver == "device"
    return answer_descents(works, kinds) if on_device else answer_requests(works, solver)


class _Run(Generic[ResultT]):
    """Pieces of work by their numbers, and the rows that wait."""

    def __init__(self, works: Sequence[Descents[ResultT]]) -> None:
        self.results: dict[int, ResultT] = {}
        self._works = works
        self._waiting: dict[int, Rows] = {}

    def resume(self, number: int) -> None:
        """Go on with a work until its rows wait for others, or it ends."""
        try:
            while not joined(rows := _checked(next(self._works[number]))):
                descend_all([rows])
        except StopIteration as end:
            self.results[number] = end.value
            return
        self._waiting[number] = rows
        if sum(waiting.matrices.numel() for waiting in self._waiting.values()) > _MOST_HELD:
            self.answer()

    def answer(self) -> None:
        """Let all rows that wait descend; and those that their works ask for then, until none waits."""
        while self._waiting:
            waiting, self._waiting = self._waiting, {}
            descend_all(list(waiting.values()))
            numbers = list(waiting)
            del waiting  # with the matrices of works that end
            for number in numbers:
                self.resume(number)


def _checked(asked: Any) -> Rows:
    if not isinstance(asked, Rows):
        raise TypeError("the device projection asks no solver, but was asked for solutions")
    return asked
