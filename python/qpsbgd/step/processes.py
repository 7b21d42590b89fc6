"""Processes that train together: means over them, what each of them knows, and who solves which rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["Form", "Means", "Processes", "Promise", "Share"]

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
        torch.distributed.all_gather(everyone, values, group=self._group)
        return everyone

    def gather_bytes(self, payload: bytes, error: BaseException | None, device: torch.device) -> list[bytes]:
        """Give every process's bytes, of any length; where one process has an error, all raise.

        Raises
        ------
        BaseException
            `error`, in the process that has one.
        RuntimeError
            In the others then.
        """
        head = torch.tensor([error is not None, len(payload)], dtype=torch.int64, device=device)
        heads = torch.stack(self.gather(head)).cpu()
        if error is not None:
            raise error
        raise_failed(heads[:, 0].tolist())
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


def raise_failed(failed: Sequence[Any]) -> None:
    """Raise if a process has told that it failed; `failed` has an entry for each of them."""
    for rank, flag in enumerate(failed):
        if flag:
            raise RuntimeError(f"process {rank} could not take the step; its own error says why")


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
        self._error: Exception | None = None

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
        self._buckets.pop(place).send(failed=self._error is not None)

    def received(self, bucket: _Bucket) -> Tensor:
        """Return the means of a bucket, or raise if any process has failed before it was sent."""
        self.send()
        means, failed = bucket.receive()
        if self._error is not None:
            raise self._error
        if failed:
            raise RuntimeError("another process could not take the step; its own error says why")
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

    def send(self, failed: bool) -> None:
        """Start the collective."""
        first = self._tensors[0]
        self._flat = torch.cat([*self._tensors, first.new_full((1,), float(failed))])
        self._tensors = []
        self._work = self._processes.sum_later(self._flat)

    def receive(self) -> tuple[Tensor, bool]:
        """Wait for the means; tell whether any process has failed."""
        assert self._flat is not None
        if self._work is not None:
            self._work.wait()
            self._work = None
            self._flat /= self._processes.size
        return self._flat[:-1], bool(self._flat[-1] != 0)
