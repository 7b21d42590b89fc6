"""Whether a step may be taken, where the answer is a number on a device that nobody waits for.

On the host a step that is not finite raises before it changes anything. To do so on a GPU, the host would
have to wait for all that it has asked of the GPU. Instead the answer stays there, a tensor of one bool. A
step that is not finite then changes nothing, and the first later step that finds the answer raises the error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from qpsbgd.optim.agreement import processes_of
from qpsbgd.optim.naming import check_gradient, named
from qpsbgd.problem.checks import NotFiniteError

__all__ = ["Gate", "GatedSteps", "gated", "waits_for"]


def waits_for(device: torch.device) -> bool:
    """Tell whether a look at a number on this device makes the host wait for all that it has asked of it."""
    return device.type == "cuda"


class Gate:
    """The answers of one step, and those of earlier steps that have not come yet.

    Examples
    --------
    >>> gate = Gate()
    >>> gate.note(torch.tensor(True), "the gradient", later=False)
    >>> gate.close() is None  # it has looked
    True
    >>> gate.note(torch.tensor(True), "the gradient", later=True)
    >>> gate.close()
    tensor(True)
    """

    def __init__(self) -> None:
        self._flags: list[Tensor] = []
        self._awaited: list[tuple[Tensor, Any]] = []

    def open(self) -> None:
        """Begin a step.

        Raises
        ------
        NotFiniteError
            If an earlier step has turned out not to be finite.
        """
        self._flags = []
        while self._awaited:
            answer, event = self._awaited[0]
            if event is not None and not event.query():
                return
            del self._awaited[0]
            if not bool(answer):
                raise NotFiniteError(
                    "a gradient or an input of an earlier step was not finite; that step has changed nothing"
                )

    def note(self, finite: Tensor, what: str, *, later: bool) -> None:
        """Take note of whether something is finite, now or `later`.

        Raises
        ------
        NotFiniteError
            If it is looked at, and is not.
        """
        if later:
            self._flags.append(finite)
        elif not bool(finite):
            raise NotFiniteError(f"{what} is not finite")

    def close(self) -> Tensor | None:
        """Tell whether everything is finite, as a number on the device; None if that is known already."""
        if not self._flags:
            return None
        first = self._flags[0].device
        allowed = torch.stack([flag.to(first) for flag in self._flags]).all()
        if first.type == "cuda":
            answer = torch.empty((), dtype=torch.bool, pin_memory=True)
            answer.copy_(allowed, non_blocking=True)
            event = torch.cuda.Event()
            event.record(torch.cuda.current_stream(first))
        else:
            answer, event = allowed, None
        self._awaited.append((answer, event))
        return allowed


class GatedSteps:
    """The part of an optimizer whose steps stay on the device of the weights, if its solver is "device"."""

    _solver: Any
    _gate: Gate
    _allowed: Tensor | None
    _process_group: Any
    param_groups: list[dict[str, Any]]

    @property
    def _on_device(self) -> bool:
        return isinstance(self._solver, str) and self._solver == "device"

    def _open_gate(self) -> None:
        """Raise if an earlier step has turned out not to be finite, or count it as skipped."""
        try:
            self._gate.open()
        except NotFiniteError:
            if not all(group["nonfinite"] == "skip" for group in self.param_groups):
                raise
            for group in self.param_groups:
                group["num_skipped"] += 1
            self._open_gate()  # others may have come too

    def _waits_for(self, tensor: Tensor) -> bool:
        """Whether the host is not to look at this tensor; processes that exchange numbers look at all."""
        return self._on_device and waits_for(tensor.device) and processes_of(self._process_group).alone

    def _check_gradient(self, group: dict[str, Any], parameter: Tensor, gradient: Tensor) -> None:
        """Refuse a gradient that is not finite, now or by the gate."""
        if self._waits_for(gradient):
            self._gate.note(gradient.isfinite().all(), "a gradient", later=True)
        else:
            check_gradient(group, parameter, gradient)

    def _note_finite(self, group: dict[str, Any], weight: Tensor, finite: Tensor | None) -> None:
        """Refuse a step of a weight that is not finite, now or by the gate; on the host it is checked."""
        if finite is not None:
            what = f"step {group['step'] + 1} of the {named(group, weight)}: p or A"
            self._gate.note(finite, what, later=self._waits_for(weight))

    def _only(self, parameter: Tensor) -> Tensor | None:
        """Give the bool on the parameter's device that tells whether the step may change it; None: it may."""
        return None if self._allowed is None else self._allowed.to(parameter.device)


def gated(new: Mapping[str, Any], old: Mapping[str, Any], only: Tensor | None) -> dict[str, Any]:
    """Give state that becomes `new` only if that is allowed; state that was not there is one of zeros.

    Examples
    --------
    >>> gated({"mean": torch.ones(1)}, {}, torch.tensor(False))
    {'mean': tensor([0.])}
    """
    if only is None:
        return dict(new)
    state = dict(new)
    for name, value in new.items():
        if isinstance(value, Tensor):
            before = old.get(name)
            if not isinstance(before, Tensor) or before.shape != value.shape:
                before = torch.zeros_like(value)
            state[name] = torch.where(only, value, before)
    return state
