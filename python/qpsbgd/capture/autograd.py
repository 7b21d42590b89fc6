"""Layers' products with a weight or its sign, whose backward passes report the layers' inputs.

There are no hooks on modules: the layer itself asks its weight for the capture, in `recorded_product`. The
autograd graph with a capture has one more node than without, the identity on the weight's own edge. Gradients
of every order and of every mode are therefore the same, with a capture and without.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import forward_ad

from qpsbgd import _core
from qpsbgd.capture.operands import plain_tensor
from qpsbgd.capture.record import Capture, Pass, Unfolding, current_capture
from qpsbgd.capture.weight import is_relaxed

__all__ = [
    "binarize",
    "is_transformed",
    "record_slopes",
    "recorded_product",
    "recorded_weight",
    "weight_told_later",
]

_NATIVE_DTYPES = (torch.float32, torch.float64)


class _Sign(torch.autograd.Function):
    """sign(W) with sign(0) = +1; the gradient passes straight through to W."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        return _sign(weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0]


class _TransformedSign(torch.autograd.Function):
    """`_Sign` with the rules of forward mode and torch.func; slower, and torch.compile cannot trace it."""

    generate_vmap_rule = True

    @staticmethod
    def forward(weight: Tensor) -> Tensor:
        return _sign(weight)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0]

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        return tangents[0].clone()  # torch takes an output's tangent as its own


def is_transformed() -> bool:
    """Tell whether torch.func or forward mode differentiates what runs now."""
    if torch.compiler.is_dynamo_compiling():
        return False
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


class _RecordedSign(torch.autograd.Function):
    """`_Sign` on the weight's own edge, which reports the layer's inputs when the weight's gradient passes.

    The inputs go through ``save_for_backward``, so checkpointing and offloading see them.
    """

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, inputs: Tensor, capture: weakref.ref[Capture], started: Pass
    ) -> Tensor:
        ctx.save_for_backward(inputs)
        ctx.capture, ctx.started = capture, started
        return _sign(weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        capture = ctx.capture()
        if capture is not None and not torch._C._are_functorch_transforms_active():
            capture.report(ctx.started, *ctx.saved_tensors)
        return gradients[0], None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        return tangents[0].clone()


class _RecordedWeight(torch.autograd.Function):
    """The weight itself; else as `_RecordedSign`."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, inputs: Tensor, capture: weakref.ref[Capture], started: Pass
    ) -> Tensor:
        ctx.save_for_backward(inputs)
        ctx.capture, ctx.started = capture, started
        return weight.view_as(weight)

    backward = staticmethod(_RecordedSign.backward)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        return tangents[0].view_as(tangents[0])  # as the output is a view of the weight


class _WeightToldLater(torch.autograd.Function):
    """The weight itself, for a product whose inputs exist only after it; they are left in the pass."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, capture: weakref.ref[Capture], started: Pass) -> Tensor:
        ctx.capture, ctx.started = capture, started
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        capture = ctx.capture()
        if capture is not None and not torch._C._are_functorch_transforms_active():
            capture.report(ctx.started, ctx.started.told)
        return gradients[0], None, None

    jvp = staticmethod(_RecordedWeight.jvp)


class _Linear(torch.autograd.Function):
    """``Z = a X B'``, whose gradient for B is computed by the package's own kernel."""

    @staticmethod
    def forward(
        ctx: Any, binary: Tensor, inputs: Tensor, product: Callable[[Tensor], Tensor], scale: float
    ) -> Tensor:
        ctx.save_for_backward(binary, inputs)
        ctx.scale = scale
        return product(binary)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (binary, inputs), (V,) = ctx.saved_tensors, gradients
        for_binary = for_inputs = None
        if ctx.needs_input_grad[0] and _is_asked_for(ctx.next_functions[0][0]):
            X, rows = inputs.reshape(inputs.shape[:-1].numel(), inputs.shape[-1]), V.reshape(-1, V.shape[-1])
            for_binary = _weight_gradient(X, rows, ctx.scale)
        if ctx.needs_input_grad[1]:
            for_inputs = (V * ctx.scale) @ binary
        return for_binary, for_inputs, None, None


def _is_asked_for(node: Any) -> bool:
    """Tell whether this backward pass goes on to `node`, rather than for other gradients only."""
    return node is not None and bool(torch._C._will_engine_execute_node(node))


def _weight_gradient(X: Tensor, V: Tensor, scale: float) -> Tensor:
    """``scale V'X``, by the package's own kernel wherever it can."""
    native = (
        not torch.is_grad_enabled()  # a backward pass that is itself differentiated needs torch's functions
        and not torch._C._are_functorch_transforms_active()
        and X.dtype == V.dtype
        and type(V) is Tensor
        and V.device.type == "cpu"
        and X.numel() > 0
    )
    if not native:
        return (scale * V).t() @ X.to(V.dtype)
    x, v = (tensor.detach().contiguous().numpy() for tensor in (X, V))
    return torch.from_numpy(_core.weight_gradient(x, v, scale, torch.get_num_threads()))


def _sign(weight: Tensor) -> Tensor:
    # sign, with 0 moved to 1. Converting the result of a comparison would take four times as long.
    with torch._C.DisableTorchFunctionSubclass():
        return weight.sign().add_(0.5).sign_()


def binarize(weight: Tensor) -> Tensor:
    """sign(weight) in {-1, +1}, sign(0) = +1, whose gradient is passed straight through to `weight`.

    Examples
    --------
    >>> import torch
    >>> binarize(torch.tensor([0.3, -0.2, 0.0]))
    tensor([ 1., -1.,  1.])
    """
    sign = _TransformedSign if is_transformed() else _Sign
    return cast(Tensor, sign.apply(weight))  # type: ignore[no-untyped-call]


# Recording changes Python state in a backward pass, which a compiled graph cannot do: torch.compile
# breaks the graph here. This wrapper, unlike torch.compiler.disable, imports the compiler when first called.
@torch._disable_dynamo  # type: ignore[attr-defined]
def recorded_product(
    weight: Tensor,
    inputs: Tensor,
    product: Callable[[Tensor], Tensor],
    unfolding: Unfolding | None = None,
    scale: float | None = None,
) -> Tensor:
    """``product(sign(weight))``, recorded for the weight's capture in the backward pass.

    What a layer's forward pass calls in training mode. Without an attached capture, without grad mode
    and inside ``torch.func`` transforms nothing is recorded.

    Parameters
    ----------
    weight : Tensor (m, d), or (m, ...) with d elements a row
        Latent weight.
    inputs : Tensor (..., d)
        The X of the layer's product, one sample a row; with an `unfolding` whatever that turns into X.
    product : callable
        Makes the layer's output Z = a X B' (..., m) from the binary weight B (m, d).
    unfolding : Unfolding, optional
        How inputs and output become X and Z, for layers that are no plain matrix product.
    scale : float, optional
        The a of a plain matrix product of dense tensors. The gradient of a recorded weight, ``p = a V'X`` of
        the gradient V of Z, is then computed by the package's own kernel where it can be.

    Examples
    --------
    >>> import torch
    >>> from qpsbgd.capture import BinaryWeight
    >>> weight, x = BinaryWeight(torch.tensor([[0.5, -0.5]])), torch.tensor([[3.0, 1.0]])
    >>> recorded_product(weight, x, lambda binary: x @ binary.T).item()
    2.0
    """
    if is_relaxed(weight):
        return product(plain_tensor(weight))
    capture = current_capture(weight)
    if capture is None or not _recording():
        return product(binarize(weight))
    with torch._C.DisableTorchFunctionSubclass():  # attributes of a guarded tensor cost microseconds
        started = capture.start(inputs, unfolding) if weight.requires_grad else None
    if started is None:
        return product(binarize(weight))
    binary = cast(
        Tensor,
        _RecordedSign.apply(weight, inputs.detach(), weakref.ref(capture), started),  # type: ignore[no-untyped-call]
    )
    if scale is not None and _is_plain(inputs, binary):
        output = cast(Tensor, _Linear.apply(binary, inputs, product, scale))  # type: ignore[no-untyped-call]
    else:
        output = product(binary)
    if capture.keep_output_gradients and output.requires_grad:
        # The hook belongs to this node of the graph and goes with it.
        output.register_hook(lambda gradient: setattr(started, "output_gradient", gradient))
    return output


# See `recorded_product` for this wrapper.
@torch._disable_dynamo  # type: ignore[attr-defined]
def recorded_weight(weight: Tensor, inputs: Tensor, unfolding: Unfolding | None = None) -> Tensor:
    """Give `weight` for the product of a layer with real weights, which is recorded in the backward pass.

    The product that follows is torch's own, so outputs and gradients have the same bits with a capture and
    without. Without a capture, without grad mode and inside ``torch.func`` transforms this is `weight`.

    Parameters
    ----------
    weight : Tensor (m, d), or (m, ...) with d elements a row
        Real weight.
    inputs : Tensor (..., d)
        The X of the layer's product, one sample a row; with an `unfolding` whatever that turns into X.
    unfolding : Unfolding, optional
        How the inputs become X, for layers that are no plain matrix product.

    Examples
    --------
    >>> import torch
    >>> from qpsbgd.capture import RealWeight, attach
    >>> weight, x = RealWeight(torch.tensor([[0.5, -0.5]])), torch.tensor([[3.0, 1.0]])
    >>> capture = attach(weight)
    >>> torch.nn.functional.linear(x, recorded_weight(weight, x)).sum().backward()
    >>> capture.records[0].inputs
    tensor([[3., 1.]])
    """
    capture = current_capture(weight)
    if capture is None or not _recording() or not weight.requires_grad:
        return weight
    started = capture.start(inputs, unfolding)
    recorded = _RecordedWeight.apply(weight, inputs.detach(), weakref.ref(capture), started)  # type: ignore[no-untyped-call]
    return cast(Tensor, recorded)


# See `recorded_product` for this wrapper.
@torch._disable_dynamo  # type: ignore[attr-defined]
def weight_told_later(weight: Tensor) -> tuple[Tensor, Callable[[Callable[[], Tensor]], None]]:
    """Give `weight` for a product whose inputs are known only when it is done, such as a recurrent one.

    Parameters
    ----------
    weight : Tensor (m, d)
        Real weight.

    Returns
    -------
    Tensor, and function
        The weight for the product. Call the function afterwards, with a function that makes the inputs X of
        the product (..., d): nothing is made unless they are recorded.

    Examples
    --------
    >>> import torch
    >>> from qpsbgd.capture import RealWeight, attach
    >>> weight, x = RealWeight(torch.tensor([[0.5, -0.5]])), torch.tensor([[3.0, 1.0]])
    >>> capture = attach(weight)
    >>> used, tell = weight_told_later(weight)
    >>> z = torch.nn.functional.linear(x, used)
    >>> tell(lambda: x)
    >>> z.sum().backward()
    >>> capture.records[0].inputs
    tensor([[3., 1.]])
    """
    capture = current_capture(weight)
    if capture is None or not _recording() or not weight.requires_grad:
        return weight, lambda inputs: None
    started = capture.start(weight.new_empty(0), None)  # never static: nothing but this pass has its inputs
    used = cast(Tensor, _WeightToldLater.apply(weight, weakref.ref(capture), started))  # type: ignore[no-untyped-call]

    def tell(inputs: Callable[[], Tensor]) -> None:
        started.told = inputs().detach()

    return used, tell


def _recording() -> bool:
    # Under a functorch transform tensors are wrappers that must not outlive it.
    return torch.is_grad_enabled() and not torch._C._are_functorch_transforms_active()


def _is_plain(inputs: Tensor, binary: Tensor) -> bool:
    """Whether the own kernel can take part: dense CPU tensors of one type, and reverse mode only."""
    return (
        type(inputs) in (Tensor, torch.nn.Parameter)
        and type(binary) is Tensor
        and inputs.dtype == binary.dtype
        and inputs.dtype in _NATIVE_DTYPES
        and inputs.device.type == binary.device.type == "cpu"
        and inputs.layout == torch.strided
        and not inputs.is_nested
        and not is_transformed()
        and not torch.is_autocast_enabled("cpu")
    )


@torch._disable_dynamo  # type: ignore[attr-defined]
def record_slopes(weight: Tensor, slopes: Callable[[], Tensor]) -> None:
    """Add the activation's derivative to what the latest `recorded_product` of `weight` will record.

    Parameters
    ----------
    weight : Tensor
        Latent weight of the layer before the activation.
    slopes : callable
        Returns φ'(z), of the shape of the layer's output. Called only if the weight's capture keeps slopes.

    Examples
    --------
    >>> import torch
    >>> from qpsbgd.capture import BinaryWeight, attach
    >>> weight = BinaryWeight(torch.tensor([[0.5, -0.5]]))
    >>> capture = attach(weight, keep_slopes=True)
    >>> z = recorded_product(weight, torch.ones(1, 2), lambda binary: torch.ones(1, 2) @ binary.T)
    >>> record_slopes(weight, lambda: 1 - torch.tanh(z.detach()) ** 2)
    >>> torch.tanh(z).sum().backward()
    >>> capture.records[0].slopes
    tensor([[1.]])
    """
    capture = current_capture(weight)
    if capture is None or not capture.keep_slopes or not _recording() or capture._latest is None:
        return
    started = capture._latest()
    if started is not None:
        started.slopes = slopes().detach()
