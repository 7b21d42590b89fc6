"""What a layer step needs beside its gradient: the layer's inputs X, seen in the backward pass.

A latent weight is a `BinaryWeight`. An optimizer that wants a weight's inputs calls `attach`; from then
on every backward pass through a layer in training mode appends one `Record` to the returned `Capture`.
Nothing is recorded without an attached capture, in evaluation mode, under ``torch.no_grad`` or by a
forward pass whose backward pass never runs, so evaluating a model leaves memory flat.

There are no hooks on modules: the layer itself asks its weight for the capture, by `recorded_product`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

__all__ = ["BinaryWeight", "Capture", "Record", "as_binary_weight", "attach", "binarize", "recorded_product"]

_ATTRIBUTE = "_qpsbgd_capture"


class BinaryWeight(nn.Parameter):
    """A latent real weight that its layer uses as ``sign(weight)``.

    The type is the mark by which optimizers tell binary weights from all other parameters. It survives
    ``copy.deepcopy``, pickling and ``Module.to``; an attached `Capture` stays with the original.

    Parameters
    ----------
    data : Tensor of floating-point numbers
        Latent values, usually in [-1, 1].
    requires_grad : bool
        As in `torch.nn.Parameter`.

    Raises
    ------
    TypeError
        If `data` is no floating-point tensor.

    Examples
    --------
    >>> import copy, torch
    >>> weight = BinaryWeight(torch.tensor([[0.5, -0.2]]))
    >>> type(copy.deepcopy(weight)).__name__
    'BinaryWeight'
    """

    def __new__(cls, data: Tensor, requires_grad: bool = True) -> BinaryWeight:
        """Make a parameter that shares the memory of `data`."""
        if not isinstance(data, Tensor) or not data.is_floating_point():
            came = data.dtype if isinstance(data, Tensor) else type(data).__name__
            raise TypeError(f"data must be a floating-point tensor, but is {came}")
        return torch.Tensor._make_subclass(cls, data.detach(), requires_grad)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Pickle values and attributes, without an attached capture."""
        attributes = {name: value for name, value in self.__dict__.items() if name != _ATTRIBUTE}
        return _rebuild, (self.data, self.requires_grad, attributes)


def _rebuild(data: Tensor, requires_grad: bool, attributes: dict[str, Any]) -> BinaryWeight:
    weight = BinaryWeight(data, requires_grad)
    weight.__dict__.update(attributes)
    return weight


def as_binary_weight(parameter: nn.Parameter) -> BinaryWeight:
    """Mark `parameter` as a latent binary weight, in place, so that ties and references to it hold.

    Parameters
    ----------
    parameter : torch.nn.Parameter
        A plain parameter, or a `BinaryWeight`, which is returned as it is.

    Raises
    ------
    TypeError
        If `parameter` is no plain floating-point parameter.

    Examples
    --------
    >>> import torch
    >>> parameter = torch.nn.Parameter(torch.ones(2, 3))
    >>> as_binary_weight(parameter) is parameter
    True
    """
    if isinstance(parameter, BinaryWeight):
        return parameter
    if type(parameter) is not nn.Parameter or not parameter.is_floating_point():
        raise TypeError(
            "parameter must be a plain floating-point torch.nn.Parameter, "
            f"but is {type(parameter).__name__} of {getattr(parameter, 'dtype', 'no dtype')}"
        )
    # Changing the class keeps the object: tied weights stay tied, as torch's lazy parameters do it.
    parameter.__class__ = BinaryWeight
    return cast(BinaryWeight, parameter)


class Record(NamedTuple):
    """One backward pass through one layer."""

    inputs: Tensor
    """Layer inputs X (n, d), detached and not copied."""
    output_gradient: Tensor | None
    """Gradient of the loss with respect to Z (n, m), if the capture keeps it."""
    source: weakref.ref[Tensor]
    """The tensor that the layer was called with: alive and the same for static inputs."""
    source_version: int
    """Version counter of `source` in the forward pass; in-place writes increase it."""
    version: int
    """Version counter of `inputs` when recorded."""

    @property
    def overwritten(self) -> bool:
        """Whether `inputs` was written to, in place, since it was recorded."""
        return self.inputs._version != self.version


class Capture:
    """The records of one weight since the last `clear`. Made by `attach`.

    Recording stops with `remove`, when another capture is attached to the weight, or when the capture is
    garbage collected, so a dropped optimizer leaves nothing behind. Copies and pickles are attached
    anew, without records.

    Attributes
    ----------
    parameter : BinaryWeight
        The weight whose layers record here.
    keep_output_gradients : bool
        Whether records hold the gradient with respect to the layer's output too.
    records : list of Record
        In the order of the backward passes.
    """

    def __init__(self, parameter: BinaryWeight, keep_output_gradients: bool) -> None:
        self.parameter = parameter
        self.keep_output_gradients = keep_output_gradients
        self.records: list[Record] = []

    @property
    def attached(self) -> bool:
        """Whether the weight's layers record here."""
        return _current(self.parameter) is self

    def clear(self) -> None:
        """Forget all records."""
        self.records.clear()

    def remove(self) -> None:
        """Stop recording and forget all records."""
        if self.attached:
            delattr(self.parameter, _ATTRIBUTE)
        self.clear()

    def jacobian_factors(self) -> tuple[Tensor, Tensor]:
        """V (n, m) and X (n, d) of all records, whose outer products are the per-sample gradients.

        Sample i has the gradient ``a v_i x_i'`` with respect to the weight, ``a = 1 / sqrt(d)``, and their
        mean ``(a / n) V' X`` is the gradient that autograd gives for a loss that is a mean over the
        samples. V is n times the gradient with respect to the layer's output Z = a X sign(W)'.

        Raises
        ------
        RuntimeError
            If nothing is recorded or output gradients are not kept.

        Examples
        --------
        >>> import torch
        >>> from qpsbgd.nn import BinaryLinear
        >>> layer = BinaryLinear(4, 2)
        >>> capture = attach(layer.weight, keep_output_gradients=True)
        >>> layer(torch.randn(8, 4)).square().mean().backward()
        >>> V, X = capture.jacobian_factors()
        >>> bool(torch.allclose(layer.weight.grad, V.T @ X / (8 * 4**0.5), atol=1e-6))
        True
        """
        shape = tuple(self.parameter.shape)
        if not self.records:
            raise RuntimeError(
                f"nothing is recorded for the weight of shape {shape}: run a backward pass in training mode"
            )
        gradients = [r.output_gradient for r in self.records if r.output_gradient is not None]
        if len(gradients) != len(self.records):
            raise RuntimeError(
                f"the capture of the weight of shape {shape} keeps no output gradients: "
                "attach it with keep_output_gradients=True"
            )
        inputs = torch.cat([r.inputs for r in self.records])
        return len(inputs) * torch.cat(gradients), inputs

    def __reduce__(self) -> tuple[Any, ...]:
        return attach, (self.parameter, self.keep_output_gradients)


def attach(parameter: BinaryWeight, keep_output_gradients: bool = False) -> Capture:
    """Record the inputs of every layer that uses `parameter`; replaces a capture attached before.

    Parameters
    ----------
    parameter : BinaryWeight
        The weight of a `qpsbgd.nn` layer.
    keep_output_gradients : bool
        Also record the gradient with respect to the layer's output, for `Capture.jacobian_factors`.

    Returns
    -------
    Capture
        Keep it: recording stops when it is removed or garbage collected.

    Raises
    ------
    TypeError
        If `parameter` is no `BinaryWeight`.

    Examples
    --------
    >>> import torch
    >>> from qpsbgd.nn import BinaryLinear
    >>> layer = BinaryLinear(4, 2)
    >>> capture = attach(layer.weight)
    >>> layer(torch.randn(8, 4)).sum().backward()
    >>> capture.records[0].inputs.shape
    torch.Size([8, 4])
    >>> capture.remove()
    """
    if not isinstance(parameter, BinaryWeight):
        raise TypeError(
            f"parameter must be a BinaryWeight, but is {type(parameter).__name__}: "
            "use the layers of qpsbgd.nn, or to_binary"
        )
    capture = Capture(parameter, keep_output_gradients)
    setattr(parameter, _ATTRIBUTE, weakref.ref(capture))
    return capture


def _current(weight: Tensor) -> Capture | None:
    reference = getattr(weight, _ATTRIBUTE, None)
    return None if reference is None else cast("Capture | None", reference())


class _Sign(torch.autograd.Function):
    """sign(W) with sign(0) = +1; the gradient passes straight through to W."""

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


class _RecordedSign(torch.autograd.Function):
    """`_Sign` whose backward pass appends the layer's inputs to the weight's capture.

    The inputs go through ``save_for_backward``, so checkpointing and offloading see them.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, inputs: Tensor, capture: Capture, pending: _Pending) -> Tensor:
        ctx.save_for_backward(inputs)
        ctx.capture, ctx.pending = capture, pending
        return _sign(weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (inputs,) = ctx.saved_tensors
        pending = ctx.pending
        output_gradient = None
        if ctx.capture.keep_output_gradients:
            output_gradient = _as_rows(pending.output_gradients[-1].detach())
        rows = _as_rows(inputs.detach())
        record = Record(rows, output_gradient, pending.source, pending.source_version, rows._version)
        ctx.capture.records.append(record)
        return gradients[0], None, None, None


class _Pending:
    """What is known of a record at the time of the forward pass."""

    def __init__(self, inputs: Tensor) -> None:
        self.source = weakref.ref(inputs)
        self.source_version = inputs._version
        self.output_gradients: list[Tensor] = []


def _as_rows(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1, tensor.shape[-1])


def _sign(weight: Tensor) -> Tensor:
    return (weight >= 0).to(weight.dtype).mul_(2).sub_(1)


def binarize(weight: Tensor) -> Tensor:
    """sign(weight) in {-1, +1}, sign(0) = +1, whose gradient is passed straight through to `weight`.

    Examples
    --------
    >>> import torch
    >>> binarize(torch.tensor([0.3, -0.2, 0.0]))
    tensor([ 1., -1.,  1.])
    """
    return cast(Tensor, _Sign.apply(weight))  # type: ignore[no-untyped-call]


# Recording changes Python state in a backward pass, which a compiled graph cannot do: torch.compile
# breaks the graph here. This wrapper, unlike torch.compiler.disable, imports the compiler when first called.
@torch._disable_dynamo  # type: ignore[attr-defined]
def recorded_product(weight: Tensor, inputs: Tensor, product: Callable[[Tensor], Tensor]) -> Tensor:
    """``product(sign(weight))``, recorded for the weight's capture in the backward pass.

    What a layer's forward pass calls in training mode. Without an attached capture, without grad mode
    and inside ``torch.func`` transforms nothing is recorded.

    Parameters
    ----------
    weight : Tensor (m, d)
        Latent weight.
    inputs : Tensor (..., d)
        The X of the layer's product, one sample a row.
    product : callable
        Makes the layer's output Z = a X B' (..., m) from the binary weight B (m, d).

    Examples
    --------
    >>> import torch
    >>> weight, x = BinaryWeight(torch.tensor([[0.5, -0.5]])), torch.tensor([[3.0, 1.0]])
    >>> recorded_product(weight, x, lambda binary: x @ binary.T).item()
    2.0
    """
    capture = _current(weight)
    # Under a functorch transform tensors are wrappers that must not outlive it.
    if capture is None or not torch.is_grad_enabled() or torch._C._are_functorch_transforms_active():
        return product(binarize(weight))
    pending = _Pending(inputs)
    binary = _RecordedSign.apply(weight, inputs.detach(), capture, pending)  # type: ignore[no-untyped-call]
    output = product(binary)
    if capture.keep_output_gradients and output.requires_grad:
        # The hook belongs to this node of the graph and goes with it.
        output.register_hook(pending.output_gradients.append)
    return output
