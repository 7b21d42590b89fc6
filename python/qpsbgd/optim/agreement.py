"""What the processes of one training must agree on before a step: who has gradients, and equal weights.

Every process calls this once a step, before it changes anything. It ends the same way in all of them: either
all go on, with the same parameters, or all raise.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from qpsbgd.step.inputs import Seen
from qpsbgd.step.processes import Processes, failure, raise_failed

__all__ = ["Agreement", "LocalView", "agree", "fingerprint", "processes_of"]

_BLOCK = 2**15
"""Words of 8 bytes that are hashed at once: they stay in the cache."""
_BETWEEN_BLOCKS = 0x2545F4914F6CDD1D


class LocalView(NamedTuple):
    """What this process has of one parameter."""

    parameter: Tensor
    has_gradient: bool
    """Whether it takes part in the step."""
    seen: Seen
    """The samples behind the gradient of a binary weight."""


class Agreement(NamedTuple):
    """What all processes have together."""

    views: list[LocalView]
    averaged: list[bool]
    """Of which parameters all have the same gradient already, as behind DistributedDataParallel."""
    observed: bool
    """Whether any process has projection hooks."""


def processes_of(process_group: object) -> Processes:
    """Return who trains together: a given group, the world if there is one (None), or this process alone."""
    if isinstance(process_group, str):
        if process_group != "independent":
            raise ValueError(
                f"Invalid process_group: {process_group!r} (expected 'independent' or a process group)"
            )
        return Processes(None)
    distributed = torch.distributed
    if process_group is None and distributed.is_available() and distributed.is_initialized():
        process_group = distributed.group.WORLD
    return Processes(process_group)


def agree(
    processes: Processes,
    views: Sequence[LocalView],
    step: int,
    error: Exception | None,
    options: str = "",
    observed: bool = False,
) -> Agreement:
    """Exchange what every process has, and return what all of them have together.

    Parameters
    ----------
    processes : Processes
        Who trains together.
    views : sequence of LocalView
        One for each parameter, in the same order everywhere; empty where `error` kept this process from it.
    step : int
        Number of steps taken so far.
    error : Exception or None
        What keeps this process from taking the step.
    options : str
        What decides on the form of messages, in words that are equal everywhere.
    observed : bool
        Whether this process has projection hooks.

    Raises
    ------
    Exception
        `error`, in the process that has one.
    RuntimeError
        In the others then; or if numbers of parameters, of steps, options or weights differ.
    """
    device = next((view.parameter.device for view in views), torch.device("cpu"))
    head = [failure(error), observed, len(views), step, zlib.crc32(options.encode())]
    heads = torch.stack(processes.gather(torch.tensor(head, dtype=torch.int64, device=device))).cpu()
    raise_failed(heads[:, 0].tolist(), error)
    for place, what in ((2, "parameters"), (3, "steps taken")):
        counts = heads[:, place].tolist()
        if len(set(counts)) > 1:
            raise RuntimeError(f"the processes differ in their number of {what}: {counts}")
    if len(set(heads[:, 4].tolist())) > 1:
        raise RuntimeError(
            f"the processes differ in their options, which are ({options}) in process {processes.rank}"
        )
    everyone = torch.stack(processes.gather(_rows(views, device))).cpu()
    for number, view in enumerate(views):
        if len(set(everyone[:, number, 4].tolist())) > 1:
            raise RuntimeError(
                f"parameter {number} of shape {tuple(view.parameter.shape)} differs between processes: "
                "start all of them from the same weights, as DistributedDataParallel does, "
                "or train them apart with process_group='independent'"
            )
    together = [
        LocalView(
            view.parameter,
            bool(everyone[:, number, 0].any()),
            Seen(
                int(everyone[:, number, 1].sum()),
                int(everyone[:, number, 2].max()),
                bool(everyone[:, number, 3].any()),
            ),
        )
        for number, view in enumerate(views)
    ]
    averaged = [
        bool(everyone[:, number, 0].all()) and len(set(everyone[:, number, 5].tolist())) == 1
        for number in range(len(views))
    ]
    return Agreement(together, averaged, bool(heads[:, 1].any()))


def _rows(views: Sequence[LocalView], device: torch.device) -> Tensor:
    """Numbers that tell a process's views, a row for each."""
    rows = torch.tensor(
        [[view.has_gradient, *view.seen, 0, 0] for view in views], dtype=torch.int64, device=device
    )
    for row, view in zip(rows, views, strict=True):
        gradient = view.parameter.grad
        row[4] = fingerprint(view.parameter)
        if view.has_gradient and gradient is not None:
            row[5] = fingerprint(gradient)
    return rows


def fingerprint(tensor: Tensor) -> Tensor:
    """Hash all bits of a tensor and their places into one int64, on its device: equal for equal tensors.

    A sum of words of 8 bytes, each times a random number of its place. That two different tensors have the
    same one is as good as impossible, unless someone makes them so.

    Examples
    --------
    >>> one, two = fingerprint(torch.tensor([1.0, 2.0])), fingerprint(torch.tensor([2.0, 1.0]))
    >>> bool(one == two), bool(one == fingerprint(torch.tensor([1.0, 2.0])))
    (False, True)
    """
    data = tensor.detach().contiguous().reshape(-1)
    data = (torch.view_as_real(data) if data.is_complex() else data).view(torch.uint8).reshape(-1)
    whole = len(data) // 8 * 8
    total = torch.zeros((), dtype=torch.int64, device=data.device)
    for part in (data[:whole], data[whole:]):
        if len(part) % 8:
            part = torch.nn.functional.pad(part, (0, 8 - len(part) % 8))
        if part.storage_offset() % 8:
            part = part.clone()
        for block in part.view(torch.int64).split(_BLOCK):
            factors = _factors(data.device)[: len(block)]
            product = torch.dot(block, factors) if data.device.type == "cpu" else (block * factors).sum()
            total = total * _BETWEEN_BLOCKS + product
    return total


@cache
def _factors(device: torch.device) -> Tensor:
    """Return random odd numbers, the same ones in every process."""
    generator = torch.Generator().manual_seed(1)
    numbers = torch.randint(-(2**62), 2**62, (_BLOCK,), generator=generator)
    return (2 * numbers + 1).to(device)
