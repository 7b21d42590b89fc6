"""`to_binary` turns plain models into binary ones."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from typing import TypeVar, cast

from torch import nn

from qpsbgd.capture.weight import as_binary_weight
from qpsbgd.nn.base import BinaryLayer
from qpsbgd.nn.convolution import BinaryConv2d
from qpsbgd.nn.linear import BinaryLinear

__all__ = ["to_binary"]

_ModuleT = TypeVar("_ModuleT", bound=nn.Module)

_BINARY: dict[type[nn.Module], type[BinaryLayer]] = {nn.Linear: BinaryLinear, nn.Conv2d: BinaryConv2d}


def to_binary(module: _ModuleT, *, skip: Collection[str] = ()) -> _ModuleT:
    """Turn every `torch.nn.Linear` and `torch.nn.Conv2d` in `module` into a binary layer, in place.

    The layers and their parameters stay the same objects. Values, ties, hooks, devices, dtypes and
    ``requires_grad`` stay as they are, and references of optimizers stay valid (attach `QPSBGD` afterwards).
    Subclasses of the two types and all other layers stay plain, the output projection of
    `torch.nn.MultiheadAttention` among them.

    Parameters
    ----------
    module : torch.nn.Module
        A model, or one layer. `qpsbgd.nn.summary` shows what became binary.
    skip : collection of str
        Names of modules that stay plain, as `named_modules` has them, with all that is inside of them. Often
        the first and the last layer.

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
