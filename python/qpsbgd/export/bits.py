"""Signs of weights, as tensors of -1 and +1 and as bits."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from qpsbgd.capture.weight import is_binary

__all__ = ["binary_names", "binary_weights", "pack_signs", "signs_of", "unpack_signs"]


def binary_names(model: nn.Module) -> list[str]:
    """Return the names of all binary weights of a model, those of tied layers each.

    Examples
    --------
    >>> from qpsbgd.nn import BinaryLinear
    >>> binary_names(torch.nn.Sequential(BinaryLinear(2, 1), torch.nn.BatchNorm1d(1)))
    ['0.weight']
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, but is {type(model).__name__}")
    named = model.named_parameters(remove_duplicate=False)
    return [name for name, parameter in named if is_binary(parameter)]


def binary_weights(model: nn.Module) -> dict[str, Tensor]:
    """Give the weights of -1 and +1 that a network computes with.

    Parameters
    ----------
    model : torch.nn.Module
        A network with layers of `qpsbgd.nn`.

    Returns
    -------
    dict of str to int8 tensor
        The signs of every binary weight, by its name in the state dict, on its device. sign(0) = +1.

    Raises
    ------
    TypeError
        If `model` is no module.
    ValueError
        If a weight holds NaN.

    Examples
    --------
    >>> from qpsbgd.nn import BinaryLinear
    >>> model = torch.nn.Sequential(BinaryLinear(2, 1))
    >>> _ = model[0].weight.data.copy_(torch.tensor([[0.3, -0.2]]))
    >>> binary_weights(model)
    {'0.weight': tensor([[ 1, -1]], dtype=torch.int8)}
    """
    return {name: signs_of(name, model.get_parameter(name)) for name in binary_names(model)}


def signs_of(name: str, weight: Tensor) -> Tensor:
    """Return the signs of a latent weight as int8; refuse NaN, which has none."""
    values = weight.detach().as_subclass(Tensor)
    if values.isnan().any():
        raise ValueError(f"{name} holds NaN, which has no sign")
    return (values >= 0).to(torch.int8).mul_(2).sub_(1)


def pack_signs(signs: Tensor) -> Tensor:
    """Pack signs (..., d) into bits along the last axis, set for -1.

    Returns
    -------
    uint8 tensor (..., ceil(d / 8)) on the CPU
        The first sign is the lowest bit of the first byte; bits beyond d are clear.

    Examples
    --------
    >>> pack_signs(torch.tensor([[1, -1, -1]])).tolist()
    [[6]]
    """
    return torch.from_numpy(np.packbits((signs < 0).cpu().numpy(), axis=-1, bitorder="little"))


def unpack_signs(bits: Tensor, d: int, dtype: torch.dtype) -> Tensor:
    """Give signs (..., d) of bits (..., ceil(d / 8)) on their device.

    Examples
    --------
    >>> unpack_signs(torch.tensor([[6]], dtype=torch.uint8), 3, torch.float32)
    tensor([[ 1., -1., -1.]])
    """
    places = torch.arange(8, dtype=torch.uint8, device=bits.device)
    flags = (bits.unsqueeze(-1) >> places & 1).flatten(-2)[..., :d]
    return flags.to(dtype).mul_(-2).add_(1)
