"""Gram matrices that are kept for several steps, in the state of their weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from qpsbgd.step.arrays import Floats, to_host

__all__ = ["NEVER_MADE", "KeptGrams"]

NEVER_MADE = -1
"""The step of matrices that were never made."""


class KeptGrams:
    """Gram matrices A of a weight's channel groups, which serve `every` steps from the one that made them.

    Parameters
    ----------
    every : int
        Number of steps that the matrices serve, from 1 on. With 1 nothing is kept.
    step : int
        Number of the present step.
    state : mapping
        The weight's state: ``gram``, of shape (groups, d, d), or (d, d) where there is one group, and
        ``gram_step``, the step that made it; or neither.

    Examples
    --------
    >>> import numpy as np
    >>> first = KeptGrams(2, 0, {})
    >>> first.of_groups(1) is None
    True
    >>> first.keep([np.eye(2)], torch.device("cpu"))
    >>> [len(KeptGrams(2, step, first.state).of_groups(1) or ()) for step in (1, 2)]
    [1, 0]
    """

    def __init__(self, every: int = 1, step: int = 0, state: Mapping[str, Any] | None = None) -> None:
        self.state: dict[str, Any] = {}
        """What the weight's state gets by this step."""
        self._every = every
        self._step = step
        self._known: Tensor | None = None
        if state is not None and self.active:
            made = state.get("gram_step", NEVER_MADE)
            if made != NEVER_MADE and 0 <= step - made < every:
                self._known = state["gram"]

    @property
    def active(self) -> bool:
        """Whether matrices serve more than one step."""
        return self._every > 1

    @property
    def serves(self) -> bool:
        """Whether matrices of an earlier step serve this one, as far as is known without the layer."""
        return self._known is not None

    def of_groups(self, groups: int) -> list[Floats] | None:
        """Give the matrix of every channel group, or None where this step has to make them."""
        known = self._known
        if known is None or (known.shape[0] if known.dim() == 3 else 1) != groups:
            return None
        return [to_host(gram, gram.dtype) for gram in (known if known.dim() == 3 else known[None])]

    def keep(self, grams: Sequence[Floats], device: torch.device) -> None:
        """Keep what this step has made."""
        if not self.active:
            return
        tensors = [torch.from_numpy(gram).to(device) for gram in grams]
        self.state = {
            "gram": tensors[0] if len(tensors) == 1 else torch.stack(tensors),
            "gram_step": self._step,
        }
