"""What all optimizers of latent binary weights share: gathering, Adam for the other parameters, state.

A subclass says what a binary weight's step is. Everything around it is the same for QP-SBGD and for the
baselines, so that comparisons between them are fair.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT

from qpsbgd.capture.weight import BinaryWeight
from qpsbgd.problem.checks import check_learning_rate

__all__ = ["LatentWeightOptimizer", "Update", "adam_step", "descend", "restore_state"]


class Update(NamedTuple):
    """One parameter that has a gradient in this step."""

    group: dict[str, Any]
    parameter: Tensor
    gradient: Tensor
    """To be descended: averaged over the process group and negated by `maximize`."""
    number: int
    """Number of the parameter, counted over all groups."""


class LatentWeightOptimizer(Optimizer, ABC):
    """Base of the optimizers whose binary weights take a step of their own and the rest Adam.

    Parameters
    ----------
    params : iterable
        As in every torch optimizer.
    defaults : dict
        Options of a parameter group, among them lr, other_lr, clip and maximize.
    process_group : torch.distributed.ProcessGroup, optional
        Average gradients over these processes, so that all take the same step.
    """

    def __init__(self, params: ParamsT, defaults: dict[str, Any], process_group: Any = None) -> None:
        self._process_group = process_group
        super().__init__(params, defaults)

    @abstractmethod
    def _step_binary(self, updates: Sequence[Update]) -> None:
        """Step the binary weights; either all of them or, on an error, none."""

    def _check_options(self, options: dict[str, Any]) -> None:
        """Refuse bad options of a parameter group before it is added."""
        check_learning_rate("lr", options["lr"])
        check_learning_rate("other_lr", options["other_lr"])
        clip = options["clip"]
        if isinstance(clip, bool) or not isinstance(clip, (int, float)):
            raise TypeError(f"clip must be a number, but is {type(clip).__name__}")
        if not clip > 0:
            raise ValueError(f"Invalid clip: {clip} (expected a positive number)")
        if not isinstance(options["maximize"], bool):
            raise TypeError(f"maximize must be a bool, but is {options['maximize']!r}")

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own, as `torch.optim.Optimizer.add_param_group`."""
        if isinstance(param_group, dict):
            self._check_options({**self.defaults, **param_group})
        super().add_param_group(param_group)
        self.param_groups[-1].setdefault("step", 0)

    @torch.no_grad()
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
            If a gradient is not finite; no parameter has changed then.
        RuntimeError
            If no parameter is a binary weight, or a gradient is sparse.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        updates = self._gather()
        self._step_binary([update for update in updates if isinstance(update.parameter, BinaryWeight)])
        for update in updates:
            if not isinstance(update.parameter, BinaryWeight):
                lr = float(update.group["other_lr"])
                adam_step(update.parameter, update.gradient, self.state[update.parameter], lr)
        for group in self.param_groups:
            group["step"] += 1
        return loss

    def _gather(self) -> list[Update]:
        """All parameters with a gradient, checked before anything is changed."""
        name = type(self).__name__
        parameters = [p for group in self.param_groups for p in group["params"]]
        if not any(isinstance(parameter, BinaryWeight) for parameter in parameters):
            raise RuntimeError(
                f"{name} has no binary weight among its {len(parameters)} parameters: "
                "build the model of qpsbgd.nn layers, or call qpsbgd.nn.to_binary(model)"
            )
        updates = []
        number = -1
        for group in self.param_groups:
            for parameter in group["params"]:
                number += 1
                if parameter.grad is None:
                    continue
                if parameter.grad.is_sparse:
                    raise RuntimeError(f"{name} does not support sparse gradients")
                gradient = self._all_mean(parameter.grad)
                shape = tuple(parameter.shape)
                # A finite sum has only finite terms; the terms are looked at only when it is not.
                if not gradient.sum().isfinite() and not gradient.isfinite().all():
                    raise ValueError(f"the gradient of the parameter of shape {shape} is not finite")
                updates.append(Update(group, parameter, -gradient if group["maximize"] else gradient, number))
        return updates

    def _all_mean(self, tensor: Tensor) -> Tensor:
        """Average over the process group; without one, return the tensor itself."""
        if self._process_group is None:
            return tensor
        mean = tensor.clone()
        torch.distributed.all_reduce(mean, group=self._process_group)
        return mean.div_(torch.distributed.get_world_size(self._process_group))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` returned, as it was saved: dtypes are kept, tensors are not shared."""
        super().load_state_dict(state_dict)
        restore_state(self, state_dict)

    def __getstate__(self) -> dict[str, Any]:
        # A process group belongs to this process: a copy in another one needs its own.
        return {**super().__getstate__(), "_process_group": None}


def restore_state(optimizer: Optimizer, state_dict: dict[str, Any]) -> None:
    """Give the state that was loaded into `optimizer` its saved dtypes back.

    torch casts state to the dtype of the parameter, which would round the memory of half weights.
    """
    saved = chain.from_iterable(group["params"] for group in state_dict["param_groups"])
    own = chain.from_iterable(group["params"] for group in optimizer.param_groups)
    for key, parameter in zip(saved, own, strict=True):
        for name, value in state_dict["state"].get(key, {}).items():
            if isinstance(value, Tensor):
                optimizer.state[parameter][name] = value.to(device=parameter.device, copy=True)


def descend(weight: Tensor, step: Tensor, group: dict[str, Any]) -> None:
    """``W <- clip(W - lr step, -clip, clip)`` in place."""
    weight.add_(step.to(weight.dtype), alpha=-float(group["lr"]))
    weight.clamp_(-group["clip"], group["clip"])


def adam_step(
    parameter: Tensor,
    gradient: Tensor,
    state: dict[str, Any],
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> None:
    """One step of Adam in place; `state` holds ``step``, ``exp_avg`` and ``exp_avg_sq``.

    Examples
    --------
    >>> import torch
    >>> parameter, state = torch.zeros(1), {}
    >>> adam_step(parameter, torch.tensor([3.0]), state, lr=0.1)
    >>> parameter
    tensor([-0.1000])
    """
    if "exp_avg" not in state:
        state["step"] = 0
        state["exp_avg"] = torch.zeros_like(parameter)
        state["exp_avg_sq"] = torch.zeros_like(parameter)
    state["step"] += 1
    first, second = betas
    state["exp_avg"].lerp_(gradient, 1 - first)
    state["exp_avg_sq"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
    correction = (1 - second ** state["step"]) ** 0.5
    denominator = (state["exp_avg_sq"].sqrt() / correction).add_(eps)
    parameter.addcdiv_(state["exp_avg"], denominator, value=-lr / (1 - first ** state["step"]))
