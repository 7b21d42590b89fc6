"""Parts of work on the workers of an executor: in order, sent again when workers die, and cancelled.

A worker that dies takes its part with it, and with a process pool all others, too. Where `executor` is a
function that makes executors, another one is made, and what was under way is sent again. Dask and Ray send a
part again by themselves, and report it lost when that has failed. A part that is lost again and again is sent
alone, then in halves, until one problem is left, which is the one that kills workers.

Executors may also refuse a part, or cancel it. Such a part is sent again too, if refused by another executor.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
import tempfile
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias
from urllib.parse import urlsplit

__all__ = [
    "Cancellation",
    "Executors",
    "Part",
    "PartsOf",
    "Workers",
    "check_executor",
    "default_num_threads",
    "in_order",
]

Executors: TypeAlias = Executor | Callable[[], Executor]
"""An executor, or a function that makes one, and another one when that breaks."""

_TRIES = 2
"""How often a part is sent alone before its loss counts as its own fault, or again after a refusal."""

_AT_WORK, _AHEAD = 2, 3
"""Parts a worker: one that is solved and one that waits; and one more that is finished before its turn."""

_LOST = ("KilledWorker", "WorkerCrashedError", "OutOfMemoryError", "NodeDiedError", "TerminatedWorkerError")
"""What Dask, Ray and loky call the loss of a part with its worker."""


class _RefusedError(BrokenExecutor):
    """An executor did not take a part: `reason` is what its `submit` raised."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


def default_num_threads() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class Workers:
    """How many parts an executor works on at the same time.

    Attributes
    ----------
    count : int
        In all.
    beside : int or None
        On the machine that has most of them; None where nobody tells.

    Examples
    --------
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> with ThreadPoolExecutor(3) as executor:
    ...     Workers.of(executor)
    Workers(count=3, beside=3)
    """

    count: int
    beside: int | None

    @classmethod
    def of(cls, executor: Executor) -> Workers:
        """Ask an executor: a pool of threads or processes, Dask's, MPI's, or one with `num_workers`."""
        client: Any = getattr(executor, "_client", None)
        if type(executor).__module__.startswith("distributed") and hasattr(client, "nthreads"):
            hosts: dict[str | None, int] = {}
            for address, threads in client.nthreads().items():
                host = urlsplit(address).hostname
                hosts[host] = hosts.get(host, 0) + threads
            return cls(max(1, sum(hosts.values())), max(hosts.values(), default=None))
        count = getattr(executor, "num_workers", getattr(executor, "_max_workers", None))
        if not isinstance(count, int) or count < 1:
            return cls(default_num_threads(), None)
        pools = ThreadPoolExecutor, ProcessPoolExecutor
        pool = isinstance(executor, pools) or "loky" in type(executor).__module__
        return cls(count, count if pool else None)

    def at_most(self, parts: int) -> Workers:
        """Return what of them works where there are no more parts than that.

        Examples
        --------
        >>> Workers(8, 4).at_most(2)
        Workers(count=2, beside=2)
        """
        beside = None if self.beside is None else min(self.beside, parts)
        return Workers(min(self.count, parts), beside)

    def num_threads(self) -> int:
        """Threads of a part, told in the process that works on it, so that its machine is full once.

        A process that is bound to some of the processors (by MPI or a batch system) uses these.

        Examples
        --------
        >>> Workers(4, None).num_threads() == default_num_threads()
        True
        """
        threads, beside = default_num_threads(), self.beside
        if beside is None:
            bound = threads < (os.cpu_count() or 1)
            beside = 1 if bound else _ranks_of_this_machine()
        return max(1, threads // beside)


def _ranks_of_this_machine() -> int:
    """Count the processes that MPI has started here, as Open MPI and MPICH tell them; 1 without MPI."""
    for name in ("OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"):
        if os.environ.get(name, "").isdecimal():
            return max(1, int(os.environ[name]))
    return 1


class Cancellation:
    """A folder that is there as long as a call goes on: its workers stop when it has gone.

    It reaches workers that share this machine's temporary folder: threads, process pools, and those of a
    cluster on this machine. A worker of Dask's on another machine asks Dask. Others end their part.

    Examples
    --------
    >>> cancellation = Cancellation()
    >>> cancellation.begin()
    >>> cancellation.asked()
    False
    >>> cancellation.ask()
    >>> cancellation.asked()
    True
    """

    def __init__(self) -> None:
        parent = tempfile.gettempdir()
        self._folder = os.path.join(parent, f"qpsbgd-{uuid.uuid4().hex}")
        self._parent = _identity(parent)

    def begin(self) -> None:
        """Make the folder; the caller has what ends it already, so an interrupt leaves none behind."""
        os.mkdir(self._folder, 0o700)

    def ask(self) -> None:
        """Stop the workers; called too when all of them are done."""
        with contextlib.suppress(OSError):
            os.rmdir(self._folder)

    def asked(self) -> bool:
        """Whether the caller has gone, as far as this process can tell."""
        if not os.path.exists(self._folder) and _identity(os.path.dirname(self._folder)) == self._parent:
            return True
        return _dask_has_dropped_this()


def _identity(path: str) -> tuple[int, int, int] | None:
    """Tell folders apart, those of other machines included."""
    with contextlib.suppress(OSError):
        found = os.stat(path)
        return found.st_dev, found.st_ino, found.st_ctime_ns if found.st_ino < 16 else 0
    return None


def _dask_has_dropped_this() -> bool:
    """Whether this thread works on a task of Dask's that nobody waits for any more."""
    worker_module = sys.modules.get("distributed.worker")
    key = getattr(getattr(worker_module, "thread_state", None), "key", None)
    if worker_module is None or key is None:
        return False
    with contextlib.suppress(Exception):  # private to Dask: without it the part goes on to its end
        task = worker_module.get_worker().state.tasks.get(key)
        return task is None or task.state == "cancelled"
    return False


class Part(Protocol):
    """Some of the work."""

    def call(self, workers: Workers, cancellation: Cancellation) -> tuple[Any, ...]:
        """Return the function that does it in a worker, and its arguments."""

    def halves(self) -> Sequence[Part]:
        """Cut it in two; nothing if it is a single problem."""

    def lost(self, error: BaseException) -> Any:
        """Return what stands for the answer of a single problem that kills workers."""


@dataclass
class _Sent:
    """A part at work."""

    part: Part
    future: Future[Any]
    alone: int = 0
    """How often it was sent with nothing beside it, and was lost."""
    again: int = 0
    """How often it was sent again after it had been refused or cancelled."""


@dataclass(frozen=True)
class PartsOf:
    """Parts that depend on how many workers there are."""

    cut: Callable[[Workers], Iterator[Part]]


def in_order(parts: Iterator[Part] | PartsOf, executor: Executors) -> Generator[Any, None, None]:
    """Yield the answers of parts in their order.

    Parts are made a few ahead of the answers. All that is at work is cancelled when the iterator is closed.

    Raises
    ------
    BrokenExecutor
        If workers die and `executor` is no function that makes another one, or workers die at any work.
    """
    run = _Run(executor)
    try:
        try:
            yield from run.answers(parts.cut(run.workers) if isinstance(parts, PartsOf) else parts)
        finally:
            run.close()
    finally:  # once more, for an interrupt that cut the first one short
        run.close()


class _Run:
    def __init__(self, executor: Executors) -> None:
        self._make = None if isinstance(executor, Executor) else executor
        self._executor = executor if isinstance(executor, Executor) else _made(executor)
        self.workers = Workers.of(self._executor)
        self._cancellation = Cancellation()
        self._queue: deque[_Sent] = deque()
        self._end: Exception | None = None
        """What ended the parts, if that was an error."""
        self._suspects = 0
        """Parts at the front of the queue that go one by one, since one of them kills workers."""

    def answers(self, parts: Iterator[Part]) -> Iterator[Any]:
        self._cancellation.begin()
        self._fill(parts)
        while self._queue:
            first = self._queue[0]
            while not first.future.done():
                wait([one.future for one in self._queue if not one.future.done()], None, FIRST_COMPLETED)
                self._fill(parts)
            try:
                answer = first.future.result()
            except Exception as error:
                if not _is_loss(error):
                    raise
                yield from self._lost(first, error)
            else:
                self._queue.popleft()
                yield answer
                self._end_of_suspect()
            self._fill(parts)
        if self._end is not None:
            raise self._end

    def close(self) -> None:
        """End all that was begun; nothing more happens the second time."""
        self._cancellation.ask()
        for one in self._queue:
            one.future.cancel()
        if self._make is not None:
            _shut_down(self._executor)

    def _fill(self, parts: Iterator[Part]) -> None:
        """Send parts until every worker has enough, unless those that are suspected go one by one."""
        count = self.workers.count
        while not self._suspects and len(self._queue) < _AHEAD * count:
            if sum(not one.future.done() for one in self._queue) >= _AT_WORK * count:
                return
            try:
                part = next(parts, None)
            except Exception as error:
                self._end = error  # for later: the answers of the parts before come first
                return
            if part is None:
                return
            self._queue.append(_Sent(part, self._submit(part)))

    def _submit(self, part: Part) -> Future[Any]:
        call = part.call(self.workers, self._cancellation)
        try:
            future: Any = self._executor.submit(*call)
        except Exception as error:  # noticed in its turn: the answers of the parts before come first
            refused: Future[Any] = Future()
            refused.set_exception(error if isinstance(error, BrokenExecutor) else _RefusedError(error))
            return refused
        if isinstance(future, Future):
            return future
        raise TypeError(
            f"submit of an executor must return a concurrent.futures.Future, but that of "
            f"{type(self._executor).__name__} returned {type(future).__name__}"
        )

    def _lost(self, first: _Sent, error: Exception) -> Iterator[Any]:
        """Send again what was lost; yield what stands for a problem that kills its worker each time."""
        if isinstance(error, (_RefusedError, CancelledError)):
            self._send_again(first, error)
            return
        if isinstance(error, BrokenExecutor):
            if self._make is None:
                raise error
            self._replace(self._make)
            if not self._suspects:
                self._suspects = len(self._queue)
                self._send_first()
                return
            first.alone += 1
            if first.alone < _TRIES:
                self._send_first()
                return
        self._queue.popleft()
        halves = first.part.halves()
        self._queue.extendleft(_Sent(half, _waiting()) for half in reversed(halves))
        self._suspects = max(self._suspects - 1, 0) + len(halves)
        if not halves:
            self._check_workers(error)
            yield first.part.lost(error)
        self._send_first()

    def _send_again(self, first: _Sent, error: Exception) -> None:
        """Send a part again that was cancelled, or refused: then to another executor."""
        reason = error.reason if isinstance(error, _RefusedError) else error
        first.again += 1
        if first.again > _TRIES or (reason is not error and self._make is None):
            raise reason
        if reason is not error and self._make is not None:
            self._replace(self._make)
        self._send_first()

    def _end_of_suspect(self) -> None:
        if self._suspects:
            self._suspects -= 1
            self._send_first()

    def _send_first(self) -> None:
        """Send what has no answer: the first part alone while there are suspects, else all."""
        for one in self._queue:
            if _has_answer(one.future):
                continue
            if one.future.done():
                one.future = self._submit(one.part)
            if self._suspects:
                return

    def _check_workers(self, error: Exception) -> None:
        """Raise the error unless the workers can do anything at all."""
        try:
            self._executor.submit(default_num_threads).result()
        except Exception as again:
            if not _is_loss(again):
                raise
            raise error from None

    def _replace(self, make: Callable[[], Executor]) -> None:
        with contextlib.suppress(Exception):
            _shut_down(self._executor)
        self._executor = _made(make)
        self.workers = Workers.of(self._executor)


def check_executor(executor: object) -> None:
    """Raise TypeError unless it is an executor, or something to call for one.

    Examples
    --------
    >>> check_executor(ThreadPoolExecutor)
    """
    if not isinstance(executor, Executor) and not callable(executor):
        raise TypeError(
            f"executor must be a concurrent.futures.Executor or a function that makes one, but got "
            f"{type(executor).__name__}"
        )


def _made(make: Callable[[], Executor]) -> Executor:
    executor: object = make()
    if isinstance(executor, Executor):
        return executor
    raise TypeError(
        f"the function given as executor must return a concurrent.futures.Executor, but it returned "
        f"{type(executor).__name__}"
    )


def _shut_down(executor: Executor) -> None:
    """Shut down without waiting; loky and others do not know of `cancel_futures`."""
    options = inspect.signature(executor.shutdown).parameters.values()
    if any(option.name == "cancel_futures" or option.kind is option.VAR_KEYWORD for option in options):
        executor.shutdown(wait=False, cancel_futures=True)
    else:
        executor.shutdown(wait=False)


def _waiting() -> Future[Any]:
    """Give a future that nobody works on, and that counts as without an answer."""
    future: Future[Any] = Future()
    future.cancel()
    return future


def _has_answer(future: Future[Any]) -> bool:
    """Whether it is done, or its own error is its answer."""
    if not future.done() or future.cancelled():
        return False
    error = future.exception()
    return error is None or not _is_loss(error)


def _is_loss(error: BaseException) -> bool:
    """Whether a part was lost with its worker, rather than failed."""
    return isinstance(error, (BrokenExecutor, CancelledError)) or type(error).__name__ in _LOST
