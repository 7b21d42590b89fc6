"""Torch's recurrent layers, whose two products record their inputs.

Torch runs a whole `LSTM`, `GRU` or `RNN` as one function, which does not show the hidden states inside. But
the hidden states of one layer are its outputs. So this module lets torch's own forward method call that
function once a layer. The inputs of ``weight_hh`` are then the initial state and the outputs, one step
earlier. Results and gradients are torch's, to the last bit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import _VF, Tensor, nn

from qpsbgd.capture.autograd import recorded_weight, weight_told_later
from qpsbgd.nn.rebinding import rebound
from qpsbgd.nn.recorded import RecordedLayer

__all__ = [
    "RecordedGRU",
    "RecordedGRUCell",
    "RecordedLSTM",
    "RecordedLSTMCell",
    "RecordedRNN",
    "RecordedRNNCell",
]


class _Functions:
    """`torch._VF`, whose recurrent functions record."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return partial(_cell if name.endswith("_cell") else _layers, getattr(_VF, name))


@cache
def _recorded_forward(kind: type[nn.Module]) -> Callable[..., Any]:
    return rebound(kind.forward, _VF=_Functions())


def _cell(function: Callable[..., Any], inputs: Tensor, state: Any, *weights: Any) -> Any:
    """One step; `weights` are weight_ih, weight_hh and what else the function takes."""
    hidden = state if isinstance(state, Tensor) else state[0]
    marked = recorded_weight(weights[0], inputs), recorded_weight(weights[1], hidden)
    return function(inputs, state, *marked, *weights[2:])


def _layers(function: Callable[..., Any], data: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    """Run all layers, one by one, as torch's function runs them at once.

    Arguments after the input are (states, weights, bias, number of layers, dropout, training, bidirectional,
    batch_first). Of packed sequences they are (batch sizes, states, weights, ..., bidirectional).
    """
    sizes, batch_first = None, False
    if isinstance(arguments[2], bool):
        *common, batch_first = arguments
    else:
        sizes, *common = arguments
    state, weights, bias, num_layers, dropout, training, bidirectional = common
    states = (state,) if isinstance(state, Tensor) else tuple(state)
    kind = _Kind(function, bias, training, bidirectional, batch_first, sizes)
    directions, per_layer = 2 if bidirectional else 1, len(weights) // num_layers
    ends = []
    for number in range(num_layers):
        if number and dropout and training:
            data = F.dropout(data, dropout, training=True)
        begin = [part[number * directions : (number + 1) * directions] for part in states]
        data, *end = kind.layer(data, begin, weights[number * per_layer : (number + 1) * per_layer])
        ends.append(end)
    return (data, *(torch.cat(parts) for parts in zip(*ends, strict=True)))


class _Kind(NamedTuple):
    """What all layers of one call have in common."""

    function: Callable[..., Any]
    bias: bool
    training: bool
    bidirectional: bool
    batch_first: bool
    sizes: Tensor | None
    """Of packed sequences the number of sequences in every step, which never grows."""

    def layer(self, data: Tensor, begin: Sequence[Tensor], weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Run one layer, both directions of it, and return outputs and last states."""
        marked, tells = list(weights), []
        begins = [0, len(weights) // 2] if self.bidirectional else [0]
        for place in begins:  # weight_ih and weight_hh come first
            marked[place] = recorded_weight(weights[place], data)
            marked[place + 1], tell = weight_told_later(weights[place + 1])
            tells.append(tell)
        state = begin[0] if len(begin) == 1 else tuple(begin)
        options = (marked, self.bias, 1, 0.0, self.training, self.bidirectional)
        if self.sizes is None:
            result = self.function(data, state, *options, self.batch_first)
        else:
            result = self.function(data, self.sizes, state, *options)
        outputs = result[0].chunk(len(tells), dim=-1)
        for direction, (tell, output) in enumerate(zip(tells, outputs, strict=True)):
            tell(partial(self.hidden_states, output, begin[0][direction], direction == 1))
        return cast("tuple[Tensor, ...]", result)

    def hidden_states(self, output: Tensor, begin: Tensor, backwards: bool) -> Tensor:
        """Give the states that the steps of a layer started from: the initial one, and the outputs before."""
        if self.sizes is not None:
            return _packed_states(output, begin, self.sizes.tolist(), backwards)
        time = 1 if self.batch_first else 0
        steps = output.shape[time] - 1
        before = output.narrow(time, 1 if backwards else 0, steps)
        first = begin.to(output.dtype).unsqueeze(time)
        return torch.cat([before, first] if backwards else [first, before], dim=time)


def _packed_states(output: Tensor, begin: Tensor, sizes: list[int], backwards: bool) -> Tensor:
    """Do as `_Kind.hidden_states` for packed sequences (samples, width), which end at different steps."""
    steps, begin = output.split(sizes), begin.to(output.dtype)
    if not backwards:
        return torch.cat(
            [begin[: sizes[0]], *(step[:size] for step, size in zip(steps, sizes[1:], strict=False))]
        )
    parts = []
    for step, size, later in zip([*steps[1:], begin[:0]], sizes, [*sizes[1:], 0], strict=True):
        parts += [step, begin[later:size]]
    return torch.cat(parts)


_WEIGHTS = re.compile(r"weight_[ih]h(_l\d+(_reverse)?)?")


class _RecordedRecurrent(RecordedLayer):
    """A recurrent layer of torch, given by the class that a subclass derives from next."""

    @classmethod
    def is_recorded(cls, name: str) -> bool:
        """Tell whether a parameter of this name is marked: layers and directions have a suffix."""
        return _WEIGHTS.fullmatch(name) is not None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute what torch's layer computes, of the same arguments."""
        if not torch.is_grad_enabled():
            return super().forward(*args, **kwargs)
        return _run(self, *args, **kwargs)


@torch._disable_dynamo  # type: ignore[attr-defined]
def _run(layer: nn.Module, *args: Any, **kwargs: Any) -> Any:
    plain = next(kind for kind in type(layer).__mro__ if kind.__module__ == nn.LSTM.__module__)
    return _recorded_forward(plain)(layer, *args, **kwargs)


class RecordedLSTM(_RecordedRecurrent, nn.LSTM):
    """`torch.nn.LSTM`, whose input and hidden weights take binary steps under `qpsbgd.QPSBGD`.

    Arguments, attributes, state dict and results are those of `torch.nn.LSTM`. Adam trains
    its output projection (`proj_size`), whose inputs torch does not show.

    Examples
    --------
    >>> import torch
    >>> layer, x = RecordedLSTM(4, 3), torch.ones(5, 2, 4)
    >>> layer(x)[0].shape
    torch.Size([5, 2, 3])
    """


class RecordedGRU(_RecordedRecurrent, nn.GRU):
    """`torch.nn.GRU`, whose input and hidden weights take binary steps under `qpsbgd.QPSBGD`.

    Arguments, attributes, state dict and results are those of `torch.nn.GRU`.

    Examples
    --------
    >>> import torch
    >>> layer, x = RecordedGRU(4, 3), torch.ones(5, 2, 4)
    >>> layer(x)[0].shape
    torch.Size([5, 2, 3])
    """


class RecordedRNN(_RecordedRecurrent, nn.RNN):
    """`torch.nn.RNN`, whose input and hidden weights take binary steps under `qpsbgd.QPSBGD`.

    Arguments, attributes, state dict and results are those of `torch.nn.RNN`.

    Examples
    --------
    >>> import torch
    >>> layer, x = RecordedRNN(4, 3), torch.ones(5, 2, 4)
    >>> layer(x)[0].shape
    torch.Size([5, 2, 3])
    """


class RecordedLSTMCell(_RecordedRecurrent, nn.LSTMCell):
    """`torch.nn.LSTMCell`, whose input and hidden weights take binary steps under `qpsbgd.QPSBGD`.

    Arguments, attributes, state dict and results are those of `torch.nn.LSTMCell`.

    Examples
    --------
    >>> import torch
    >>> layer, x = RecordedLSTMCell(4, 3), torch.ones(2, 4)
    >>> layer(x)[0].shape
    torch.Size([2, 3])
    """


class RecordedGRUCell(_RecordedRecurrent, nn.GRUCell):
    """`torch.nn.GRUCell`, whose input and hidden weights take binary steps under `qpsbgd.QPSBGD`.

    Arguments, attributes, state dict and results are those of `torch.nn.GRUCell`.

    Examples
    --------
    >>> import torch
    >>> layer, x = RecordedGRUCell(4, 3), torch.ones(2, 4)
    >>> layer(x).shape
    torch.Size([2, 3])
    """


class RecordedRNNCell(_RecordedRecurrent, nn.RNNCell):
    """`torch.nn.RNNCell`, whose input and hidden weights take binary steps under `qpsbgd.QPSBGD`.

    Arguments, attributes, state dict and results are those of `torch.nn.RNNCell`.

    Examples
    --------
    >>> import torch
    >>> layer, x = RecordedRNNCell(4, 3), torch.ones(2, 4)
    >>> layer(x).shape
    torch.Size([2, 3])
    """
