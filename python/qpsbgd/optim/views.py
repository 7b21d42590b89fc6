"""What one process has of a weight in a step: its gradient, and the samples behind it."""

from __future__ import annotations

from torch import Tensor

from qpsbgd.capture.record import Capture
from qpsbgd.capture.weight import is_binary
from qpsbgd.optim.agreement import LocalView
from qpsbgd.step.inputs import Seen, seen_by

__all__ = ["NOTHING", "view_of"]

NOTHING = Seen(0, 0, False)
"""What lies behind a gradient that no layer recorded."""


def view_of(weight: Tensor, capture: Capture | None, *, looks: bool = True) -> LocalView:
    """Tell what this process has of a weight whose layers record their inputs.

    If not `looks`, a gradient that someone wrote to is taken to be one still, not one that was set to zero.

    Raises
    ------
    RuntimeError
        If the weight has a gradient without the layer's inputs; the message says how that came to be.
    """
    if weight.grad is None or not weight.numel():  # a layer without inputs has nothing to step
        return LocalView(weight, False, NOTHING)
    if capture is not None and capture.attached:
        written = not looks and capture.gradient_was_written
        if not written and capture.gradient_was_dropped():
            capture.clear()
        if capture.records or capture.folded is not None:
            _check(weight, capture)
            return LocalView(weight, True, seen_by(capture))
    if not bool(weight.grad.any()):
        # Set to zero, and no layer has used the weight since.
        return LocalView(weight, False, NOTHING)
    _check(weight, capture)
    return LocalView(weight, True, NOTHING)


def _check(weight: Tensor, capture: Capture | None) -> None:
    """Refuse a gradient without the layer's inputs, and say how that came to be."""
    binary = is_binary(weight)
    if capture is None and binary:
        reason = "it became binary after the optimizer was built; build the optimizer after to_binary"
    elif capture is None:
        reason = "it was marked after the optimizer was built; build the optimizer after to_recorded"
    elif not capture.attached:
        reason = "another optimizer or capture was attached to it later; keep only one in use"
    elif not capture.records and capture.folded is None:
        layer = "a layer in training mode" if binary else "a layer of qpsbgd.nn, or the layer was not called"
        reason = f"its gradient was not computed by a backward pass through {layer}"
    elif capture.overwritten or any(record.overwritten for record in capture.records):
        reason = "the input was overwritten in place after the backward pass; use a new tensor each time"
    else:
        return
    kind, shape = "binary" if binary else "real", tuple(weight.shape)
    raise RuntimeError(f"no layer input was captured for the {kind} weight of shape {shape}: {reason}")
