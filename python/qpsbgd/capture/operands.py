"""Guards latent weights: no function of torch takes one as the matrix of a layer.

A layer uses the sign of its latent weight. Code that reads ``layer.weight`` and multiplies by it computes
another layer: torch's fused transformer, a batch norm folded into a convolution, ``F.linear`` by hand. So a
latent weight has a ``__torch_function__``, which torch calls in place of each of its functions:

========================================  ==========================================================
function                                  what happens
========================================  ==========================================================
product: linear, matmul, convolution,     raises `RuntimeError`, unless all operands are latent (W W')
embedding, attention
packing for another library, quantisation raises `RuntimeError`
multiplication by a tensor of another     raises `RuntimeError`: it rescales rows, as folding a batch norm
shape (a tensor of one number is allowed) does, or multiplies by inputs
view, copy or cast of the weight          runs; the result is a `LatentValues`, which has the same guard
anything else: arithmetic, reductions,    runs; the result is a plain tensor
comparisons, in-place updates
========================================  ==========================================================

``weight.detach()`` and ``weight.data`` are plain tensors without the guard, for code that means the latent
values. `plain_tensor` gives one that autograd still follows. Functions of torch with a fused path look for a
``__torch_function__`` first; where there is one they take the path that calls the layers.

The guard sees Python calls. It does not see

- the inside of a ``torch.jit.script`` function that is given a weight,
- what another tensor class with a ``__torch_function__`` of its own runs first,
- what ``torch.export`` with ``strict=True`` and the compiler's ``freezing`` trace: they take parameters as
  plain ones. `qpsbgd.nn.to_binary` therefore also turns the fused path of torch's encoders off.
"""

from __future__ import annotations

import enum
import functools
import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["LatentValues", "plain_tensor"]

_PRODUCT_NAMES = re.compile(
    r"(^|_)(\w*mm|\w*matmul|mv|addmv|inner|vecdot|kron|einsum|tensordot|multi_dot)(_|$)"
    r"|(^|_)embedding(?!_loss)"
    r"|linear|conv(?!ert)|attention|transformer|lstm|gru|rnn"
)
"""Names of the functions that take a weight as a matrix, among them torch's private and future variants."""

_PACKING_NAMES = re.compile(r"mkldnn|quantize|prepack|pack_gemm|pack_quantized")
"""Names of the functions that prepare a weight for another library's products."""

_ELEMENTWISE_NAMES = frozenset(("mul", "multiply", "__mul__", "__rmul__"))

_ATTRIBUTES = ("T", "mT", "H", "mH", "real")
_VIEWS = (
    "t adjoint transpose swapaxes swapdims permute movedim moveaxis diagonal view view_as reshape reshape_as "
    "flatten ravel unflatten squeeze unsqueeze expand expand_as broadcast_to narrow select chunk split "
    "unbind unfold tensor_split split_with_sizes as_strided __getitem__"
)
_COPIES = "clone contiguous to type type_as float double half bfloat16"
_VALUES_NAMES = frozenset(f"{_VIEWS} {_COPIES}".split())
"""Functions whose result holds the values of their first argument."""


class _Kind(enum.Enum):
    """What a function of torch does with its arguments."""

    PRODUCT = 0
    PRODUCT_IN_PLACE = 1
    ELEMENTWISE_PRODUCT = 2
    VALUES = 3
    PACKING = 4
    ATTRIBUTE = 5


def _kind(name: str) -> _Kind | None:
    """Tell the kind of the function of this name; None if any tensor may enter it."""
    if name in _ELEMENTWISE_NAMES:
        return _Kind.ELEMENTWISE_PRODUCT
    if name in _VALUES_NAMES:
        return _Kind.VALUES
    if name.startswith("is_"):
        return None
    if _PACKING_NAMES.search(name) is not None:
        return _Kind.PACKING
    if _PRODUCT_NAMES.search(name.strip("_")) is None:
        return None
    in_place = name.endswith("_") and not name.endswith("__")
    return _Kind.PRODUCT_IN_PLACE if in_place else _Kind.PRODUCT


def _kinds() -> dict[Any, _Kind]:
    """Kinds of torch's functions. A table of functions, not names, is what torch.compile can trace."""
    kinds: dict[Any, _Kind] = {}
    for name in dir(Tensor):
        attribute = getattr(Tensor, name)
        if inspect.isgetsetdescriptor(attribute):
            kinds[attribute.__get__] = _Kind.VALUES if name in _ATTRIBUTES else _Kind.ATTRIBUTE
    for namespace in (torch, Tensor, functional, torch._C._nn, torch.linalg):
        for name in dir(namespace):
            kind = _kind(name)
            function = getattr(namespace, name, None) if kind is not None else None
            if kind is not None and callable(function) and not isinstance(function, type):
                kinds[function] = kind
    return kinds


_KINDS = _kinds()


@functools.cache
def _kind_of_unlisted(name: str) -> _Kind | None:
    # Such as "linear.default", an operator of torch.ops. Compiled graphs are made of operators: what their
    # views hold was judged when they were traced.
    kind = _kind(name.partition(".")[0])
    return None if kind is _Kind.VALUES else kind


class LatentValues(Tensor):
    """A view, copy or cast of a latent weight; products with it are refused as those with the weight.

    Copies by ``copy.deepcopy`` and pickles are plain tensors.

    Examples
    --------
    >>> import torch
    >>> from qpsbgd.nn import BinaryLinear
    >>> layer = BinaryLinear(4, 2)
    >>> torch.ones(1, 4) @ layer.weight.T  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    RuntimeError: matmul: a latent weight of shape (4, 2) is multiplied as if it were real, but ...
    >>> (torch.ones(1, 4) @ layer.weight.detach().T).shape
    torch.Size([1, 2])
    """

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run `func`, or raise `RuntimeError` if it takes latent values as the matrix of a product."""
        kwargs = kwargs or {}
        compiling = torch.compiler.is_dynamo_compiling()
        kind = _KINDS.get(func)
        if kind is _Kind.ATTRIBUTE and not compiling:  # optimizers read many
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args)
        if kind is None and not compiling:
            kind = _kind_of_unlisted(func.__name__)
        if kind is not None and kind is not _Kind.VALUES:
            _refuse_products(func, kind, args, kwargs)
        guarded = kind is _Kind.VALUES and len(args) > 0 and isinstance(args[0], LatentValues)
        if compiling:  # torch.compile reads no attribute of this class
            args, kwargs = _without_guard(args), _without_guard(kwargs)
        elif func is not torch.autograd.grad and not all(map(_is_common, types)):
            # Another tensor class has its say: it sees a plain tensor in the weight's place.
            return func(*_without_guard(args), **_without_guard(kwargs))
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **kwargs)
            return _guarded(result, args[0]) if guarded else result

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        """Copy the values."""
        return cast(Tensor, plain_tensor(self).__deepcopy__(memo))

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle the values."""
        return plain_tensor(self).__reduce_ex__(protocol)


def plain_tensor(weight: Tensor) -> Tensor:
    """Give the latent values as a plain tensor that shares their memory; gradients flow back to `weight`.

    Examples
    --------
    >>> import torch
    >>> from qpsbgd.capture import BinaryWeight
    >>> weight = BinaryWeight(torch.tensor([[0.5, -0.25]]))
    >>> (torch.ones(1, 2) @ plain_tensor(weight).T).item()
    0.25
    """
    with torch._C.DisableTorchFunctionSubclass():
        return weight.view_as(weight)  # torch.compile does not trace as_subclass(Tensor)


def _is_common(kind: type) -> bool:
    """Whether `kind` adds nothing to torch's functions that has to run beside the guard."""
    return kind is Tensor or issubclass(kind, (LatentValues, torch.nn.Parameter))


def _refuse_products(func: Callable[..., Any], kind: _Kind, args: Any, kwargs: dict[str, Any]) -> None:
    read = list(_tensors(args))
    for name, argument in kwargs.items():
        if name != "out":
            read += _tensors(argument)
    if kind is _Kind.PRODUCT_IN_PLACE:
        read = read[1:]  # the first one is written to
    latent = [operand for operand in read if isinstance(operand, LatentValues)]
    with torch._C.DisableTorchFunctionSubclass():
        if kind is _Kind.ELEMENTWISE_PRODUCT:
            latent = [weight for weight in latent if _is_rescaled(weight, read)]
        elif kind is not _Kind.PACKING and len(latent) == len(read):
            return  # the weight by itself, as W W': a measure of the weight, no layer
        if latent:
            # No TypeError: Python would replace it by one that names only the operator.
            raise RuntimeError(
                f"{func.__name__}: a latent weight of shape {tuple(latent[0].shape)} is multiplied as if it "
                "were real, but its layer uses the scaled sign of it. Call the layer, or use "
                "binarize(weight); weight.detach() holds the latent values"
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


def _tensors(arguments: Any) -> Iterator[Tensor]:
    if isinstance(arguments, Tensor):
        yield arguments
    elif isinstance(arguments, (tuple, list)):
        for argument in arguments:
            yield from _tensors(argument)


def _without_guard(arguments: Any) -> Any:
    """Give `arguments` with a plain tensor for each latent weight."""
    if isinstance(arguments, LatentValues):
        return plain_tensor(arguments)
    if type(arguments) in (tuple, list):
        return type(arguments)([_without_guard(argument) for argument in arguments])
    if type(arguments) is dict:
        return {name: _without_guard(argument) for name, argument in arguments.items()}
    return arguments


def _guarded(result: Any, source: Tensor) -> Any:
    """Mark what holds the values of `source`; what lies on another device is a copy of its own."""
    if isinstance(result, (tuple, list)):
        return type(result)([_guarded(part, source) for part in result])
    if type(result) is not Tensor or result.device != source.device:
        return result
    return result.as_subclass(LatentValues)
