"""Adam, for the parameters that are no binary weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["adam_step"]


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
    if "exp_avg" not in state:
        state["step"] = 0
        state["exp_avg"] = torch.zeros_like(parameter)
        state["exp_avg_sq"] = torch.zeros_like(parameter)
    state["step"] += 1
    if decay != 1.0:
        parameter.mul_(decay if only is None else torch.where(only, decay, 1.0))
    mean, square = state["exp_avg"], state["exp_avg_sq"]
    if parameter.is_complex():
        parameter, gradient, mean, square = map(torch.view_as_real, (parameter, gradient, mean, square))
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
