"""What all optimizers of latent binary weights share: gathering, Adam for the other parameters, state.

A subclass says what a binary weight's step is. Everything around it is the same for QP-SBGD and for the
baselines, so that comparisons between them are fair.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT

from qpsbgd.capture.weight import is_binary
from qpsbgd.optim.adam import OtherStep, adam_step, adam_steps
from qpsbgd.optim.checkpoints import checked_state_dict, restore_state
from qpsbgd.optim.commit import Uninterrupted, without_grad
from qpsbgd.optim.naming import check_gradient
from qpsbgd.optim.showing import as_html, as_text
from qpsbgd.problem.checks import (
    NotFiniteError,
    check_betas,
    check_bool,
    check_choice,
    check_clip,
    check_learning_rate,
    check_nonnegative,
)
from qpsbgd.step.weights import move_weights

__all__ = ["LatentWeightOptimizer", "Update", "adam_step", "descend", "restore_state"]

_OptimizerT = TypeVar("_OptimizerT", bound="LatentWeightOptimizer")

_LARGEST_RATE = torch.finfo(torch.float32).max

_ADAM_DEFAULTS = {"other_betas": (0.9, 0.999), "other_eps": 1e-8}

_NONFINITE_DEFAULTS = {"nonfinite": "raise", "num_skipped": 0}


class Update(NamedTuple):
    """One parameter that has a gradient in this step."""

    group: dict[str, Any]
    parameter: Tensor
    gradient: Tensor
    """To be descended: averaged over the processes, unless they vote, and negated by `maximize`."""
    number: int
    """Number of the parameter, counted over all groups."""


class LatentWeightOptimizer(Optimizer, ABC):
    """Base of the optimizers whose binary weights take a step of their own and the rest Adam.

    Parameters
    ----------
    params : iterable
        As in every torch optimizer.
    defaults : dict
        Options of a parameter group, among them lr, other_lr, clip and maximize. other_betas, other_eps and
        nonfinite are added if they are not there.
    """

    earlier_defaults: ClassVar[Mapping[str, Any]] = {}
    """Defaults for checkpoints that predate these options."""
    conversions: ClassVar[str] = "qpsbgd.nn.to_binary(model)"
    """How a model gets weights that take steps of the subclass's own; for error messages."""

    def __init__(self, params: ParamsT, defaults: dict[str, Any]) -> None:
        super().__init__(params, {**_ADAM_DEFAULTS, "nonfinite": "raise", **defaults})

    def _work(self, updates: Sequence[Update]) -> Any:
        """Work out the steps of the binary weights, as far as that may fail or take long; change nothing."""
        return None

    def _steps(self, parameter: Tensor) -> bool:
        """Tell whether a parameter takes steps of the subclass's own, rather than Adam's."""
        return is_binary(parameter)

    @abstractmethod
    def _commit(self, updates: Sequence[Update], worked: Any) -> None:
        """Step the binary weights; `worked` is what `_work` returned. Interrupts wait for the end."""

    def _check_options(self, options: dict[str, Any]) -> None:
        """Refuse bad options of a parameter group before it is added."""
        check_learning_rate("lr", options["lr"])
        check_learning_rate("other_lr", options["other_lr"])
        check_betas("other_betas", options["other_betas"])
        check_nonnegative("other_eps", options["other_eps"])
        check_clip(options["clip"])
        check_bool("maximize", options["maximize"])
        check_choice("nonfinite", options["nonfinite"], ("raise", "skip"))

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own, as `torch.optim.Optimizer.add_param_group`."""
        if isinstance(param_group, dict):
            self._check_options({**self.defaults, **param_group})
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for name, value in group.items():
            group[name] = plain_option(value)
        group.setdefault("step", 0)
        group.setdefault("num_skipped", 0)
        group.setdefault("base_lr", float(group["lr"]))

    @without_grad
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step.

        Parameters
        ----------
        closure : callable, optional
            Computes the loss and its gradients again, and returns the loss.

        Returns
        -------
        float or None
            What the closure returns.

        Raises
        ------
        ValueError
            If a gradient, what a layer saw, or a learning rate is not finite; no parameter has changed then.
            With ``nonfinite="skip"`` gradients and inputs skip the step instead, which counts.
        RuntimeError
            If no parameter is a binary weight, or a gradient is sparse.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        # A step means the latent values: without the guard of latent weights its many small calls are quick.
        with torch._C.DisableTorchFunctionSubclass():
            self._step()
        return loss

    def _step(self) -> None:
        rates = {id(group): other_rate(group) for group in self.param_groups}
        try:
            updates = self._gather()
            stepped: list[Update] = []
            others: list[Update] = []
            for update in updates:
                (stepped if self._steps(update.parameter) else others).append(update)
            worked = self._work(stepped)
        except NotFiniteError:
            if not all(group["nonfinite"] == "skip" for group in self.param_groups):
                raise
            self._skip()
            return
        with Uninterrupted():
            self._commit(stepped, worked)
            adam_steps(
                [
                    OtherStep(
                        parameter,
                        gradient,
                        self.state[parameter],
                        group,
                        rates[id(group)],
                        self._only(parameter),
                    )
                    for group, parameter, gradient, _ in others
                ]
            )
            for group in self.param_groups:
                group["step"] += 1

    def _skip(self) -> None:
        """Count a step that is not taken; what was recorded for it goes with its gradients."""
        with Uninterrupted():
            for group in self.param_groups:
                group["num_skipped"] += 1

    @property
    def num_skipped(self) -> int:
        """Number of steps not taken so far, for ``nonfinite="skip"``, because a number was not finite."""
        return max(int(group["num_skipped"]) for group in self.param_groups)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Reset gradients, as `torch.optim.Optimizer.zero_grad`."""
        with torch._C.DisableTorchFunctionSubclass():
            super().zero_grad(set_to_none)

    def _gather(self) -> list[Update]:
        """All parameters with a gradient, checked before anything is changed."""
        self._check_binary()
        updates = []
        for number, (group, parameter) in enumerate(self._numbered()):
            if parameter.grad is not None:
                updates.append(self._update(group, parameter, parameter.grad, number))
        return updates

    def _check_binary(self) -> None:
        """Raise if there is nothing to do for this optimizer."""
        if not any(self._steps(parameter) for group in self.param_groups for parameter in group["params"]):
            raise RuntimeError(
                f"{type(self).__name__} has no binary weight among its {len(self._numbered())} parameters: "
                f"build the model of qpsbgd.nn layers, or call {self.conversions}"
            )

    def _numbered(self) -> list[tuple[dict[str, Any], Tensor]]:
        """Every parameter with its group, in the order of their numbers."""
        return [(group, parameter) for group in self.param_groups for parameter in group["params"]]

    def _update(self, group: dict[str, Any], parameter: Tensor, gradient: Tensor, number: int) -> Update:
        """Check a gradient, and turn it downhill."""
        self._check_dense(gradient)
        self._check_gradient(group, parameter, gradient)
        return Update(group, parameter, -gradient if group["maximize"] else gradient, number)

    def _check_gradient(self, group: dict[str, Any], parameter: Tensor, gradient: Tensor) -> None:
        """Refuse a gradient that is not finite."""
        check_gradient(group, parameter, gradient)

    def _only(self, parameter: Tensor) -> Tensor | None:
        """Give the bool on the parameter's device that tells whether the step may change it; None: it may."""
        return None

    def _check_dense(self, gradient: Tensor) -> None:
        if gradient.is_sparse:
            raise RuntimeError(f"{type(self).__name__} does not support sparse gradients")

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` returned, as it was saved: dtypes are kept, tensors are not shared.

        Raises
        ------
        ValueError
            If it is the state dict of another optimizer or of other parameters; nothing has changed then.
        """
        checked = checked_state_dict(
            self, state_dict, {**_ADAM_DEFAULTS, **_NONFINITE_DEFAULTS, **self.earlier_defaults}
        )
        super().load_state_dict(checked)
        restore_state(self, checked)

    def __repr__(self) -> str:
        """Show what it steps, the options that were chosen, and how far it is."""
        return as_text(self, self._steps)

    def _repr_html_(self) -> str:
        return as_html(self, self._steps)

    def __copy__(self: _OptimizerT) -> _OptimizerT:
        # A shallow copy shares everything, what is recorded included.
        other = type(self).__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other


def plain_option(value: Any) -> Any:
    """Return numbers of NumPy as Python's, so that a state dict is read without pickle."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (tuple, list)) and value and all(isinstance(part, (int, float)) for part in value):
        return tuple(plain_option(part) for part in value)
    return value


def other_rate(group: dict[str, Any]) -> float:
    """Learning rate of Adam: `other_lr`, times what schedules have made of lr since the group was added.

    Raises
    ------
    ValueError
        If lr or other_lr is no number of at least 0 that float32 holds.
    """
    rates = {name: float(group[name]) for name in ("lr", "other_lr")}
    for name, rate in rates.items():
        if not 0 <= rate <= _LARGEST_RATE:
            raise ValueError(f"Invalid {name}: {rate} (expected a number of at least 0 that float32 holds)")
    base = group["base_lr"]
    return rates["other_lr"] * (rates["lr"] / base) if base > 0 else rates["other_lr"]


def descend(weight: Tensor, step: Tensor, group: dict[str, Any]) -> None:
    """``W <- clip(W - lr step, -clip, clip)`` in place, with the options of a parameter group."""
    move_weights(weight, step, float(group["lr"]), group["clip"])
