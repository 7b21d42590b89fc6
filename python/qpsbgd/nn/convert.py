"""`to_binary` turns plain models into binary ones; `to_recorded` leaves them real and has inputs recorded."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Collection
from typing import TypeVar, cast

from torch import nn

from qpsbgd.capture.weight import as_binary_weight
from qpsbgd.nn.attention import RecordedMultiheadAttention
from qpsbgd.nn.base import BinaryLayer
from qpsbgd.nn.convolution import BinaryConv2d
from qpsbgd.nn.linear import BinaryLinear
from qpsbgd.nn.recorded import (
    RecordedConv1d,
    RecordedConv2d,
    RecordedLayer,
    RecordedLinear,
    RecordedOutputProjection,
    record,
)
from qpsbgd.nn.recurrent import (
    RecordedGRU,
    RecordedGRUCell,
    RecordedLSTM,
    RecordedLSTMCell,
    RecordedRNN,
    RecordedRNNCell,
)

__all__ = ["to_binary", "to_recorded"]

_ModuleT = TypeVar("_ModuleT", bound=nn.Module)

_BINARY: dict[type[nn.Module], type[BinaryLayer]] = {nn.Linear: BinaryLinear, nn.Conv2d: BinaryConv2d}

_RECORDED: dict[type[nn.Module], type[RecordedLayer]] = {
    nn.Linear: RecordedLinear,
    nn.Conv1d: RecordedConv1d,
    nn.Conv2d: RecordedConv2d,
    nn.MultiheadAttention: RecordedMultiheadAttention,
    nn.LSTM: RecordedLSTM,
    nn.GRU: RecordedGRU,
    nn.RNN: RecordedRNN,
    nn.LSTMCell: RecordedLSTMCell,
    nn.GRUCell: RecordedGRUCell,
    nn.RNNCell: RecordedRNNCell,
}

_WITHOUT_BINARY_FORM = (
    nn.Linear,  # subclasses of it
    nn.modules.conv._ConvNd,
    nn.Bilinear,
    nn.MultiheadAttention,
    nn.RNNBase,
    nn.RNNCellBase,
)
"""Layers that multiply by a weight and stay real, unless they are in `_BINARY`."""


def to_binary(module: _ModuleT, *, skip: Collection[str] = ()) -> _ModuleT:
    """Turn every `torch.nn.Linear` and `torch.nn.Conv2d` in `module` into a binary layer, in place.

    The layers and their parameters stay the same objects. Values, ties, hooks, devices, dtypes and
    ``requires_grad`` stay as they are, and references of optimizers stay valid (attach `QPSBGD` afterwards).
    Subclasses of the two types and all other layers stay plain, the output projection of
    `torch.nn.MultiheadAttention` among them. A warning names those that multiply by a weight.

    Parameters
    ----------
    module : torch.nn.Module
        A model, or one layer. `qpsbgd.nn.summary` shows what became binary.
    skip : collection of str
        Names of modules that stay plain, as `named_modules` has them, with all that is inside of them. Often
        the first and the last layer. No warning names these.

    Returns
    -------
    torch.nn.Module
        `module` itself.

    Raises
    ------
    TypeError
        If `module` is not a module, or a layer's weight is not a plain floating-point parameter.
    ValueError
        If a layer shares its weight with a layer of another kind, such as an embedding, or with one that
        stays plain; if `skip` names no module.

    Warns
    -----
    UserWarning
        If layers without a binary form stay real that `skip` does not name, such as `torch.nn.Conv1d`.

    Examples
    --------
    >>> import torch
    >>> model = to_binary(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU()))
    >>> model[0]
    BinaryLinear(4, 3, bias=True)
    >>> model = to_binary(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2)), skip=["1"])
    >>> model[1]
    Linear(in_features=3, out_features=2, bias=True)
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"module must be a torch.nn.Module, but is {type(module).__name__}")
    skipped = _skipped(module, skip)
    layers = [layer for layer in module.modules() if type(layer) in _BINARY and id(layer) not in skipped]
    weights = {id(layer.weight): type(layer) for layer in layers}
    for name, other in module.named_modules():
        for parameter in other._parameters.values():
            plain = weights.get(id(parameter))
            if plain is not None and (id(other) in skipped or not isinstance(other, (plain, _BINARY[plain]))):
                kind = "linear layer" if plain is nn.Linear else "convolution"
                raise ValueError(
                    f"module: a {kind} shares its weight with {name!r} ({type(other).__name__}), "
                    "which would become binary too; untie them first"
                )
    _warn_of_real_layers(module, skipped)
    for layer in layers:
        as_binary_weight(cast(nn.Parameter, layer.weight))
        # Both classes have the same attributes. A change of class keeps hooks, ties and references.
        layer.__class__ = _BINARY[type(layer)]
    for other in module.modules():
        _call_layers(other)
    return module


def _skipped(module: nn.Module, skip: Collection[str]) -> set[int]:
    """Return the identities of the modules that stay plain."""
    if isinstance(skip, str):
        raise TypeError(f"skip must be a collection of names, but is the text {skip!r}")
    modules = dict(module.named_modules(remove_duplicate=False))
    unknown = sorted(set(skip) - set(modules))
    if unknown:
        near = difflib.get_close_matches(unknown[0], modules, 3)
        raise ValueError(
            f"skip names {unknown[0]!r}, which is no module"
            + (f"; near are {', '.join(map(repr, near))}" if near else "")
        )
    return {id(inside) for name in skip for inside in modules[name].modules()}


def _warn_of_real_layers(module: nn.Module, skipped: set[int]) -> None:
    """Name the layers that stay real although they multiply by a weight, the outer one of nested ones."""
    named: dict[int, str] = {}
    inside: set[int] = set()
    for name, layer in module.named_modules():
        stays = isinstance(layer, _WITHOUT_BINARY_FORM) and type(layer) not in _BINARY
        if not stays or isinstance(layer, (BinaryLayer, RecordedLayer)) or id(layer) in skipped | inside:
            continue
        named[id(layer)] = f"{name or 'module'} ({type(layer).__name__})"
        inside |= {id(part) for part in layer.modules()}
    if named:
        first, more = list(named.values())[:5], len(named) - 5
        warnings.warn(
            f"layers without a binary form stay real: {', '.join(first)}"
            + (f" and {more} more" if more > 0 else "")
            + "; name them in skip= if that is meant",
            stacklevel=3,
        )


def _call_layers(module: nn.Module) -> None:
    """Let an encoder of torch call its layers; its fused path multiplies by their weights.

    The guard of the weights does so too, but for tracers that take parameters as plain ones.
    """
    if isinstance(module, nn.TransformerEncoderLayer) and (
        isinstance(module.linear1, BinaryLayer) or isinstance(module.linear2, BinaryLayer)
    ):
        module.activation_relu_or_gelu = 0  # read by nothing else
    if isinstance(module, nn.TransformerEncoder):
        module.use_nested_tensor = False  # which only the fused path takes


def to_recorded(module: _ModuleT, *, skip: Collection[str] = ()) -> _ModuleT:
    """Have the layers of `module` record the inputs behind their gradients, in place; weights stay real.

    `qpsbgd.QPSBGD` then trains their weights by binary steps. The layers are `torch.nn.Linear`, `Conv1d`,
    `Conv2d`, the projections of `MultiheadAttention`, and `LSTM`, `GRU`, `RNN` and their cells. They compute
    the same bits as before. The layers and their parameters stay the same objects: values, ties, hooks,
    devices, dtypes, ``requires_grad``, state dict keys and references of optimizers stay (attach `QPSBGD`
    afterwards).

    Subclasses of these types and all other layers stay as they are. `QPSBGD` trains them by Adam: embeddings,
    norms, and the output projection inside of an `LSTM` with ``proj_size``. An embedding may share its weight
    with a linear layer; the weight then takes binary steps.

    Parameters
    ----------
    module : torch.nn.Module
        A model, or one layer.
    skip : collection of str
        Names of modules that stay plain, as in `to_binary`.

    Returns
    -------
    torch.nn.Module
        `module` itself.

    Raises
    ------
    TypeError
        If `module` is not a module, or a layer's weight is not a plain floating-point parameter.
    ValueError
        If `skip` names no module.

    Examples
    --------
    >>> import torch
    >>> model = to_recorded(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU()))
    >>> model[0]
    RecordedLinear(in_features=4, out_features=3, bias=True)
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"module must be a torch.nn.Module, but is {type(module).__name__}")
    skipped = _skipped(module, skip)
    for layer in list(module.modules()):
        kind = _RECORDED.get(type(layer))
        if kind is None or id(layer) in skipped or not _has_its_weights(layer, kind):
            continue
        record(layer, kind)
        if isinstance(layer, RecordedMultiheadAttention) and "weight" in layer.out_proj._parameters:
            record(layer.out_proj, RecordedOutputProjection)
    return module


def _has_its_weights(layer: nn.Module, kind: type[RecordedLayer]) -> bool:
    """Whether a weight is a parameter; weight norm, pruning and parametrizations compute it of others."""
    return any(kind.is_recorded(name) for name in layer._parameters)
