"""ProxQuant: gradient steps on real weights, each followed by a proximal step towards ±1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from qpsbgd.nn import BinaryWeight, relax
from qpsbgd.optim.latent import LatentWeightOptimizer, Update, adam_step, descend
from qpsbgd.problem.checks import check_betas, check_choice, check_count, check_nonnegative

__all__ = ["ProxQuant"]

BASES = ("adam", "sgd")


class ProxQuant(LatentWeightOptimizer):
    """ProxQuant (Bai et al. 2019, arXiv 1810.00861): prox-gradient descent to binary weights.

    While training, layers use the real weights W themselves; in evaluation mode, as always, sign(W). Every
    step of the base optimizer is followed by the proximal step of ``λ_t Σ ||w| - 1|``, which moves every
    weight by at most λ_t towards its sign::

        w <- s + sign(w - s) max(|w - s| - λ_t, 0)        s = sign(w)
        λ_t = 2 strength t / (T (T + 1))                  t = 1, ..., T

    The paper's λ_t = λ t grows without bound; here all T steps together move a weight by `strength`, so that
    the same strength suits short and long trainings. After T steps λ_T is kept.

    Parameters
    ----------
    params : iterable of parameters or of parameter groups
        Weights of `qpsbgd.nn` layers take these steps, all others Adam with `other_lr`. Layers use the real
        weights as long as this optimizer exists.
    lr : float
        Learning rate of the base optimizer.
    total_steps : int
        T, the length of the training.
    strength : float
        How far the proximal steps together can move a weight. Weights that start near 0 need more than 1 to
        become binary.
    base : {"adam", "sgd"}
        Whose steps are taken.
    betas, eps : (float, float), float
        Of Adam, with ``base="adam"``.
    other_lr, other_betas, other_eps : float, pair of float, float
        Learning rate, betas and eps of Adam for all other parameters. The rate follows schedules of lr.
    clip : float
        Bound of the weights.
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
    >>> optimizer = ProxQuant(model.parameters(), lr=0.01, total_steps=100)
    >>> model(torch.ones(3, 4)).sum().backward()
    >>> optimizer.step()
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.01,
        *,
        total_steps: int,
        strength: float = 2.0,
        base: str = "adam",
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
            "total_steps": total_steps,
            "strength": strength,
            "base": base,
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
        check_count("total_steps", options["total_steps"])
        check_nonnegative("strength", options["strength"])
        check_choice("base", options["base"], BASES)
        check_betas("betas", options["betas"])
        check_nonnegative("eps", options["eps"])

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own, as `torch.optim.Optimizer.add_param_group`."""
        super().add_param_group(param_group)
        self._relax(self.param_groups[-1])

    def _commit(self, updates: Sequence[Update], worked: Any) -> None:
        for group, weight, gradient, _ in updates:
            if float(group["lr"]) == 0 and group["base_lr"] > 0:
                continue  # a schedule that has ended stops the proximal steps too
            if group["base"] == "adam":
                state = self.state[weight]
                adam_step(weight, gradient, state, float(group["lr"]), group["betas"], group["eps"])
                weight.clamp_(-group["clip"], group["clip"])
            else:
                descend(weight, gradient, group)
            T = group["total_steps"]
            t = min(group["step"] + 1, T)
            shift = 2 * group["strength"] * t / (T * (T + 1))
            signs = torch.where(weight >= 0, 1.0, -1.0).to(weight.dtype)
            weight.copy_(signs + torch.nn.functional.softshrink(weight - signs, shift))

    def _relax(self, group: dict[str, Any]) -> None:
        for parameter in group["params"]:
            if isinstance(parameter, BinaryWeight):
                relax(parameter, self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            self._relax(group)
