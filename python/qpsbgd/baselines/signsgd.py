"""signSGD, signum and signSGD with error feedback on clipped latent weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from qpsbgd.optim.latent import LatentWeightOptimizer, Update, descend
from qpsbgd.problem.checks import check_bool, check_fraction
from qpsbgd.step.memory import average
from qpsbgd.step.memory import error_feedback as left_behind

__all__ = ["SignSGD"]


class SignSGD(LatentWeightOptimizer):
    """signSGD (Bernstein et al. 2018) on clipped latent weights: ``W <- clip(W - lr sign(p))``.

    It is QP-SBGD without the quadratic term (``kappa=0``).

    Parameters
    ----------
    params : iterable of parameters or of parameter groups
        Weights of `qpsbgd.nn` layers take sign steps, all others Adam with `other_lr`.
    lr : float
        Size of a step.
    momentum : float in [0, 1)
        p is the running mean ``u <- momentum u + (1 - momentum) g`` (known as signum); 0 for p = g.
    error_feedback : bool
        Add to p what earlier steps left behind, ``e <- p - mean_k |p_k| sign(p)`` for every row.
    other_lr, other_betas, other_eps : float, pair of float, float
        Learning rate, betas and eps of Adam for all other parameters. The rate follows schedules of lr.
    clip : float
        Bound of the latent weights.
    maximize : bool
        Ascend instead.

    Raises
    ------
    TypeError, ValueError
        If an option is of the wrong type or out of range; the message names it.

    Examples
    --------
    >>> import torch
    >>> from qpsbgd.nn import BinaryLinear
    >>> model = torch.nn.Sequential(BinaryLinear(4, 2))
    >>> optimizer = SignSGD(model.parameters(), lr=0.01, error_feedback=True)
    >>> model(torch.ones(3, 4)).sum().backward()
    >>> optimizer.step()
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.01,
        *,
        momentum: float = 0.0,
        error_feedback: bool = False,
        other_lr: float | Tensor = 0.01,
        other_betas: tuple[float, float] = (0.9, 0.999),
        other_eps: float = 1e-8,
        clip: float = 1.0,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "error_feedback": error_feedback,
            "other_lr": other_lr,
            "other_betas": other_betas,
            "other_eps": other_eps,
            "clip": clip,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _check_options(self, options: dict[str, Any]) -> None:
        super()._check_options(options)
        check_fraction("momentum", options["momentum"])
        check_bool("error_feedback", options["error_feedback"])

    def _commit(self, updates: Sequence[Update], worked: Any) -> None:
        for group, weight, gradient, _ in updates:
            state = self.state[weight]
            p = gradient.to(torch.promote_types(gradient.dtype, torch.float32))
            if group["momentum"] > 0:
                state["step"] = state.get("step", 0) + 1
                past = state.get("gradient_average", torch.zeros_like(p))
                state["gradient_average"], p = average(past, p, state["step"], group["momentum"])
            if group["error_feedback"] and "residual" in state:
                p = p + state["residual"]
            step = p.sign()
            if group["error_feedback"]:
                state["residual"] = left_behind(p, step)
            descend(weight, step, group)
