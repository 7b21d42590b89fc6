"""Steps of one bit a weight: packed, and replayed to the same weights bit for bit.

A step is G in {-1, +1} and three numbers. Entries of zero are rare: a coordinate of which nothing is known
does not move, and these are whole columns (an input that is always zero) or whole rows (a neuron without
gradient). They take a bit a row and a bit a column. Only ``domain="mask"`` needs a second bit a weight.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from qpsbgd.optim.bits import clear_still, pack_bits, pack_still, unpack_bits
from qpsbgd.optim.commit import without_grad
from qpsbgd.step.arrays import Spins
from qpsbgd.step.weights import Move

__all__ = ["LastStep", "PackedSteps", "pack_step", "replay_step", "unpack_step"]

_FIELDS = ("parameter", "shape", "size", "decay", "clip", "replaces", "signs", "still", "still_by")


class LastStep(NamedTuple):
    """The step that a weight took last."""

    parameter: int
    """Number of the weight, counted over all parameter groups."""
    shape: Sequence[int]
    G: Tensor
    """The step, int8 (m, d)."""
    move: Move


class PackedSteps:
    """The part of an optimizer that gives its last step in bits, and replays others."""

    param_groups: list[dict[str, Any]]
    _last: list[LastStep]

    def packed_steps(self) -> list[dict[str, Any]]:
        """Give the last step's G of every weight that took one, in a bit a weight, for logs and messages.

        Returns
        -------
        list of dict
            One for each weight, which `torch.load` reads with ``weights_only=True``. ``parameter`` is its
            number, counted over all groups, and ``signs`` a uint8 tensor of bits, 1 where G is +1. ``size``,
            ``decay`` and ``clip`` are those of ``W <- clip(decay W - size G, -clip, clip)``. ``still`` marks
            entries of zero, if there are any. Parameters that take steps of Adam are not in it.

        Examples
        --------
        >>> import copy, torch
        >>> from qpsbgd import QPSBGD
        >>> from qpsbgd.nn import to_recorded
        >>> model = to_recorded(torch.nn.Linear(16, 4, bias=False))
        >>> start, optimizer = copy.deepcopy(model), QPSBGD(model.parameters())
        >>> model(torch.randn(8, 16)).square().mean().backward()
        >>> optimizer.step()
        >>> packed = optimizer.packed_steps()
        >>> packed[0]["signs"].nbytes
        8
        >>> QPSBGD(start.parameters()).replay(packed)
        >>> torch.equal(start.weight, model.weight)
        True
        """
        return [pack_step(*last) for last in self._last]

    @without_grad
    def replay(self, packed: Sequence[dict[str, Any]]) -> None:
        """Move the weights as the step did whose `packed_steps` these are, to the same bits.

        Only weights change. Start from the weights that the step started from, on the same kind of device.

        Raises
        ------
        ValueError
            If these are no packed steps of such weights.
        """
        weights = [parameter for group in self.param_groups for parameter in group["params"]]
        with torch._C.DisableTorchFunctionSubclass():
            for step in packed:
                replay_step(weights, step)


def pack_step(parameter: int, shape: Sequence[int], G: Tensor, move: Move) -> dict[str, Any]:
    """Pack the int8 step G (m, d) of the weight that has this number and shape.

    Examples
    --------
    >>> import torch
    >>> move = Move(size=0.1)
    >>> packed = pack_step(0, (2, 4), torch.tensor([[1, -1, 1, 1], [1, 1, 1, -1]], dtype=torch.int8), move)
    >>> packed["signs"], packed["still"]
    (tensor([190], dtype=torch.uint8), None)
    """
    step: Spins = G.cpu().numpy()
    packed: dict[str, Any] = {"parameter": parameter, "shape": tuple(shape), **move._asdict()}
    by, still = pack_still(step)
    signs = torch.from_numpy(pack_bits(step > 0))
    return {
        **packed,
        "signs": signs,
        "still": None if by is None else torch.from_numpy(still),
        "still_by": by,
    }


def unpack_step(packed: Mapping[str, Any]) -> Tensor:
    """Give the int8 step G in the shape of its weight."""
    shape = tuple(packed["shape"])
    rows, width = shape[0], math.prod(shape[1:])
    positive = unpack_bits(packed["signs"].cpu().numpy(), rows * width)
    step = np.where(positive, 1, -1).astype(np.int8).reshape(rows, width)
    if packed["still_by"] is not None:
        clear_still(step, packed["still_by"], packed["still"].cpu().numpy())
    return torch.from_numpy(step).view(shape)


def replay_step(weights: Sequence[Tensor], packed: Any) -> None:
    """Move one of `weights` as the packed step moved it.

    Raises
    ------
    ValueError
        If `packed` is no packed step, or is one of another weight.
    """
    if not isinstance(packed, Mapping) or not set(_FIELDS) <= set(packed):
        raise ValueError("packed must hold what packed_steps() returns")
    number = packed["parameter"]
    if not 0 <= number < len(weights):
        raise ValueError(f"packed has a step of parameter {number}, but there are {len(weights)} parameters")
    weight = weights[number]
    if tuple(weight.shape) != tuple(packed["shape"]):
        raise ValueError(
            f"packed has a step of shape {tuple(packed['shape'])} for parameter {number}, "
            f"which has shape {tuple(weight.shape)}"
        )
    move = Move(*(packed[name] for name in Move._fields))
    move.apply(weight, unpack_step(packed).to(weight.device))
