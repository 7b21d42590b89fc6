"""Submissions under way: `Job` sends one and tries again after transient failures; `Pending` awaits many."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator
from typing import Any

import dimod
import numpy as np
import numpy.typing as npt

from qpsbgd.problem.ising import Solutions
from qpsbgd.solvers.qpu.cost import Ledger
from qpsbgd.solvers.qpu.errors import QPUBudgetError, QPUError, QPUTimeoutError
from qpsbgd.solvers.qpu.retry import RetryPolicy, is_transient

__all__ = ["Job", "Pending", "Rounds", "read_samples"]

_LOG = logging.getLogger(__name__)

_FIRST_PAUSE = 2e-4
_LONGEST_PAUSE = 5e-3
"""Seconds between two looks at what is under way: short at first, for samplers that answer at once."""


class Job:
    """One submission, from the first try to an answer or a final failure.

    Parameters
    ----------
    send : function
        Sends the submission and returns its sample set, resolved or not.
    estimate : float
        QPU seconds, already reserved in the ledger.
    ledger : Ledger
        Where QPU time is counted.
    policy : RetryPolicy
        What to do about transient failures.
    timeout : float, optional
        Seconds to wait for one try.

    Attributes
    ----------
    answer : dimod.SampleSet or None
        The resolved sample set.
    error : Exception or None
        What the last try failed with.
    attempts : int
        Tries so far.
    qpu_seconds : float
        What the submission took, as counted in the ledger.
    """

    def __init__(
        self,
        send: Callable[[], dimod.SampleSet],
        estimate: float,
        ledger: Ledger,
        policy: RetryPolicy,
        timeout: float | None = None,
    ) -> None:
        self._send_once = send
        self._estimate = estimate
        self._ledger = ledger
        self._policy = policy
        self._timeout = timeout
        self._waiting: dimod.SampleSet | None = None
        self._next_try = 0.0
        self._deadline = float("inf")
        self._reserved = True
        self.answer: dimod.SampleSet | None = None
        self.error: Exception | None = None
        self.attempts = 0
        self.qpu_seconds = 0.0

    @property
    def finished(self) -> bool:
        """Whether there is an answer or a final failure."""
        return self.answer is not None or self.error is not None

    def poll(self) -> bool:
        """Do what can be done without waiting; return whether the job is finished."""
        if self.finished:
            return True
        if self._waiting is None:
            if time.monotonic() >= self._next_try:
                self._send()
        elif self._waiting.done():
            self._collect()
        elif time.monotonic() > self._deadline:
            self._stop_waiting()
        return self.finished

    def cancel(self) -> None:
        """Give up: what has been sent counts with its estimate, since nobody will learn what it took."""
        if self._waiting is not None:
            _cancel(self._waiting)
            self._waiting = None
            self._settle(self._estimate)
        self._settle(0.0)

    def _send(self) -> None:
        self.attempts += 1
        if self._timeout is not None:
            self._deadline = time.monotonic() + self._timeout
        try:
            if not self._reserved:
                self._ledger.reserve(self._estimate, "sending a submission again")
                self._reserved = True
            self._waiting = self._send_once()
            if self._waiting.done():
                self._collect()
        except Exception as error:
            self._failed(error)

    def _collect(self) -> None:
        assert self._waiting is not None
        answer, self._waiting = self._waiting, None
        try:
            answer.resolve()
        except Exception as error:
            self._failed(error)
            return
        reported = (answer.info.get("timing") or {}).get("qpu_access_time")
        self._settle(self._estimate if reported is None else float(reported) * 1e-6)
        self.answer = answer

    def _stop_waiting(self) -> None:
        assert self._waiting is not None
        _cancel(self._waiting)
        self._waiting = None
        self._settle(self._estimate)  # it may have run all the same
        self._failed(QPUTimeoutError(f"no answer within {self._timeout:g} s"))

    def _failed(self, error: Exception) -> None:
        if (
            isinstance(error, QPUBudgetError)
            or not is_transient(error)
            or self.attempts > self._policy.max_retries
        ):
            self._settle(0.0)
            self.error = error
            return
        delay = self._policy.delay(self.attempts)
        self._next_try = time.monotonic() + delay
        # The kind alone: messages of servers are not ours to log.
        _LOG.info("QPU submission failed with %s, next try in %g s", type(error).__name__, delay)

    def _settle(self, spent: float) -> None:
        if self._reserved:
            self._ledger.settle(self._estimate, spent)
            self._reserved = False
            self.qpu_seconds += spent


Rounds = Generator[list[Job], None, Solutions]
"""Yields the jobs of one round after the other; goes on when all of them are finished."""


class Pending:
    """The answer of `QPUSolver.submit`, while it is under way.

    Parameters
    ----------
    rounds : generator
        Makes the jobs of each round and, at last, the solutions.
    advance : function
        Moves everything on that is under way with the solver.
    on_end : function
        Called once with this object when there is nothing left to do for it.
    """

    def __init__(
        self, rounds: Rounds, advance: Callable[[], None], on_end: Callable[[Pending], None]
    ) -> None:
        self._rounds = rounds
        self._advance = advance
        self._on_end = on_end
        self._jobs: list[Job] = []
        self._result: Solutions | None = None
        self._error: BaseException | None = None
        self._next_round()

    @property
    def settled(self) -> bool:
        """Whether there is a result or an error."""
        return self._result is not None or self._error is not None

    def done(self) -> bool:
        """Move things on as far as they go without waiting; return whether `result` would return at once."""
        self._advance()
        return self.settled

    def result(self) -> Solutions:
        """Wait for the solutions.

        Raises
        ------
        QPUError
            If the QPU failed and there is no fallback.
        """
        pause = _FIRST_PAUSE
        try:
            while not self.done():
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
        except BaseException:  # Ctrl-C among them
            self.cancel()
            raise
        if self._error is not None:
            raise self._error
        assert self._result is not None
        return self._result

    def cancel(self) -> None:
        """Give up what is under way."""
        if not self.settled:
            self._finish(QPUTimeoutError("the submission was cancelled"))

    def poll(self) -> None:
        """Do what can be done without waiting."""
        if not self.settled and all([job.poll() for job in self._jobs]):
            self._next_round()

    def _next_round(self) -> None:
        try:
            self._jobs = next(self._rounds)
            for job in self._jobs:
                job.poll()
        except StopIteration as end:
            self._result = end.value
            self._on_end(self)
        except BaseException as error:
            self._finish(error)
            if not isinstance(error, Exception):
                raise

    def _finish(self, error: BaseException) -> None:
        self._error = error
        self._rounds.close()
        for job in self._jobs:
            job.cancel()
        self._on_end(self)


def _cancel(answer: dimod.SampleSet) -> None:
    """Ask the client to drop a problem; not every one can."""
    cancel = getattr(getattr(answer, "_future", None), "cancel", None)
    if callable(cancel):
        cancel()


def read_samples(answer: dimod.SampleSet, qubits: list[int], reads: int) -> npt.NDArray[np.int8]:
    """Spins (reads, qubits) of a resolved sample set, each as often as it occurred, best first.

    Of more samples than asked for the best are taken; fewer are repeated.

    Raises
    ------
    QPUError
        If there are none.

    Examples
    --------
    >>> answer = dimod.SampleSet.from_samples([{7: 1, 3: -1}], "SPIN", energy=0, num_occurrences=2)
    >>> read_samples(answer, [3, 7], reads=2)
    array([[-1,  1],
           [-1,  1]], dtype=int8)
    """
    if answer.vartype is not dimod.SPIN:
        answer = answer.change_vartype(dimod.SPIN, inplace=False)
    record: Any = answer.record
    if not len(record):
        raise QPUError("the sampler returned no samples")
    order = np.argsort(record.energy, kind="stable")
    order = np.repeat(order, record.num_occurrences[order])
    samples = record.sample[order[np.arange(reads) % len(order)]]
    if list(answer.variables) != qubits:
        place = {qubit: column for column, qubit in enumerate(answer.variables)}
        samples = samples[:, [place[qubit] for qubit in qubits]]
    return np.asarray(samples, dtype=np.int8)
