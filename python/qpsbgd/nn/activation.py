"""Modules that follow a binary layer: activations, and the scale at the end of a classifier."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from qpsbgd.capture.autograd import is_transformed, record_slopes
from qpsbgd.nn.base import BinaryLayer

__all__ = ["Activated", "BinaryActivation", "Scale"]


class _Sign(torch.autograd.Function):
    """sign(z) with sign(0) = +1; the gradient passes where |z| <= 1."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        ctx.save_for_backward(z)
        return _sign(z)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (z,) = ctx.saved_tensors
        return gradients[0] * (z.abs() <= 1)


class _TransformedSign(torch.autograd.Function):
    """`_Sign` with the rules of forward mode and torch.func; slower, and torch.compile cannot trace it."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor) -> Tensor:
        return _sign(z)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(inputs[0])
        ctx.save_for_forward(inputs[0])

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (z,) = ctx.saved_tensors
        return gradients[0] * (z.abs() <= 1)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        (z,) = ctx.saved_tensors
        return tangents[0] * (z.abs() <= 1)


def _sign(z: Tensor) -> Tensor:
    return (z >= 0).to(z.dtype).mul_(2).sub_(1)


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
        sign = _TransformedSign if is_transformed() else _Sign
        return cast(Tensor, sign.apply(z))  # type: ignore[no-untyped-call]


class Scale(nn.Module):
    """Multiply by one learnable number; a classifier needs it after its last ±1 layer.

    Training cannot change the size of a binary layer's outputs, so a softmax of them cannot become confident.

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


class Activated(nn.Sequential):
    """Run a binary layer, norms if any, and an elementwise activation as one module.

    The module computes what `torch.nn.Sequential` computes and has the same state dict. It also gives the
    activation's derivative φ' to the layer's capture; ``QPSBGD(..., jacobian="post-activation")`` needs it.
    The norms count as constant rescalings of each neuron. A common factor of a neuron's slopes cancels in the
    "relative" and "auto" scales.

    Parameters
    ----------
    *modules : torch.nn.Module
        The binary layer first and the activation last. Modules between them keep the shape, as batch norm.

    Raises
    ------
    TypeError
        If the first module is not a binary layer.
    ValueError
        If there are fewer than two modules.

    Examples
    --------
    >>> import torch
    >>> from qpsbgd.nn import BinaryLinear
    >>> block = Activated(BinaryLinear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.Hardtanh())
    >>> block(torch.ones(2, 4)).shape
    torch.Size([2, 3])
    """

    def __init__(self, *modules: nn.Module) -> None:
        if len(modules) < 2:
            raise ValueError(
                f"modules must be a binary layer and an activation, but there are {len(modules)}"
            )
        if not isinstance(modules[0], BinaryLayer):
            raise TypeError(f"modules must start with a binary layer, not with {type(modules[0]).__name__}")
        super().__init__(*modules)

    def forward(self, *inputs: Any) -> Tensor:
        """Compute the activations; `inputs` are those of the binary layer."""
        layer, *norms, activation = self
        z = layer(*inputs)
        for norm in norms:
            z = norm(z)
        if layer.training:
            record_slopes(cast(Tensor, layer.weight), lambda: _slopes(activation, z))
        return cast(Tensor, activation(z))


def _slopes(activation: nn.Module, z: Tensor) -> Tensor:
    """Compute φ'(z) of an elementwise activation φ by autograd."""
    probe = z.detach().requires_grad_()
    output = activation(probe.clone())  # some activations change their input
    if output.shape != z.shape:
        raise ValueError(
            f"the activation {type(activation).__name__} makes shape {tuple(output.shape)} of "
            f"{tuple(z.shape)}, but it must work element by element"
        )
    (slopes,) = torch.autograd.grad(output.sum(), probe)
    return slopes
