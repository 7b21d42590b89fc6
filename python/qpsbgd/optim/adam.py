"""Adam, for the parameters that are no binary weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["OtherStep", "adam_step", "adam_steps"]

_FEW_ENTRIES = 2**14
"""Up to this size a parameter is stepped together with others: several of them stay in the cache."""

_WHOLE = (torch.float32, torch.float64, torch.complex64, torch.complex128)
"""torch rounds half precision otherwise where it steps many tensors by one call."""


class OtherStep(NamedTuple):
    """What one parameter's step of Adam needs."""

    parameter: Tensor
    gradient: Tensor
    state: dict[str, Any]
    group: Mapping[str, Any]
    """Its parameter group: ``other_betas``, ``other_eps`` and ``weight_decay``, if there is one."""
    lr: float
    only: Tensor | None = None
    """As in `adam_step`."""


def adam_steps(steps: Sequence[OtherStep]) -> None:
    """Step many parameters in place, each to the bits that `adam_step` gives it.

    Small parameters on the host are stepped together, operation by operation: one call from Python serves all
    of them that are at the same step with the same options. They are of single or double precision.

    Examples
    --------
    >>> import torch
    >>> parameter, state, group = torch.zeros(1), {}, {"other_betas": (0.9, 0.999), "other_eps": 1e-8}
    >>> adam_steps([OtherStep(parameter, torch.tensor([3.0]), state, group, lr=0.1)])
    >>> parameter, state["step"]
    (tensor([-0.1000]), 1)
    """
    together: dict[tuple[int, float, int], list[OtherStep]] = {}
    for step in steps:
        parameter = step.parameter
        few = parameter.numel() <= _FEW_ENTRIES and parameter.dtype in _WHOLE
        if few and parameter.is_cpu and step.only is None:
            place = (id(step.group), step.lr, step.state.get("step", 0))
            together.setdefault(place, []).append(step)
        else:
            betas, eps = step.group["other_betas"], step.group["other_eps"]
            adam_step(parameter, step.gradient, step.state, step.lr, betas, eps, _decay(step), step.only)
    for alike in together.values():
        _step_together(alike)


def _decay(step: OtherStep) -> float:
    return 1.0 - step.lr * float(step.group.get("weight_decay", 0.0))


def _step_together(steps: Sequence[OtherStep]) -> None:
    """Do as `adam_step` for parameters with one state's step, one group and one rate."""
    group, lr, decay = steps[0].group, steps[0].lr, _decay(steps[0])
    (first, second), eps = group["other_betas"], group["other_eps"]
    for step in steps:
        _count(step.parameter, step.state)
    number = steps[0].state["step"]
    parameters = [_real(step.parameter) for step in steps]
    gradients = [_real(step.gradient) for step in steps]
    means = [_real(step.state["exp_avg"]) for step in steps]
    squares = [_real(step.state["exp_avg_sq"]) for step in steps]
    if decay != 1.0:
        torch._foreach_mul_([step.parameter for step in steps], decay)
    torch._foreach_lerp_(means, gradients, 1 - first)
    torch._foreach_mul_(squares, second)
    torch._foreach_addcmul_(squares, gradients, gradients, 1 - second)
    denominators = torch._foreach_sqrt(squares)
    torch._foreach_div_(denominators, (1 - second**number) ** 0.5)
    torch._foreach_add_(denominators, eps)
    torch._foreach_addcdiv_(parameters, means, denominators, -lr / (1 - first**number))


def _real(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def _count(parameter: Tensor, state: dict[str, Any]) -> None:
    """Count a step in the state of a parameter, which begins with the first one."""
    if "exp_avg" not in state:
        state["step"] = 0
        state["exp_avg"] = torch.zeros_like(parameter)
        state["exp_avg_sq"] = torch.zeros_like(parameter)
    state["step"] += 1


def adam_step(
    parameter: Tensor,
    gradient: Tensor,
    state: dict[str, Any],
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    decay: float = 1.0,
    only: Tensor | None = None,
) -> None:
    """One step of Adam in place; `state` holds ``step``, ``exp_avg`` and ``exp_avg_sq``.

    The parameter is first multiplied by `decay`. If `only` is given, no tensor changes unless that bool on
    the parameter's device is true.

    Real and imaginary parts of complex parameters are stepped as parameters of their own, as torch does.

    Examples
    --------
    >>> import torch
    >>> parameter, state = torch.zeros(1), {}
    >>> adam_step(parameter, torch.tensor([3.0]), state, lr=0.1)
    >>> parameter
    tensor([-0.1000])
    """
    _count(parameter, state)
    if decay != 1.0:
        parameter.mul_(decay if only is None else torch.where(only, decay, 1.0))
    mean, square = state["exp_avg"], state["exp_avg_sq"]
    parameter, gradient, mean, square = map(_real, (parameter, gradient, mean, square))
    first, second = betas
    if only is not None:
        square.lerp_(torch.where(only, gradient.square(), square), 1 - second)
        mean.lerp_(torch.where(only, gradient, mean), 1 - first)
        mean = torch.where(only, mean, 0.0)
    else:
        mean.lerp_(gradient, 1 - first)
        square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
    correction = (1 - second ** state["step"]) ** 0.5
    denominator = (square.sqrt() / correction).add_(eps)
    parameter.addcdiv_(mean, denominator, value=-lr / (1 - first ** state["step"]))
