"""Bop, the binary optimizer: no latent weights, flips where the mean gradient asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from qpsbgd.optim.latent import LatentWeightOptimizer, Update
from qpsbgd.problem.checks import check_nonnegative

__all__ = ["Bop"]


class Bop(LatentWeightOptimizer):
    """Bop (Helwegen et al. 2019, arXiv 1906.02107, Algorithm 1): flips of binary weights.

    A weight w in {-1, +1} flips where the running mean m of its gradient is large and has its sign::

        m <- (1 - lr) m + lr g
        w <- -w  where |m| > threshold and sign(m) = sign(w)

    Parameters
    ----------
    params : iterable of parameters or of parameter groups
        Weights of `qpsbgd.nn` layers are flipped, after the first step has set them to their signs; all
        others take steps of Adam.
    lr : float in [0, 1]
        The paper's adaptivity rate, gamma, which acts like a learning rate and may be decayed like one.
    threshold : float
        The paper's tau, in units of the gradient.
    other_lr, other_betas, other_eps : float, pair of float, float
        Learning rate, betas and eps of Adam for all other parameters. The rate follows schedules of lr.
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
    >>> optimizer = Bop(model.parameters(), lr=0.1, threshold=1e-3)
    >>> model(torch.ones(3, 4)).sum().backward()
    >>> optimizer.step()
    >>> model[0].weight.abs().unique().tolist()
    [1.0]
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        *,
        threshold: float = 1e-6,
        other_lr: float | Tensor = 0.01,
        other_betas: tuple[float, float] = (0.9, 0.999),
        other_eps: float = 1e-8,
        maximize: bool = False,
    ) -> None:
        # The weights are ±1: the clip that all optimizers of latent weights have changes nothing.
        defaults = {
            "lr": lr,
            "threshold": threshold,
            "other_lr": other_lr,
            "other_betas": other_betas,
            "other_eps": other_eps,
            "clip": 1.0,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _check_options(self, options: dict[str, Any]) -> None:
        super()._check_options(options)
        check_nonnegative("threshold", options["threshold"])
        if float(options["lr"]) > 1:
            raise ValueError(f"Invalid lr: {float(options['lr'])} (expected at most 1)")

    def _commit(self, updates: Sequence[Update], worked: Any) -> None:
        for group, weight, gradient, _ in updates:
            state = self.state[weight]
            g = gradient.to(torch.promote_types(gradient.dtype, torch.float32))
            mean = state.get("gradient_average", torch.zeros_like(g)).lerp(g, float(group["lr"]))
            state["gradient_average"] = mean
            signs = torch.where(weight >= 0, 1.0, -1.0)
            weight.copy_(torch.where(mean * signs > group["threshold"], -signs, signs))
