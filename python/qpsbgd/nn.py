"""Layers with binary weights, for ordinary torch modules.

The layers know no solver and no optimizer: a weight is a `qpsbgd.capture.BinaryWeight`, and whoever
wants the layer's inputs attaches a capture to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qpsbgd.capture import BinaryWeight, as_binary_weight, binarize, recorded_product

__all__ = ["BinaryActivation", "BinaryLinear", "Scale", "to_binary"]

_ModuleT = TypeVar("_ModuleT", bound=nn.Module)

_INITIAL_RANGE = 0.1
"""Latent weights start in U(-.1, .1): far enough from the clip at 1, near enough to 0 to flip."""


class BinaryLinear(nn.Module):
    """``Z = a X sign(W)' + bias`` with ``a = 1 / sqrt(in_features)`` and sign(0) = +1.

    The gradient is passed straight through the sign: ``W.grad = a grad_Z' X`` exactly. The factor a keeps
    the variance of Z at that of X. The state dict has the keys of `torch.nn.Linear`.

    Parameters
    ----------
    in_features, out_features : int
        Sizes d and m.
    bias : bool
        Learn an additive bias of shape (m,). Off by default: batch norm usually follows.
    device, dtype
        As in `torch.nn.Linear`.

    Raises
    ------
    ValueError
        If a size is not a positive integer.

    Examples
    --------
    >>> import torch
    >>> layer = BinaryLinear(4, 3)
    >>> layer(torch.ones(2, 4)).shape
    torch.Size([2, 3])
    """

    in_features: int
    out_features: int
    weight: BinaryWeight
    bias: nn.Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        for name, size in (("in_features", in_features), ("out_features", out_features)):
            if not isinstance(size, int) or size < 1:
                raise ValueError(f"{name} must be a positive integer, but is {size!r}")
        self.in_features = in_features
        self.out_features = out_features
        self.weight = BinaryWeight(torch.empty(out_features, in_features, device=device, dtype=dtype))
        if bias:
            self.bias = nn.Parameter(torch.empty(out_features, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the latent weights from U(-.1, .1) and set the bias to zero."""
        nn.init.uniform_(self.weight, -_INITIAL_RANGE, _INITIAL_RANGE)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute Z (..., m) of inputs (..., d)."""

        def product(binary: Tensor) -> Tensor:
            # Scaled after the product: with ±1 inputs the sum is an exact integer, and its zeros are exact.
            return F.linear(inputs, binary) * float(self.in_features**-0.5)

        if self.training:
            output = recorded_product(self.weight, inputs, product)
        else:
            output = product(binarize(self.weight))
        return output if self.bias is None else output + self.bias

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        """Register as `torch.nn.Module` does; whatever becomes the weight is marked as binary."""
        # Assignments come through here, load_state_dict(assign=True) among them.
        if name == "weight" and param is not None:
            param = as_binary_weight(param)
        super().register_parameter(name, param)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> BinaryLinear:
        # torch makes new plain parameters where memory cannot be swapped, as in Module.to_empty.
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        weight = self._parameters.get("weight")  # pruning and parametrizations keep it elsewhere
        if weight is not None:
            as_binary_weight(weight)
        return self

    def extra_repr(self) -> str:
        """Name the sizes, as `torch.nn.Linear` does."""
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


class _SignActivation(torch.autograd.Function):
    """sign(z) with sign(0) = +1; the gradient passes where |z| <= 1."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor) -> Tensor:
        return (z >= 0).to(z.dtype).mul_(2).sub_(1)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (z,) = ctx.saved_tensors
        return gradients[0] * (z.abs() <= 1)


class BinaryActivation(nn.Module):
    """sign(z) in {-1, +1}, sign(0) = +1, with the clipped straight-through gradient ``1[|z| <= 1]``.

    Examples
    --------
    >>> import torch
    >>> BinaryActivation()(torch.tensor([-0.3, 0.0, 2.0]))
    tensor([-1.,  1.,  1.])
    """

    def forward(self, z: Tensor) -> Tensor:
        """Take the signs of z, in its shape and dtype."""
        return cast(Tensor, _SignActivation.apply(z))  # type: ignore[no-untyped-call]


class Scale(nn.Module):
    """Multiplies by one learnable number; the last ±1 layer of a classifier needs it.

    The outputs of a binary layer have a fixed size, so a softmax over them could not become confident.

    Parameters
    ----------
    init : float
        Initial factor.

    Raises
    ------
    ValueError
        If `init` is not a finite number.

    Examples
    --------
    >>> import torch
    >>> Scale(2.0)(torch.ones(2)).tolist()
    [2.0, 2.0]
    """

    def __init__(self, init: float = 1.0) -> None:
        super().__init__()
        value = torch.tensor(float(init))
        if not torch.isfinite(value):
            raise ValueError(f"init must be a finite number, but is {init!r}")
        self.scale = nn.Parameter(value)

    def forward(self, inputs: Tensor) -> Tensor:
        """Multiply `inputs` by the learnable factor."""
        return inputs * self.scale


def to_binary(module: _ModuleT) -> _ModuleT:
    """Turn every `torch.nn.Linear` in `module` into a `BinaryLinear`, in place.

    The layers stay the same objects with the same parameters: values, ties, hooks, devices, dtypes and
    ``requires_grad`` are kept, and an optimizer's references stay valid (attach `QPSBGD` afterwards). Only
    exact `torch.nn.Linear` layers are turned; subclasses and all other layers are left as they are.

    Parameters
    ----------
    module : torch.nn.Module
        A model, or one linear layer.

    Returns
    -------
    torch.nn.Module
        `module` itself.

    Raises
    ------
    TypeError
        If `module` is no module, or a linear layer's weight is no plain floating-point parameter.
    ValueError
        If a linear layer shares its weight with a layer of another kind, such as an embedding.

    Examples
    --------
    >>> import torch
    >>> model = to_binary(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU()))
    >>> model[0]
    BinaryLinear(4, 3, bias=True)
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"module must be a torch.nn.Module, but is {type(module).__name__}")
    layers = [layer for layer in module.modules() if type(layer) is nn.Linear]
    weights = {id(layer.weight) for layer in layers}
    for name, other in module.named_modules():
        shared = any(id(parameter) in weights for parameter in other._parameters.values())
        if shared and not isinstance(other, (nn.Linear, BinaryLinear)):
            raise ValueError(
                f"module: a linear layer shares its weight with {name!r} ({type(other).__name__}), "
                "which would become binary too; untie them first"
            )
    for layer in layers:
        as_binary_weight(cast(nn.Parameter, layer.weight))
        # Both classes have the same attributes; changing the class keeps hooks, ties and references.
        layer.__class__ = BinaryLinear  # type: ignore[assignment]
    return module
