"""The layer inputs behind the gradient of a weight.

A `Capture` holds the samples of exactly those backward passes that added to the present ``weight.grad``:

1. The layer's forward pass makes a `Pass`, which belongs to its node of the autograd graph.
2. A backward pass that computes the weight's gradient reports the layer's inputs (`Capture.report`).
3. Once torch has added that gradient to ``weight.grad``, a hook of the parameter calls `Capture.commit`, and
   the reported inputs become a `Record`.

A pass that asks for other gradients only never reaches step 2. `torch.autograd.grad` never reaches step 3:
what it reported goes with its graph. Anyone may drop ``weight.grad`` or set it to zero, by any means: the
records of before are then dropped too.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor

from qpsbgd.capture.weight import CAPTURE_ATTRIBUTE, BinaryWeight, RealWeight, is_captured

__all__ = ["Capture", "Pass", "Record", "Unfolding", "attach", "current_capture"]

_BLOCK_ELEMENTS = 2**22
"""Numbers in one block of unfolded inputs: 16 MiB of float32."""


class Unfolding(Protocol):
    """How a layer's inputs and outputs become the matrices X and Z; a fixed property of the layer.

    A layer with channel groups is several layers side by side. Each has inputs, a Gram matrix and rows of its
    own. An unfolding may also have ``input_samples_at(inputs, places)``, which gives ``X[:, places]`` without
    all of X.
    """

    @property
    def groups(self) -> int:
        """Number of channel groups; each has m / groups of the weight's rows, in order."""

    def num_samples(self, inputs: Tensor) -> int:
        """Count the samples (rows of X) that `inputs` has."""

    def batched(self, inputs: Tensor) -> Tensor:
        """Give `inputs` with a first dimension along which they may be cut."""

    def input_samples(self, inputs: Tensor) -> Tensor:
        """X (groups, n, d) of batched inputs."""

    def output_samples(self, outputs: Tensor) -> Tensor:
        """Z (groups, n, m / groups) in the order of `input_samples`, of outputs as the layer makes them."""


class Record(NamedTuple):
    """The samples of one forward pass through one layer, whose gradients ``weight.grad`` holds."""

    inputs: Tensor
    """X (n, d) itself, or what the unfolding makes X of; detached and not copied."""
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
    unfolding: Unfolding | None = None
    """How `inputs` becomes X; None where it is X."""

    @property
    def overwritten(self) -> bool:
        """Whether `inputs` was written to, in place, since it was recorded."""
        return self.inputs._version != self.version

    @property
    def groups(self) -> int:
        """Number of channel groups of the layer."""
        return 1 if self.unfolding is None else self.unfolding.groups

    @property
    def num_samples(self) -> int:
        """Number n of samples: rows of X."""
        return self.inputs.shape[0] if self.unfolding is None else self.unfolding.num_samples(self.inputs)

    def blocks(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """X (groups, k, d) and slopes (groups, k, m / groups), block by block, n samples in all."""
        if self.unfolding is None:
            yield self.inputs[None], None if self.slopes is None else self.slopes[None]
            return
        inputs = self.unfolding.batched(self.inputs)
        slopes = None if self.slopes is None else self.unfolding.output_samples(self.slopes)
        if len(inputs) == 0:
            return
        one = self.unfolding.input_samples(inputs[:1])
        step = max(1, _BLOCK_ELEMENTS // max(1, one.numel()))
        places = one.shape[1]
        for first in range(0, len(inputs), step):
            X = self.unfolding.input_samples(inputs[first : first + step])
            start = first * places
            yield X, None if slopes is None else slopes[:, start : start + X.shape[1]]

    def samples_at(self, places: Tensor) -> Tensor:
        """X (groups, k, d) of the k samples at these places, which are in order."""
        if self.unfolding is None:
            return self.inputs[places][None]
        inputs = self.unfolding.batched(self.inputs)
        at = getattr(self.unfolding, "input_samples_at", None)
        if at is not None:
            return cast(Tensor, at(inputs, places))
        return torch.cat([X for X, _ in self.blocks()], dim=1)[:, places]

    def output_gradient_samples(self) -> Tensor | None:
        """Gradient of the loss with respect to Z, (groups, n, m / groups)."""
        if self.output_gradient is None or self.unfolding is None:
            return None if self.output_gradient is None else self.output_gradient[None]
        return self.unfolding.output_samples(self.output_gradient)


class Pass:
    """One forward pass through a layer: what is known before its backward pass. Its graph node owns it."""

    def __init__(self, inputs: Tensor, unfolding: Unfolding | None) -> None:
        self.source = weakref.ref(inputs)
        self.source_version = inputs._version
        self.unfolding = unfolding
        self.inputs: Tensor | None = None
        self.told: Tensor | None = None
        """Inputs that the graph does not keep, because they existed only after the layer's product."""
        self.output_gradient: Tensor | None = None
        self.slopes: Tensor | None = None
        self.window: object = None
        """The window of the capture (the time between two drops of the gradient) that has its record."""
        self.committed: Record | None = None

    def record(self) -> Record:
        """Make the record of this pass; the inputs are then the record's alone."""
        inputs, self.inputs = cast(Tensor, self.inputs), None
        gradient, self.output_gradient = self.output_gradient, None
        kept = _as_samples(inputs, self.unfolding)
        return Record(
            kept,
            None if gradient is None else _as_samples(gradient.detach(), self.unfolding),
            self.source,
            self.source_version,
            kept._version,
            None if self.slopes is None else _as_samples(self.slopes, self.unfolding),
            self.unfolding,
        )


def _as_samples(tensor: Tensor, unfolding: Unfolding | None) -> Tensor:
    """Convolutions keep the image (unfolded later in blocks); other layers keep X itself."""
    if unfolding is not None:
        return tensor
    if tensor.is_nested:
        tensor = tensor.values()
    elif tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    return tensor.reshape(tensor.shape[:-1].numel(), tensor.shape[-1])


class Capture:
    """The samples behind the present gradient of one weight. Made by `attach`.

    Recording stops with `remove`, when another capture is attached to the weight, or when the capture is
    garbage collected, so a dropped optimizer leaves nothing behind. Copies and pickles are attached
    anew, without records.

    Attributes
    ----------
    parameter : BinaryWeight or RealWeight
        The weight whose layers record here.
    keep_output_gradients : bool
        Whether records hold the gradient with respect to the layer's output too.
    keep_slopes : bool
        Whether records hold the derivative of the activation after the layer, where `record_slopes` tells it.
    records : list of Record
        In the order of the backward passes. Empty once they are folded.
    folded : object or None
        What `fold` made of earlier records, such as a Gram matrix.
    overwritten : bool
        Whether inputs were written to before they were folded.
    """

    def __init__(
        self,
        parameter: BinaryWeight | RealWeight,
        keep_output_gradients: bool,
        keep_slopes: bool = False,
        fold: Callable[[Any, Sequence[Record]], Any] | None = None,
    ) -> None:
        self.parameter = parameter
        self.keep_output_gradients = keep_output_gradients
        self.keep_slopes = keep_slopes
        self._fold = fold
        self._latest: weakref.ref[Pass] | None = None
        self._hook: Any = None
        self.clear()

    @property
    def attached(self) -> bool:
        """Whether the weight's layers record here."""
        return current_capture(self.parameter) is self

    @property
    def folds(self) -> bool:
        """Whether several records become one small object; slopes need the inputs themselves."""
        return self._fold is not None and not self.keep_slopes

    def clear(self) -> None:
        """Forget all records."""
        self._begin()
        self._reported: list[tuple[int, weakref.ref[Pass]]] = []

    def _forget_records(self) -> None:
        if self._gradient is not None or self.records or self.folded is not None:
            self._begin()

    def _begin(self) -> None:
        """Begin a window without records."""
        self.records: list[Record] = []
        self.folded: Any = None
        self.overwritten = False
        self._window = object()
        self._gradient: weakref.ref[Tensor] | None = None
        self._gradient_version = 0

    def remove(self) -> None:
        """Stop recording and forget all records."""
        if self.attached:
            delattr(self.parameter, CAPTURE_ATTRIBUTE)
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
        self.clear()

    def start(self, inputs: Tensor, unfolding: Unfolding | None) -> Pass:
        """Begin the forward pass of a layer that uses the weight."""
        self.watch()
        if self.parameter.grad is None:
            self._forget_records()  # early, so that their memory serves this forward pass
        else:
            self._fold_if_large()
        started = Pass(inputs, unfolding)
        self._latest = weakref.ref(started)
        return started

    def watch(self) -> None:
        """See to it that torch tells when it has added to ``weight.grad``."""
        if self._hook is not None or not self.parameter.requires_grad:
            return
        reference = weakref.ref(self)

        def committed(parameter: Tensor) -> None:
            capture = reference()
            if capture is not None:
                capture.commit()

        self._hook = self.parameter.register_post_accumulate_grad_hook(committed)  # type: ignore[no-untyped-call]
        weakref.finalize(self, self._hook.remove).atexit = False

    def report(self, reported: Pass, inputs: Tensor) -> None:
        """Take note of the inputs of a pass, while its backward pass computes the weight's gradient."""
        with torch._C.DisableTorchFunctionSubclass():
            if self.gradient_was_dropped():
                self._forget_records()
        reported.inputs = inputs.detach()
        alive = [known for known in self._reported if known[1]() is not None]
        self._reported = [*alive, (torch._C._current_graph_task_id(), weakref.ref(reported))]

    def commit(self) -> None:
        """Make records of what the backward pass reported that has just added to ``weight.grad``."""
        task = torch._C._current_graph_task_id()
        own = [reference() for number, reference in self._reported if number == task]
        self._reported = [known for known in self._reported if known[0] != task]
        with torch._C.DisableTorchFunctionSubclass():
            gradient = self.parameter.grad
        if not own and (self._gradient is None or self._gradient() is not gradient):
            # The first gradient since a drop, and no layer's: a penalty on the weights, for example.
            self._forget_records()
        for reported in own:
            if reported is not None:
                self._add(reported)
        self._know(gradient)

    def _know(self, gradient: Tensor | None) -> None:
        """Remember the state of ``weight.grad`` whose samples the records are."""
        self._gradient = None if gradient is None else weakref.ref(gradient)
        self._gradient_version = 0 if gradient is None else gradient._version

    def _add(self, reported: Pass) -> None:
        record = reported.record()
        if reported.window is not self._window:
            self._fold_if_large()
            self.records.append(record)
            reported.window, reported.committed = self._window, record
            if self.folded is not None:
                self._fold_if_large()  # gradients add up: these inputs would only wait for the next pass
            return
        # The graph was retained: the same samples once more, whose gradients add up.
        for place, known in enumerate(self.records):
            if known is reported.committed and known.output_gradient is not None:
                total = known.output_gradient + cast(Tensor, record.output_gradient)
                reported.committed = self.records[place] = known._replace(output_gradient=total)

    @property
    def gradient_was_written(self) -> bool:
        """Whether ``weight.grad`` is the tensor that the records are of, but someone has written to it."""
        gradient = self.parameter.grad
        same = gradient is not None and self._gradient is not None and self._gradient() is gradient
        return same and gradient is not None and gradient._version != self._gradient_version

    def gradient_was_dropped(self) -> bool:
        """Tell whether ``weight.grad`` has lost what the records are of: dropped, or set to zero."""
        gradient = self.parameter.grad
        if gradient is None:
            return True
        same = self._gradient is not None and self._gradient() is gradient
        if same and gradient._version == self._gradient_version:
            return False
        # Someone wrote to it. Clipping and unscaling keep the samples, setting to zero does not.
        if not bool(gradient.any()):
            return True
        self._know(gradient)
        return False

    def _fold_if_large(self) -> None:
        """Fold the records once they hold more numbers than a Gram matrix, which is what they become."""
        if not self.records or not self.folds:
            return
        with torch._C.DisableTorchFunctionSubclass():
            width = self.parameter.numel() // self.parameter.shape[0]
        if sum(record.num_samples for record in self.records) > width:
            self.fold()

    def fold_with(self, fold: Callable[[Any, Sequence[Record]], Any]) -> None:
        """Fold later records with another function, which goes on from what the last one returned."""
        self._fold = fold

    def fold(self) -> Any:
        """Turn all records into one small object, and return it."""
        if self._fold is None:
            raise RuntimeError("this capture keeps records: attach it with fold")
        if self.records:
            self.overwritten = self.overwritten or any(record.overwritten for record in self.records)
            self.folded = self._fold(self.folded, self.records)
            self.records = []
        return self.folded

    def replace_records(self, folded: Any) -> None:
        """Keep `folded`, which was made of all records, in their place."""
        self.folded, self.records = folded, []

    def jacobian_factors(self) -> tuple[Tensor, Tensor]:
        """V (n, m) and X (n, d) of all records, whose outer products are the per-sample gradients.

        Sample i has the gradient ``a v_i x_i'`` with respect to the weight, ``a = 1 / sqrt(d)``, and their
        mean ``(a / n) V' X`` is the gradient that autograd gives for a loss that is a mean over the
        samples. V is n times the gradient with respect to the layer's output Z = a X sign(W)'.

        A sample is a row of X: for a convolution a place in an image, for a graph convolution a node. The
        X of a convolution is its unfolded input, whole. With channel groups both have one more dimension:
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
        gradients = [rows for r in self.records if (rows := r.output_gradient_samples()) is not None]
        if len(gradients) != len(self.records):
            raise RuntimeError(
                f"the capture of the weight of shape {shape} keeps no output gradients: "
                "attach it with keep_output_gradients=True"
            )
        X = torch.cat([block for record in self.records for block, _ in record.blocks()], dim=1)
        V = X.shape[1] * torch.cat(gradients, dim=1)
        return (V, X) if len(X) > 1 else (V[0], X[0])

    def __reduce__(self) -> tuple[Any, ...]:
        return attach, (self.parameter, self.keep_output_gradients, self.keep_slopes, self._fold)


def attach(
    parameter: BinaryWeight | RealWeight,
    keep_output_gradients: bool = False,
    keep_slopes: bool = False,
    fold: Callable[[Any, Sequence[Record]], Any] | None = None,
) -> Capture:
    """Record the inputs of every layer that uses `parameter`; replaces a capture attached before.

    Parameters
    ----------
    parameter : BinaryWeight or RealWeight
        The weight of a `qpsbgd.nn` layer.
    keep_output_gradients : bool
        Also record the gradient with respect to a binary layer's output, for `Capture.jacobian_factors`.
    keep_slopes : bool
        Also record the derivative of the activation after the layer; see `qpsbgd.nn.Activated`.
    fold : function, optional
        Gets what it returned last, None at first, and a list of records; returns something small that holds
        both. It is called when gradients of several passes add up, so that their inputs need not be kept.

    Returns
    -------
    Capture
        Keep it: recording stops when it is removed or garbage collected.

    Raises
    ------
    TypeError
        If `parameter` is no `BinaryWeight` and no `RealWeight`.

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
    if not is_captured(parameter):
        raise TypeError(
            f"parameter must be a BinaryWeight or RealWeight, but is {type(parameter).__name__}: "
            "use the layers of qpsbgd.nn, to_binary, or to_recorded"
        )
    capture = Capture(parameter, keep_output_gradients, keep_slopes, fold)
    setattr(parameter, CAPTURE_ATTRIBUTE, weakref.ref(capture))
    capture.watch()
    return capture


def current_capture(weight: Tensor) -> Capture | None:
    """Return the capture that is attached to `weight`, if there is one."""
    reference = getattr(weight, CAPTURE_ATTRIBUTE, None)
    return None if reference is None else cast("Capture | None", reference())
