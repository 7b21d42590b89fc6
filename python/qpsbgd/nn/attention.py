"""Torch's attention, whose projections record their inputs.

`torch.nn.MultiheadAttention` multiplies by its weights inside of one function of torch. Three of the four
projections have inputs that are known before: query, key and value. The output projection's input exists
inside only. So this module runs torch's own function with another ``linear``, the one name by which it calls
the output projection. Masks, dropout, scores and their layout stay torch's, whatever its version.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qpsbgd.capture.autograd import recorded_weight
from qpsbgd.nn.rebinding import rebound
from qpsbgd.nn.recorded import RecordedLayer, RecordedOutputProjection, record

__all__ = ["RecordedMultiheadAttention"]

_PROJECTIONS = ("query", "key", "value")


def _linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(inputs, recorded_weight(weight, inputs), bias)


_SIGNATURE = inspect.signature(F.multi_head_attention_forward)


def _attention(*args: Any, **kwargs: Any) -> Any:
    """Do as `torch.nn.functional.multi_head_attention_forward`, and record the inputs of its projections."""
    bound = _SIGNATURE.bind(*args, **kwargs)
    given = bound.arguments
    packed, inputs = given.get("in_proj_weight"), [given[name] for name in _PROJECTIONS]
    if packed is not None:
        given["in_proj_weight"] = _packed(packed, *inputs)
    for name, tensor in zip(_PROJECTIONS, inputs, strict=True):
        weight = given.get(f"{name[0]}_proj_weight")
        if weight is not None:
            given[f"{name[0]}_proj_weight"] = recorded_weight(weight, tensor)
    return _torch_attention()(*bound.args, **bound.kwargs)


@cache
def _torch_attention() -> Callable[..., Any]:
    return rebound(F.multi_head_attention_forward, linear=_linear)


@cache
def _torch_forward() -> Callable[..., Any]:
    return rebound(nn.MultiheadAttention.forward, F=_Functional())


def _packed(weight: Tensor, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Record the inputs of the packed weight: query, key and value meet a third of its rows each."""
    if query is key and key is value:
        return recorded_weight(weight, query)
    samples = [tensor.reshape(-1, tensor.shape[-1]) for tensor in (query, key, value)]
    return recorded_weight(weight, torch.cat(samples), _ThreeInputs(tuple(len(rows) for rows in samples)))


class _Functional:
    """`torch.nn.functional` with the attention of this module."""

    multi_head_attention_forward = staticmethod(_attention)

    def __getattr__(self, name: str) -> Any:
        return getattr(F, name)


class RecordedMultiheadAttention(RecordedLayer, nn.MultiheadAttention):
    """`torch.nn.MultiheadAttention`, whose four projections take binary steps under `qpsbgd.QPSBGD`.

    Arguments, attributes, state dict and results are those of `torch.nn.MultiheadAttention`.
    `qpsbgd.nn.to_recorded` makes it of one.

    Examples
    --------
    >>> import torch
    >>> from qpsbgd.nn import to_recorded
    >>> attention, x = to_recorded(torch.nn.MultiheadAttention(8, 2)), torch.ones(3, 1, 8)
    >>> attention(x, x, x)[0].shape
    torch.Size([3, 1, 8])
    """

    recorded_names: ClassVar[tuple[str, ...]] = (
        "in_proj_weight",
        "q_proj_weight",
        "k_proj_weight",
        "v_proj_weight",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        record(self.out_proj, RecordedOutputProjection)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute attention as `torch.nn.MultiheadAttention.forward`, of the same arguments."""
        if not torch.is_grad_enabled():
            return super().forward(*args, **kwargs)
        return _recorded_forward(self, *args, **kwargs)


@torch._disable_dynamo  # type: ignore[attr-defined]
def _recorded_forward(layer: nn.MultiheadAttention, *args: Any, **kwargs: Any) -> Any:
    return _torch_forward()(layer, *args, **kwargs)


@dataclass(frozen=True)
class _ThreeInputs:
    """Query, key and value, one below the other, as the inputs of three groups of rows.

    Groups have equal numbers of samples. Shorter ones are padded by zeros, which add nothing to X'X, and
    enlarged, so that X'X / n has their own number of samples. Implements `qpsbgd.capture.Unfolding`.
    """

    sizes: tuple[int, ...]

    @property
    def groups(self) -> int:
        """Number of inputs."""
        return len(self.sizes)

    def num_samples(self, inputs: Tensor) -> int:
        """Count the samples of the longest input."""
        return max(self.sizes)

    def batched(self, inputs: Tensor) -> Tensor:
        """Give all samples in one block: they are not cut."""
        return inputs[None]

    def input_samples(self, inputs: Tensor) -> Tensor:
        """Give X (3, n, d)."""
        longest = max(self.sizes)
        X = inputs.new_zeros(self.groups, longest, inputs.shape[-1])
        for group, rows in enumerate(inputs[0].split(self.sizes)):
            X[group, : len(rows)] = rows * (longest / max(1, len(rows))) ** 0.5
        return X

    def output_samples(self, outputs: Tensor) -> Tensor:
        """Raise: the projected query, key and value are not kept."""
        raise RuntimeError("the projections inside of an attention keep no outputs")
