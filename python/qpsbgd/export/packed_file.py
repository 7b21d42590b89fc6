"""Files of networks with one bit for each binary weight, in the safetensors format.

A binary weight is a uint8 tensor of its signs, in the order of the weight's entries: bit k of byte b is entry
8 b + k, set for -1. The file's metadata has the entry ``qpsbgd``, JSON text with the format's number and the
shapes of all binary weights. Everything else of the state dict is stored as it is.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from qpsbgd.data.files import atomic_write
from qpsbgd.data.reading import BrokenFileError, parsing, shown
from qpsbgd.export.bits import binary_names, pack_signs, signs_of, unpack_signs
from qpsbgd.extras import needed_for

__all__ = ["load_packed", "save_packed"]

_ModuleT = TypeVar("_ModuleT", bound=nn.Module)

_ENTRY = "qpsbgd"
_FORMAT = 1
_NO_FILE = "is no packed network"


def save_packed(model: nn.Module, path: str | os.PathLike[str]) -> int:
    """Write a network with one bit for each binary weight.

    Parameters
    ----------
    model : torch.nn.Module
        A network with layers of `qpsbgd.nn`. Latent values are not kept: training cannot go on from the file.
    path : path
        The file, usually ``*.safetensors``; it is written whole or not at all.

    Returns
    -------
    int
        Bytes of the file.

    Raises
    ------
    TypeError
        If the state dict holds anything but tensors.
    ValueError
        If a binary weight holds NaN.
    ModuleNotFoundError
        If safetensors is not installed.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from qpsbgd.nn import BinaryLinear
    >>> model = torch.nn.Sequential(BinaryLinear(784, 512))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_packed(model, f"{folder}/net.safetensors") < 4 * 784 * 512 / 31
    True
    """
    with needed_for("save_packed", "safetensors", "export"):
        from safetensors.torch import save

    binary = set(binary_names(model))
    shapes: dict[str, list[int]] = {}
    tensors: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise TypeError(f"model: {name} of the state dict is {type(value).__name__}, expected a tensor")
        if name in binary:
            shapes[name] = list(value.shape)
            tensors[name] = pack_signs(signs_of(name, value).flatten())
        else:
            # The format holds no two tensors of the same memory, and no strides.
            tensors[name] = value.detach().clone(memory_format=torch.contiguous_format)
    content = save(tensors, {_ENTRY: json.dumps({"format": _FORMAT, "binary": shapes})})
    with atomic_write(path) as file:
        file.write(content)
    return len(content)


def load_packed(path: str | os.PathLike[str], model: _ModuleT) -> _ModuleT:
    """Read what `save_packed` wrote into a network of the same layers.

    Binary weights become -1 and +1. Nothing changes if the file does not fit.

    Parameters
    ----------
    path : path
        The file.
    model : torch.nn.Module
        A network with the same layers of `qpsbgd.nn`, as `save_packed` got it.

    Returns
    -------
    torch.nn.Module
        `model` itself.

    Raises
    ------
    BrokenFileError
        If the file is no packed network, or one of other layers.
    ModuleNotFoundError
        If safetensors is not installed.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from qpsbgd.nn import BinaryLinear
    >>> first, second = BinaryLinear(5, 3), BinaryLinear(5, 3)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = save_packed(first, f"{folder}/net.safetensors")
    ...     _ = load_packed(f"{folder}/net.safetensors", second)
    >>> bool(((first.weight.data >= 0) == (second.weight.data >= 0)).all())
    True
    """
    binary = set(binary_names(model))
    metadata, stored = _read(path)
    with parsing(path, _NO_FILE):
        described = json.loads(metadata[_ENTRY])
        if described["format"] != _FORMAT:
            raise ValueError(f"'format' is {shown(described['format'])}, expected {_FORMAT}")
        shapes = {str(name): tuple(map(int, shape)) for name, shape in described["binary"].items()}
    expected = model.state_dict()
    _check_names(path, "tensors", stored, expected)
    _check_names(path, "binary weights", shapes, binary)
    state = {}
    for name, before in expected.items():
        value = stored[name]
        shape = shapes.get(name, tuple(value.shape))
        if shape != tuple(before.shape):
            raise BrokenFileError(path, f"holds {name} as {shape}, but the model's is {tuple(before.shape)}")
        if name in binary:
            state[name] = _signs(path, name, value, shape, before.dtype)
        else:
            state[name] = value
    model.load_state_dict(state)
    return model


def _read(path: str | os.PathLike[str]) -> tuple[Mapping[str, str], dict[str, Tensor]]:
    with needed_for("load_packed", "safetensors", "export"):
        from safetensors import SafetensorError, safe_open
    with open(path, "rb"):  # errors of the disk are not the content's fault
        pass
    try:
        with safe_open(os.fspath(path), framework="pt") as file:
            metadata = file.metadata() or {}
            return metadata, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, ValueError) as error:
        raise BrokenFileError(path, f"{_NO_FILE}: {error}") from error


def _check_names(path: str | os.PathLike[str], what: str, found: Any, expected: Any) -> None:
    missing, unknown = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing:
        raise BrokenFileError(path, f"lacks {what} of the model: {', '.join(missing)}")
    if unknown:
        raise BrokenFileError(path, f"holds {what} that the model has not: {shown(', '.join(unknown))}")


def _signs(
    path: str | os.PathLike[str], name: str, bits: Tensor, shape: tuple[int, ...], dtype: torch.dtype
) -> Tensor:
    count = math.prod(shape)
    if bits.dtype != torch.uint8 or bits.shape != ((count + 7) // 8,):
        raise BrokenFileError(path, f"holds {name} as {bits.dtype} {tuple(bits.shape)}, expected bits")
    return unpack_signs(bits, count, dtype).reshape(shape)
