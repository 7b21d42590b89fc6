"""Guards latent weights: no function of torch takes one as the matrix of a layer.

A layer uses the sign of its latent weight. Code that reads ``layer.weight`` and multiplies by it computes
another layer: torch's fused transformer, a batch norm folded into a convolution, ``F.linear`` by hand. So a
latent weight has a ``__torch_function__``, which torch calls in place of each of its functions:

========================================  ==========================================================
function                                  what happens
========================================  ==========================================================
product: linear, matmul, convolution,     raises `TypeError`
embedding, attention, packing of weights
multiplication by a tensor of another     raises `TypeError`: it rescales rows or multiplies by inputs
shape (a tensor of one number is allowed)
view, copy or cast of the weight          runs; the result is a `LatentValues`, which has the same guard
anything else: arithmetic, reductions,    runs; the result is a plain tensor
comparisons, in-place updates
========================================  ==========================================================

``weight.detach()`` and ``weight.data`` are plain tensors without the guard, for code that means the latent
values. `plain_tensor` gives one that autograd still follows. Functions of torch with a fused path ask for a
``__torch_function__`` first; where there is one they take the path that calls the layers.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor

__all__ = ["LatentValues", "plain_tensor"]

_PRODUCT = re.compile(
    r"(^|_)(\w*mm|\w*matmul|mv|addmv|inner|vecdot|kron|einsum|tensordot|multi_dot)(_|$)"
    r"|(^|_)embedding(?!_loss)"
    r"|linear|conv|attention|transformer|lstm|gru|rnn|mkldnn|quantize|prepack|pack_gemm|pack_quantized"
)
"""Names of torch's functions that take a weight as a matrix, with those of its private and future variants."""

_ELEMENTWISE_PRODUCTS = frozenset(("mul", "multiply", "__mul__", "__rmul__"))

_SAME_VALUES = frozenset(
    # Views.
    ("T", "mT", "H", "mH", "real", "t", "adjoint", "transpose", "swapaxes", "swapdims", "permute", "movedim")
    + ("moveaxis", "view", "view_as", "reshape", "reshape_as", "flatten", "ravel", "unflatten", "squeeze")
    + ("unsqueeze", "expand", "expand_as", "broadcast_to", "narrow", "select", "chunk", "split", "unbind")
    + ("tensor_split", "split_with_sizes", "as_strided", "__getitem__", "diagonal", "unfold")
    # Copies and casts.
    + ("clone", "contiguous", "to", "type", "type_as", "float", "double", "half", "bfloat16")
)
"""Functions whose result holds the values of their first argument."""

class LatentValues(Tensor):
    """A view, copy or cast of a latent weight; products with it are refused as those with the weight.

    Copies by ``copy.deepcopy`` and pickles are plain tensors.

    Examples
    --------
    >>> import torch
    >>> from qpsbgd.nn import BinaryLinear
    >>> layer = BinaryLinear(4, 2)
    >>> torch.ones(1, 4) @ layer.weight.T
    Traceback (most recent call last):
    ...
    TypeError: matmul: a latent weight of shape (4, 2) is no matrix ...
    >>> (torch.ones(1, 4) @ layer.weight.detach().T).shape
    torch.Size([1, 2])
    """

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run `func`, or raise `TypeError` if it takes latent values as the matrix of a product."""
        kwargs = kwargs or {}
        name = func.__name__
        if name == "__get__":  # an attribute of a tensor, such as W.T
            name = func.__self__.__name__  # type: ignore[attr-defined]
        elif _takes_factors(name):
            _refuse_products(name, args, kwargs)
        if name != "grad" and not all(map(_is_common, types)):  # autograd.grad knows its inputs by identity
            # Another tensor class has its say: it sees a plain tensor in the weight's place.
            return func(*_without_guard(args), **_without_guard(kwargs))
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **kwargs)
            if name in _SAME_VALUES and args and _is_guarded(type(args[0])):
                return _guarded(result, args[0])
            return result

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        """Copy the values."""
        return cast(Tensor, plain_tensor(self).__deepcopy__(memo))  # type: ignore[no-untyped-call]

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle the values."""
        return plain_tensor(self).__reduce_ex__(protocol)


def plain_tensor(weight: Tensor) -> Tensor:
    """Give the latent values as a plain tensor that shares their memory; gradients flow back to `weight`.

    Examples
    --------
    >>> import torch
    >>> from qpsbgd.capture import BinaryWeight
    >>> weight = BinaryWeight(torch.tensor([[0.5, -0.2]]))
    >>> (torch.ones(1, 2) @ plain_tensor(weight).T).item()
    0.30...
    """
    with torch._C.DisableTorchFunctionSubclass():
        return weight.as_subclass(Tensor)


def _is_guarded(kind: type) -> bool:
    """Whether `kind` is the class of a latent weight or of its values."""
    return issubclass(kind, LatentValues)


def _is_common(kind: type) -> bool:
    """Whether `kind` adds nothing to torch's functions that has to run beside the guard."""
    return kind is Tensor or issubclass(kind, (LatentValues, torch.nn.Parameter))


@functools.cache
def _takes_factors(name: str) -> bool:
    """Whether the function of this name multiplies its arguments, or packs them for such a function."""
    # An operator of torch.ops has the name "linear.default".
    return name in _ELEMENTWISE_PRODUCTS or bool(_PRODUCT.search(name.partition(".")[0].strip("_")))


def _refuse_products(name: str, args: Any, kwargs: Any) -> None:
    operands = list(_tensors((args, kwargs)))
    latent = [operand for operand in operands if _is_guarded(type(operand))]
    in_place = name.endswith("_") and not name.endswith("__")
    if in_place and operands[0] is latent[0]:
        latent = latent[1:]  # the first one is written to: an update of the weight
    with torch._C.DisableTorchFunctionSubclass():
        if name in _ELEMENTWISE_PRODUCTS:
            latent = [weight for weight in latent if _is_rescaled(weight, operands)]
        if latent:
            raise TypeError(
                f"{name}: a latent weight of shape {tuple(latent[0].shape)} is no matrix to multiply by: "
                "its layer uses the sign of it, scaled. Call the layer, or use binarize(weight); "
                "weight.detach() holds the latent values"
            )


def _is_rescaled(weight: Tensor, factors: list[Tensor]) -> bool:
    """Whether a factor differs from row to row, or has another shape, as inputs have.

    A mask or a gradient has the shape of the weight. One number a row is what folds a batch norm into a
    layer, and no sign shows it; a weight with one column cannot tell it from a mask.
    """
    for factor in factors:
        if factor is weight or (factor.dim() <= 1 and factor.numel() == 1):
            continue
        if factor.shape != weight.shape or (weight.dim() > 1 and weight.numel() == len(weight)):
            return True
    return False


def _tensors(arguments: Any) -> Iterable[Tensor]:
    if isinstance(arguments, Tensor):
        yield arguments
    elif isinstance(arguments, (tuple, list)):
        for argument in arguments:
            yield from _tensors(argument)
    elif isinstance(arguments, dict):
        for argument in arguments.values():
            yield from _tensors(argument)


def _without_guard(arguments: Any) -> Any:
    """Give `arguments` with a plain tensor for each latent weight."""
    if isinstance(arguments, Tensor):
        return plain_tensor(arguments) if _is_guarded(type(arguments)) else arguments
    if type(arguments) in (tuple, list):
        return type(arguments)(_without_guard(argument) for argument in arguments)
    if type(arguments) is dict:
        return {name: _without_guard(argument) for name, argument in arguments.items()}
    return arguments


def _guarded(result: Any, source: Tensor) -> Any:
    """Mark what holds the values of `source`; what lies on another device is a copy of its own."""
    if isinstance(result, (tuple, list)):
        return type(result)(_guarded(part, source) for part in result)
    if type(result) is not Tensor or result.device != source.device:
        return result
    return result.as_subclass(LatentValues)
