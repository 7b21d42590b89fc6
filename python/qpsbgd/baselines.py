"""The usual ways to train binary networks, for comparison with QP-SBGD.

They take the same parameters, step latent binary weights by their own rule, clip them, and give all
other parameters the same Adam as `qpsbgd.QPSBGD` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from qpsbgd.latent import LatentWeightOptimizer, Update, adam_step, descend
from qpsbgd.projection import average
from qpsbgd.projection import error_feedback as left_behind
from qpsbgd.validation import check_choice, check_nonnegative

__all__ = ["BinaryConnect", "SignSGD"]

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
    other_lr : float
        Learning rate of Adam for all other parameters.
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
            "clip": clip,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _check_options(self, options: dict[str, Any]) -> None:
        super()._check_options(options)
        check_choice("base", options["base"], BASES)
        _check_fraction("momentum", options["momentum"])
        betas = options["betas"]
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise TypeError(f"betas must be a pair of numbers, but is {betas!r}")
        for index, beta in enumerate(betas):
            _check_fraction(f"beta parameter at index {index}", beta)
        check_nonnegative("eps", options["eps"])

    def _step_binary(self, updates: Sequence[Update]) -> None:
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
    other_lr : float
        Learning rate of Adam for all other parameters.
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
        clip: float = 1.0,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "error_feedback": error_feedback,
            "other_lr": other_lr,
            "clip": clip,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _check_options(self, options: dict[str, Any]) -> None:
        super()._check_options(options)
        _check_fraction("momentum", options["momentum"])
        if not isinstance(options["error_feedback"], bool):
            raise TypeError(f"error_feedback must be a bool, but is {options['error_feedback']!r}")

    def _step_binary(self, updates: Sequence[Update]) -> None:
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


def _check_fraction(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, but is {type(value).__name__}")
    if not 0.0 <= value < 1.0:
        raise ValueError(f"Invalid {name}: {value} (expected 0 <= {name} < 1)")
