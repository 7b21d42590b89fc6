"""Processes that train together: means over them, and what each of them knows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["Processes"]


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

    @property
    def alone(self) -> bool:
        """Whether there is nobody to average with."""
        return self.size == 1

    def mean(self, tensor: Tensor, share: float = 1.0) -> Tensor:
        """Average a tensor over the processes, each with its share; shares add up to the number of processes.

        Alone it returns the tensor itself.
        """
        if self.alone:
            return tensor
        total = tensor.clone() if share == 1.0 else tensor * share
        torch.distributed.all_reduce(total, group=self._group)
        return total.div_(self.size)

    def gather(self, values: Tensor) -> list[Tensor]:
        """Give every process's `values`, in the order of their ranks; all have one shape and type."""
        if self.alone:
            return [values]
        everyone = [torch.empty_like(values) for _ in range(self.size)]
        torch.distributed.all_gather(everyone, values, group=self._group)
        return everyone
