"""BinaryConnect: SGD, momentum, Adam or sign steps on clipped latent weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.optim.optimizer import ParamsT

from qpsbgd.optim.latent import LatentWeightOptimizer, Update, adam_step, descend
from qpsbgd.problem.checks import check_betas, check_choice, check_fraction, check_nonnegative

__all__ = ["BinaryConnect"]

BASES = ("adam", "sgd", "sign")


class BinaryConnect(LatentWeightOptimizer):
    """BinaryConnect (Courbariaux et al. 2015): an ordinary optimizer on clipped latent weights.

    Parameters
    ----------
    params : iterable of parameters or of parameter groups
        Weights of `qpsbgd.nn` layers are stepped by `base`, all others by Adam with `other_lr`.
    lr : float
        Learning rate of the latent weights.
    base : {"adam", "sgd", "sign"}
        ``W <- clip(W - lr step)`` with the step of Adam, the gradient (and momentum), or its sign.
    momentum : float in [0, 1)
        With ``base="sgd"``: the step is ``u <- momentum u + g``, as in `torch.optim.SGD`.
    betas, eps : (float, float), float
        Of Adam, with ``base="adam"``.
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
    >>> optimizer = BinaryConnect(model.parameters(), lr=0.01, base="sgd")
    >>> model(torch.ones(3, 4)).sum().backward()
    >>> optimizer.step()
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.01,
        *,
        base: str = "adam",
        momentum: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        other_lr: float | Tensor = 0.01,
        other_betas: tuple[float, float] = (0.9, 0.999),
        other_eps: float = 1e-8,
        clip: float = 1.0,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "base": base,
            "momentum": momentum,
            "betas": betas,
            "eps": eps,
            "other_lr": other_lr,
            "other_betas": other_betas,
            "other_eps": other_eps,
            "clip": clip,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _check_options(self, options: dict[str, Any]) -> None:
        super()._check_options(options)
        check_choice("base", options["base"], BASES)
        check_fraction("momentum", options["momentum"])
        check_betas("betas", options["betas"])
        check_nonnegative("eps", options["eps"])

    def _commit(self, updates: Sequence[Update], worked: Any) -> None:
        for group, weight, gradient, _ in updates:
            state = self.state[weight]
            if group["base"] == "adam":
                adam_step(weight, gradient, state, float(group["lr"]), group["betas"], group["eps"])
                weight.clamp_(-group["clip"], group["clip"])
            elif group["base"] == "sign":
                descend(weight, gradient.sign(), group)
            else:
                if group["momentum"] > 0:
                    past = state.get("momentum_buffer")
                    gradient = gradient.clone() if past is None else group["momentum"] * past + gradient
                    state["momentum_buffer"] = gradient
                descend(weight, gradient, group)
