"""What the processes of one training must agree on before a step: who has gradients, and equal weights.

Every process calls this once a step, before it changes anything. It ends the same way in all of them: either
all go on, with the same parameters, or all raise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from qpsbgd.step.inputs import Seen
from qpsbgd.step.processes import Processes

__all__ = ["LocalView", "agree", "processes_of"]

_INTEGER = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class LocalView(NamedTuple):
    """What this process has of one parameter."""

    parameter: Tensor
    has_gradient: bool
    """Whether it takes part in the step."""
    seen: Seen
    """The samples behind the gradient of a binary weight."""


def processes_of(process_group: object) -> Processes:
    """Return who trains together: a given group, the world if there is one (None), or this process alone."""
    if isinstance(process_group, str):
        return Processes(None)
    distributed = torch.distributed
    if process_group is None and distributed.is_available() and distributed.is_initialized():
        process_group = distributed.group.WORLD
    return Processes(process_group)


def agree(
    processes: Processes, views: Sequence[LocalView], step: int, error: Exception | None
) -> list[LocalView]:
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

    Raises
    ------
    Exception
        `error`, in the process that has one.
    RuntimeError
        In the others then; or if numbers of parameters, of steps, or weights differ.
    """
    device = next((view.parameter.device for view in views), torch.device("cpu"))
    heads = processes.gather(
        torch.tensor([error is not None, len(views), step], dtype=torch.int64, device=device)
    )
    if error is not None:
        raise error
    failed = [rank for rank, head in enumerate(heads) if head[0]]
    if failed:
        raise RuntimeError(f"process {failed[0]} could not take the step; its own error says why")
    for place, what in ((1, "parameters"), (2, "steps taken")):
        counts = [int(head[place]) for head in heads]
        if len(set(counts)) > 1:
            raise RuntimeError(f"the processes differ in their number of {what}: {counts}")
    rows = [
        [
            view.has_gradient,
            view.seen.num_samples,
            view.seen.groups,
            view.seen.has_slopes,
            _checksum(view.parameter),
        ]
        for view in views
    ]
    everyone = torch.stack(processes.gather(torch.tensor(rows, dtype=torch.int64, device=device))).cpu()
    for number, view in enumerate(views):
        if len(set(everyone[:, number, 4].tolist())) > 1:
            raise RuntimeError(
                f"parameter {number} of shape {tuple(view.parameter.shape)} differs between processes: "
                "start all of them from the same weights, as DistributedDataParallel does, "
                "or train them apart with process_group='independent'"
            )
    return [
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


def _checksum(parameter: Tensor) -> int:
    """Sum of the bits of all entries, as integers: equal for equal weights, in one pass."""
    values = parameter.detach().contiguous()
    if values.is_complex():
        values = torch.view_as_real(values)
    return int(values.view(_INTEGER[values.element_size()]).sum(dtype=torch.int64))
