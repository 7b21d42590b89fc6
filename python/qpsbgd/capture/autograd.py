"""What a layer step needs beside its gradient: the layer's inputs X, seen in the backward pass.

A latent weight is a `BinaryWeight`. An optimizer that wants a weight's inputs calls `attach`; from then
on every backward pass through a layer in training mode appends one `Record` to the returned `Capture`.
Nothing is recorded without an attached capture, in evaluation mode, under ``torch.no_grad`` or by a
forward pass whose backward pass never runs, so evaluating a model leaves memory flat.

There are no hooks on modules: the layer itself asks its weight for the capture, by `recorded_product`.

What is kept is the layer's input as it came, an image for a convolution. Its `RowForm` says how that
becomes the matrix X, so the unfolded image exists only in blocks of bounded size.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from qpsbgd import _core
from qpsbgd.capture.operands import LatentValues, plain_tensor

__all__ = [
    "BinaryWeight",
    "Capture",
    "Record",
    "RowForm",
    "as_binary_weight",
    "attach",
    "binarize",
    "is_transformed",
    "record_slopes",
    "recorded_product",
    "relax",
]

_ATTRIBUTE = "_qpsbgd_capture"
_RELAXED = "_qpsbgd_relaxed_by"
_BLOCK_ELEMENTS = 2**22
"""Numbers in one block of unfolded inputs: 16 MiB of float32."""


class BinaryWeight(LatentValues, nn.Parameter):
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

    __deepcopy__ = nn.Parameter.__deepcopy__

    def __new__(cls, data: Tensor, requires_grad: bool = True) -> BinaryWeight:
        """Make a parameter that shares the memory of `data`."""
        if not isinstance(data, Tensor) or not data.is_floating_point():
            came = data.dtype if isinstance(data, Tensor) else type(data).__name__
            raise TypeError(f"data must be a floating-point tensor, but is {came}")
        return torch.Tensor._make_subclass(cls, data.detach(), requires_grad)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Pickle values and attributes, without an attached capture."""
        own = (_ATTRIBUTE, _RELAXED)
        attributes = {name: value for name, value in self.__dict__.items() if name not in own}
        return _rebuild, (self.data, self.requires_grad, attributes)


def _rebuild(data: Tensor, requires_grad: bool, attributes: dict[str, Any]) -> BinaryWeight:
    weight = BinaryWeight(data, requires_grad)
    weight.__dict__.update(attributes)
    return weight


# Files hold this name, so it must not move; with it torch.load(..., weights_only=True) reads a weight.
_rebuild.__module__ = "qpsbgd.capture"
torch.serialization.add_safe_globals([_rebuild])


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


class RowForm(Protocol):
    """How a layer's inputs and outputs become rows of X and Z; a fixed property of the layer.

    A layer with groups is several layers side by side, each with inputs, a Gram matrix and rows of its own.
    """

    @property
    def groups(self) -> int:
        """Number of groups; each has m / groups of the weight's rows, in order."""

    def num_rows(self, inputs: Tensor) -> int:
        """Rows of X that `inputs` has."""

    def batched(self, inputs: Tensor) -> Tensor:
        """Give `inputs` with samples along the first dimension, along which they may be cut."""

    def input_rows(self, inputs: Tensor) -> Tensor:
        """X (groups, n, d) of batched inputs."""

    def output_rows(self, outputs: Tensor) -> Tensor:
        """Z (groups, n, m / groups) in the order of `input_rows`, of outputs as the layer makes them."""


class Record(NamedTuple):
    """One backward pass through one layer."""

    inputs: Tensor
    """What X is made of, detached and not copied: X (n, d) itself, or an image for a convolution."""
    output_gradient: Tensor | None
    """Gradient of the loss with respect to Z (n, m) or an image, if the capture keeps it."""
    source: weakref.ref[Tensor]
    """The tensor that the layer was called with: alive and the same for static inputs."""
    source_version: int
    """Version counter of `source` in the forward pass; in-place writes increase it."""
    version: int
    """Version counter of `inputs` when recorded."""
    slopes: Tensor | None = None
    """Derivative of the activation after the layer, of the shape of `output_gradient`, if it is kept."""
    form: RowForm | None = None
    """How `inputs` becomes X; None where it is X."""

    @property
    def overwritten(self) -> bool:
        """Whether `inputs` was written to, in place, since it was recorded."""
        return self.inputs._version != self.version

    @property
    def groups(self) -> int:
        """Number of groups of the layer."""
        return 1 if self.form is None else self.form.groups

    @property
    def num_samples(self) -> int:
        """Rows n of X."""
        return len(self.inputs) if self.form is None else self.form.num_rows(self.inputs)

    def blocks(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """X (groups, k, d) and slopes (groups, k, m / groups), block by block until all n rows were there."""
        if self.form is None:
            yield self.inputs[None], None if self.slopes is None else self.slopes[None]
            return
        inputs = self.form.batched(self.inputs)
        slopes = None if self.slopes is None else self.form.output_rows(self.slopes)
        one = self.form.input_rows(inputs[:1])
        step = max(1, _BLOCK_ELEMENTS // max(1, one.numel()))
        rows = one.shape[1]
        for first in range(0, len(inputs), step):
            X = self.form.input_rows(inputs[first : first + step])
            start = first * rows
            yield X, None if slopes is None else slopes[:, start : start + X.shape[1]]

    def output_gradient_rows(self) -> Tensor | None:
        """Gradient of the loss with respect to Z, (groups, n, m / groups)."""
        if self.output_gradient is None or self.form is None:
            return None if self.output_gradient is None else self.output_gradient[None]
        return self.form.output_rows(self.output_gradient)


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
    keep_slopes : bool
        Whether records hold the derivative of the activation after the layer, where `record_slopes` tells it.
    records : list of Record
        In the order of the backward passes.
    """

    def __init__(
        self, parameter: BinaryWeight, keep_output_gradients: bool, keep_slopes: bool = False
    ) -> None:
        self.parameter = parameter
        self.keep_output_gradients = keep_output_gradients
        self.keep_slopes = keep_slopes
        self.records: list[Record] = []
        self._latest: weakref.ref[_Pending] | None = None

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

        A sample is a row of X: for a convolution a place in an image, for a graph convolution a node. The
        X of a convolution is its unfolded input, whole. With groups > 1 both have one more dimension:
        V (groups, n, m / groups) and X (groups, n, d).

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
        gradients = [rows for r in self.records if (rows := r.output_gradient_rows()) is not None]
        if len(gradients) != len(self.records):
            raise RuntimeError(
                f"the capture of the weight of shape {shape} keeps no output gradients: "
                "attach it with keep_output_gradients=True"
            )
        X = torch.cat([block for record in self.records for block, _ in record.blocks()], dim=1)
        V = X.shape[1] * torch.cat(gradients, dim=1)
        return (V, X) if len(X) > 1 else (V[0], X[0])

    def __reduce__(self) -> tuple[Any, ...]:
        return attach, (self.parameter, self.keep_output_gradients, self.keep_slopes)


def attach(
    parameter: BinaryWeight, keep_output_gradients: bool = False, keep_slopes: bool = False
) -> Capture:
    """Record the inputs of every layer that uses `parameter`; replaces a capture attached before.

    Parameters
    ----------
    parameter : BinaryWeight
        The weight of a `qpsbgd.nn` layer.
    keep_output_gradients : bool
        Also record the gradient with respect to the layer's output, for `Capture.jacobian_factors`.
    keep_slopes : bool
        Also record the derivative of the activation after the layer; see `qpsbgd.nn.Activated`.

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
    capture = Capture(parameter, keep_output_gradients, keep_slopes)
    setattr(parameter, _ATTRIBUTE, weakref.ref(capture))
    return capture


def relax(parameter: BinaryWeight, owner: object) -> None:
    """Let layers in training mode use the real weight itself, not its sign, as long as `owner` lives.

    Nothing is recorded then. In evaluation mode the layer uses the sign as always.

    Parameters
    ----------
    parameter : BinaryWeight
        The weight of a `qpsbgd.nn` layer.
    owner : object
        Whoever wants it so, usually an optimizer; it must allow weak references.

    Examples
    --------
    >>> import torch
    >>> from qpsbgd.nn import BinaryLinear
    >>> layer = BinaryLinear(1, 1)
    >>> _ = layer.weight.data.fill_(0.25)
    >>> optimizer = torch.optim.SGD([layer.weight])
    >>> relax(layer.weight, optimizer)
    >>> layer(torch.ones(1, 1)).item(), layer.eval()(torch.ones(1, 1)).item()
    (0.25, 1.0)
    """
    setattr(parameter, _RELAXED, weakref.ref(owner))


def _is_relaxed(weight: Tensor) -> bool:
    owner = getattr(weight, _RELAXED, None)
    return owner is not None and owner() is not None


def _current(weight: Tensor) -> Capture | None:
    reference = getattr(weight, _ATTRIBUTE, None)
    return None if reference is None else cast("Capture | None", reference())


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
    """Whether torch.func or forward mode differentiates what runs now."""
    if torch.compiler.is_dynamo_compiling():
        return False
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


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
        ctx.pending.record(ctx.capture, *ctx.saved_tensors)
        return gradients[0], None, None, None


class _RecordedLinear(torch.autograd.Function):
    """``Z = a X B'`` as it comes, of a B without gradient: W's own, ``p = a V'X``, is computed here.

    Its backward pass appends X to the weight's capture, as that of `_RecordedSign`.
    """

    @staticmethod
    def forward(
        ctx: Any,
        weight: Tensor,
        output: Tensor,
        inputs: Tensor,
        scale: float,
        capture: Capture,
        pending: _Pending,
    ) -> Tensor:
        ctx.save_for_backward(inputs)
        ctx.mark_dirty(output)  # else it would be a view, which nothing may change in place afterwards
        ctx.scale, ctx.capture, ctx.pending = scale, capture, pending
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (inputs,), (V,) = ctx.saved_tensors, gradients
        if ctx.capture.keep_output_gradients:
            ctx.pending.output_gradients.append(V)
        ctx.pending.record(ctx.capture, inputs)
        p = _fields(inputs.reshape(-1, inputs.shape[-1]), V.reshape(-1, V.shape[-1]), ctx.scale)
        return p, V, None, None, None, None


def _fields(X: Tensor, V: Tensor, scale: float) -> Tensor:
    """``scale V'X``, by the package's own kernel wherever it can."""
    native = (
        not torch.is_grad_enabled()  # a backward pass that is itself differentiated needs torch's functions
        and X.dtype == V.dtype
        and X.dtype in (torch.float32, torch.float64)
        and X.device.type == V.device.type == "cpu"
        and type(X) is type(V) is Tensor
        and X.numel() > 0
    )
    if not native:
        return (scale * V).t() @ X.to(V.dtype)
    x, v = (tensor.detach().contiguous().numpy() for tensor in (X, V))
    return torch.from_numpy(_core.fields(x, v, scale, torch.get_num_threads()))


class _Pending:
    """What is known of a record at the time of the forward pass."""

    def __init__(self, inputs: Tensor, form: RowForm | None) -> None:
        self.source = weakref.ref(inputs)
        self.source_version = inputs._version
        self.form = form
        self.output_gradients: list[Tensor] = []
        self.slopes: Tensor | None = None

    def record(self, capture: Capture, inputs: Tensor) -> None:
        """Append what the backward pass knows of `inputs` to `capture`."""
        kept = _kept(inputs.detach(), self.form)
        output_gradient = slopes = None
        if capture.keep_output_gradients:
            output_gradient = _kept(self.output_gradients[-1].detach(), self.form)
        if self.slopes is not None:
            slopes = _kept(self.slopes, self.form)
        capture.records.append(
            Record(kept, output_gradient, self.source, self.source_version, kept._version, slopes, self.form)
        )


def _kept(tensor: Tensor, form: RowForm | None) -> Tensor:
    """As it came where a form turns it into rows later, else as rows."""
    return tensor if form is not None else tensor.reshape(-1, tensor.shape[-1])


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
    form: RowForm | None = None,
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
        The X of the layer's product, one sample a row; with a `form` whatever that turns into X.
    product : callable
        Makes the layer's output Z = a X B' (..., m) from the binary weight B (m, d).
    form : RowForm, optional
        How inputs and output become X and Z, for layers that are no plain matrix product.
    scale : float, optional
        The a of a plain matrix product. The gradient of a recorded weight, ``p = a V'X`` of the gradient V of
        Z, is then computed by the package's own kernel where it can be, rather than by torch.

    Examples
    --------
    >>> import torch
    >>> weight, x = BinaryWeight(torch.tensor([[0.5, -0.5]])), torch.tensor([[3.0, 1.0]])
    >>> recorded_product(weight, x, lambda binary: x @ binary.T).item()
    2.0
    """
    if _is_relaxed(weight):
        return product(plain_tensor(weight))
    capture = _current(weight)
    if capture is None or not _recording():
        return product(binarize(weight))
    pending = _Pending(inputs, form)
    capture._latest = weakref.ref(pending)
    with torch._C.DisableTorchFunctionSubclass():  # attributes of a guarded tensor cost microseconds
        known = weight.detach() if scale is not None and weight.requires_grad else None
    if known is not None:
        output = product(_sign(known))
        return cast(Tensor, _RecordedLinear.apply(weight, output, inputs, scale, capture, pending))  # type: ignore[no-untyped-call]
    binary = _RecordedSign.apply(weight, inputs.detach(), capture, pending)  # type: ignore[no-untyped-call]
    output = product(binary)
    if capture.keep_output_gradients and output.requires_grad:
        # The hook belongs to this node of the graph and goes with it.
        output.register_hook(pending.output_gradients.append)
    return output


def _recording() -> bool:
    # Under a functorch transform tensors are wrappers that must not outlive it.
    return torch.is_grad_enabled() and not torch._C._are_functorch_transforms_active()


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
    >>> weight = BinaryWeight(torch.tensor([[0.5, -0.5]]))
    >>> capture = attach(weight, keep_slopes=True)
    >>> z = recorded_product(weight, torch.ones(1, 2), lambda binary: torch.ones(1, 2) @ binary.T)
    >>> record_slopes(weight, lambda: 1 - torch.tanh(z.detach()) ** 2)
    >>> torch.tanh(z).sum().backward()
    >>> capture.records[0].slopes
    tensor([[1.]])
    """
    capture = _current(weight)
    if capture is None or not capture.keep_slopes or not _recording() or capture._latest is None:
        return
    pending = capture._latest()
    if pending is not None:
        pending.slopes = slopes().detach()
