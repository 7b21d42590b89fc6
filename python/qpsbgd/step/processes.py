"""Processes that train together: means over them, what each of them knows, and who solves which rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from qpsbgd.problem.checks import NotFiniteError

__all__ = ["Form", "LostProcessError", "Means", "Processes", "Promise", "Share"]

_BUCKET_BYTES = 2**22
"""Tensors are sent together up to this size: small ones cost latency, large ones a copy."""


class Share(NamedTuple):
    """The part of the rows that one of several processes solves.

    Examples
    --------
    >>> [Share(rank, 3).of(slice(2, 9)) for rank in range(3)]
    [slice(2, 4, None), slice(4, 6, None), slice(6, 9, None)]
    """

    rank: int = 0
    size: int = 1

    def of(self, rows: slice) -> slice:
        """Return this process's part of `rows`; all parts together are `rows`, in the order of ranks."""
        count = rows.stop - rows.start
        first, last = count * self.rank // self.size, count * (self.rank + 1) // self.size
        return slice(rows.start + first, rows.start + last)


class Processes:
    """A process group, or this process alone.

    Parameters
    ----------
    group : torch.distributed.ProcessGroup or None
        None for this process alone.
    """

    def __init__(self, group: Any = None) -> None:
        self._group = group
        self.size = 1 if group is None else torch.distributed.get_world_size(group)
        self.rank = 0 if group is None else torch.distributed.get_rank(group)

    @property
    def alone(self) -> bool:
        """Whether there is nobody to average with."""
        return self.size == 1

    def gather(self, values: Tensor) -> list[Tensor]:
        """Give every process's `values`, in the order of their ranks; all have one shape and type."""
        if self.alone:
            return [values]
        everyone = [torch.empty_like(values) for _ in range(self.size)]
        try:
            torch.distributed.all_gather(everyone, values, group=self._group)
        except RuntimeError as error:
            raise LostProcessError(_LOST.format(error)) from error
        return everyone

    def gather_bytes(self, payload: bytes, error: BaseException | None, device: torch.device) -> list[bytes]:
        """Give every process's bytes, of any length; where one process has an error, all raise.

        Raises
        ------
        BaseException
            `error`, in the process that has one.
        RuntimeError
            In the others then: a `NotFiniteElsewhereError` where nothing else than such numbers failed.
        """
        head = torch.tensor([failure(error), len(payload)], dtype=torch.int64, device=device)
        heads = torch.stack(self.gather(head)).cpu()
        raise_failed(heads[:, 0].tolist(), error)
        lengths = heads[:, 1].tolist()
        longest = max(lengths)
        if not longest:
            return [b""] * self.size
        own = torch.frombuffer(bytearray(payload.ljust(longest, b"\0")), dtype=torch.uint8).to(device)
        received = torch.stack(self.gather(own)).cpu().numpy()
        return [values[:length].tobytes() for values, length in zip(received, lengths, strict=True)]

    def sum_later(self, tensor: Tensor) -> Any:
        """Start to add up `tensor` over the processes, in place; return what waits for the end."""
        return torch.distributed.all_reduce(tensor, group=self._group, async_op=True)


class NotFiniteElsewhereError(NotFiniteError, RuntimeError):
    """Another process has met a number that is not finite: whoever skips such steps skips it everywhere."""


class LostProcessError(RuntimeError):
    """Another process has gone, or did not answer in time: nothing more can be exchanged."""


_LOST = "another process has gone, or did not answer in time: {}"
_FAILED, _NOT_FINITE = 1, 2


def failure(error: BaseException | None) -> int:
    """Return what a process tells the others of its error: a number, 0 for none."""
    if error is None:
        return 0
    return _NOT_FINITE if isinstance(error, NotFiniteError) else _FAILED


def raise_failed(failures: Sequence[int], error: BaseException | None) -> None:
    """Raise this process's error, or tell of another's; `failures` has what each process tells.

    An error that is no matter of numbers comes first, so that no process skips a step that others fail in.
    """
    if error is not None and (failure(error) == _FAILED or _FAILED not in failures):
        raise error
    for kind, exception in ((_FAILED, RuntimeError), (_NOT_FINITE, NotFiniteElsewhereError)):
        if kind in failures:
            rank = list(failures).index(kind)
            raise exception(f"process {rank} could not take the step; its own error says why") from error


class Form(NamedTuple):
    """Shape, type and device of a tensor."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device


class Means:
    """Averages many tensors over the processes by few collectives, while the caller goes on.

    Every process adds tensors of the same forms in the same order, and then takes their means. A process
    that cannot make its tensor takes part all the same: then all of them raise.

    Parameters
    ----------
    processes : Processes
        More than one.

    Examples
    --------
    >>> means = Means(Processes())
    >>> means.add(lambda: torch.ones(2), Form((2,), torch.float32, torch.device("cpu"))).mean()
    tensor([1., 1.])
    """

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._buckets: dict[tuple[torch.dtype, torch.device], _Bucket] = {}
        self._error: BaseException | None = None

    def fail(self, error: BaseException) -> bool:
        """Note what keeps this process from going on; send what it has added, and tell whether it had."""
        self._error = self._error or error
        added = bool(self._buckets)
        self.send()
        return added

    def add(self, make: Callable[[], Tensor | None], form: Form, share: float = 1.0) -> Promise:
        """Add the tensor that `make` returns, which has `form`, with its share; None is one of zeros.

        Shares of all processes add up to their number.
        """
        tensor: Tensor | None = None
        try:
            tensor = make()
        except Exception as error:
            if self._processes.alone:
                raise
            self._error = self._error or error
        if tensor is None:
            tensor = torch.zeros(form.shape, dtype=form.dtype, device=form.device)
        if self._processes.alone:
            return Promise(self, None, tensor.shape, 0, tensor)
        place = (form.dtype, form.device)
        bucket = self._buckets.setdefault(place, _Bucket(self._processes))
        promise = Promise(self, bucket, tensor.shape, bucket.length, None)
        tensor = tensor.to(form.dtype)
        bucket.add(tensor if share == 1.0 else tensor * share)
        if bucket.nbytes >= _BUCKET_BYTES:
            self._send(place)
        return promise

    def send(self) -> None:
        """Send all that was added and not sent yet."""
        for place in list(self._buckets):
            self._send(place)

    def _send(self, place: tuple[torch.dtype, torch.device]) -> None:
        self._buckets.pop(place).send(failure(self._error))

    def received(self, bucket: _Bucket) -> Tensor:
        """Return the means of a bucket, or raise if any process has failed before it was sent."""
        self.send()
        means, failed, not_finite = bucket.receive()
        if self._error is not None and not (failed and isinstance(self._error, NotFiniteError)):
            raise self._error
        if failed or not_finite:
            exception = RuntimeError if failed else NotFiniteElsewhereError
            message = "another process could not take the step; its own error says why"
            raise exception(message) from self._error
        return means


class Promise:
    """A mean that is under way."""

    def __init__(
        self, means: Means, bucket: _Bucket | None, shape: Sequence[int], start: int, known: Tensor | None
    ) -> None:
        self._means = means
        self._bucket = bucket
        self._shape = torch.Size(shape)
        self._start = start
        self._known = known

    def mean(self) -> Tensor:
        """Wait for the mean; the tensor may be a part of a larger one.

        Raises
        ------
        Exception
            What kept this process from making its tensor.
        RuntimeError
            If another process could not make its own.
        """
        if self._known is None and self._bucket is not None:
            all_means = self._means.received(self._bucket)
            count = self._shape.numel()
            self._known = all_means[self._start : self._start + count].view(self._shape)
        assert self._known is not None
        return self._known


class _Bucket:
    """Tensors of one type and device that are sent together, and behind them whether this process failed."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._tensors: list[Tensor] = []
        self._flat: Tensor | None = None
        self._work: Any = None
        self.length = 0
        self.nbytes = 0

    def add(self, tensor: Tensor) -> None:
        """Put a tensor behind the others."""
        self._tensors.append(tensor.reshape(-1))
        self.length += tensor.numel()
        self.nbytes += tensor.numel() * tensor.element_size()

    def send(self, failed: int) -> None:
        """Start the collective; `failed` is what `failure` gives."""
        flags = self._tensors[0].new_tensor([failed == _FAILED, failed == _NOT_FINITE])
        self._flat = torch.cat([*self._tensors, flags])
        self._tensors = []
        self._work = self._processes.sum_later(self._flat)

    def receive(self) -> tuple[Tensor, bool, bool]:
        """Wait for the means; tell whether any process has failed, and whether any met NaN or infinity."""
        assert self._flat is not None
        if self._work is not None:
            try:
                self._work.wait()
            except RuntimeError as error:
                raise LostProcessError(_LOST.format(error)) from error
            self._work = None
            self._flat /= self._processes.size
        failed, not_finite = (self._flat[-2:] != 0).tolist()
        return self._flat[:-2], failed, not_finite
