"""The optimizers of the comparison, and the ranges in which their settings are drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn

from networks.kfac import Kfac
from qpsbgd import QPSBGD
from qpsbgd.nn import to_recorded

# "flat" is QP-SBGD with the singular values of p to the power ½; "signs" are the same without the QUBO.
__all__ = ["NAMES", "Settings", "SignedMomentum", "build", "draw", "draw_near", "ranges"]

Settings = dict[str, float]
Ranges = dict[str, tuple[float, float]]

_IMAGES: dict[str, Ranges] = {
    "qpsbgd": {
        "lr": (0.03, 1.0),
        "past": (0.1, 1.0),
        "gram_past": (0.03, 0.7),
        "kappa": (1.0, 100.0),
        "other": (0.003, 0.1),
    },
    "signs": {"lr": (0.01, 0.3), "past": (0.05, 0.7), "other": (0.003, 0.1)},
    "adamw": {"lr": (2e-3, 6e-2), "past": (0.05, 0.7), "square_past": (1e-3, 0.3)},
    "muon": {"lr": (0.03, 1.0), "past": (0.05, 0.7), "other": (0.003, 0.1)},
    "sgd": {"lr": (0.03, 1.0), "past": (0.03, 0.7)},
    "signum": {"lr": (3e-4, 1e-2), "past": (0.05, 0.7)},
    "lion": {"lr": (3e-4, 1e-2), "past": (0.05, 0.7), "slow_past": (0.01, 0.3)},
    "kfac": {
        "lr": (0.03, 1.0),
        "past": (0.05, 0.7),
        "curvature_past": (0.03, 0.7),
        "damping": (1e-4, 1.0),
        "other": (0.003, 0.1),
    },
    "soap": {"lr": (2e-3, 6e-2), "past": (0.05, 0.7), "square_past": (1e-3, 0.3)},
    "shampoo": {"lr": (2e-3, 6e-2), "past": (0.05, 0.7), "square_past": (1e-3, 0.3)},
}
_TEXT: dict[str, Ranges] = {
    "qpsbgd": {
        "lr": (0.02, 0.5),
        "past": (0.1, 1.0),
        "gram_past": (0.03, 0.7),
        "kappa": (1.0, 60.0),
        "other": (0.003, 0.1),
    },
    "signs": {"lr": (0.01, 0.25), "past": (0.05, 0.7), "other": (0.003, 0.1)},
    "adamw": {"lr": (2e-3, 5e-2), "past": (0.05, 0.7), "square_past": (3e-3, 0.3)},
    "muon": {"lr": (0.01, 0.3), "past": (0.05, 0.7), "head": (0.5, 2.0), "other": (0.003, 0.1)},
    "sgd": {"lr": (0.03, 3.0), "past": (0.03, 0.7)},
    "signum": {"lr": (4e-4, 1e-2), "past": (0.05, 0.7)},
    "lion": {"lr": (4e-4, 1e-2), "past": (0.05, 0.7), "slow_past": (0.01, 0.3)},
    "kfac": {
        "lr": (0.02, 0.5),
        "past": (0.05, 0.7),
        "curvature_past": (0.03, 0.7),
        "damping": (1e-4, 1.0),
        "other": (0.003, 0.1),
    },
    "soap": {"lr": (2e-3, 5e-2), "past": (0.05, 0.7), "square_past": (3e-3, 0.3)},
    "shampoo": {"lr": (2e-3, 5e-2), "past": (0.05, 0.7), "square_past": (3e-3, 0.3)},
}
for _ranges in (_IMAGES, _TEXT):
    _ranges["flat"], _ranges["flat-signs"] = _ranges["qpsbgd"], _ranges["signs"]
NAMES = tuple(_IMAGES)


def ranges(task: str, name: str) -> Ranges:
    """Ranges of an optimizer's settings, all drawn evenly on a logarithmic scale.

    A "past" is one minus a beta; "other" is the rate of Adam for what takes no matrix steps. Muon's "head" is
    a choice: above 1 the last layer is Muon's too, else Adam's.
    """
    return (_TEXT if task.startswith("characters") else _IMAGES)[name]


def draw(task: str, name: str, number: int) -> Settings:
    """Draw the settings of a trial."""
    rng = _generator(number, name)
    return {
        setting: float(math.exp(rng.uniform(math.log(low), math.log(high))))
        for setting, (low, high) in ranges(task, name).items()
    }


def draw_near(task: str, name: str, number: int, best: Settings) -> Settings:
    """Draw settings within a fifth of the ranges around the best so far, also beyond an edge."""
    rng = _generator(number, name)
    near = {}
    for setting, (low, high) in ranges(task, name).items():
        reach = 0.2 * math.log(high / low)
        value = best[setting] * math.exp(rng.uniform(-reach, reach))
        near[setting] = min(value, 1.0) if setting.endswith("past") else value
    return near


def _generator(number: int, name: str) -> np.random.Generator:
    return np.random.default_rng([number, len(name), *name.encode()])


class SignedMomentum(torch.optim.Optimizer):
    """Lion (arXiv 2302.06675) without weight decay; with two equal betas it is Signum (arXiv 1802.04434).

    ``W <- W - lr sign(β1 m + (1 - β1) g)``, then ``m <- β2 m + (1 - β2) g``.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, betas: tuple[float, float]) -> None:
        super().__init__(params, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step."""
        for group in self.param_groups:
            first, second = group["betas"]
            for parameter in group["params"]:
                state = self.state[parameter]
                mean = state.setdefault("mean", torch.zeros_like(parameter))
                parameter.add_(mean.lerp(parameter.grad, 1 - first).sign_(), alpha=-group["lr"])
                mean.lerp_(parameter.grad, 1 - second)


def build(name: str, model: nn.Module, s: Settings) -> list[torch.optim.Optimizer]:
    """Make the optimizers of `model`; what takes no matrix steps is trained by Adam with its own defaults."""
    return _BUILDERS[name](model, s, 1 - s["past"])


def _qpsbgd(
    model: nn.Module, s: Settings, beta: float, singular_power: float = 1.0
) -> list[torch.optim.Optimizer]:
    betas = (beta, 1 - s["gram_past"])
    options = {"betas": betas, "kappa": s["kappa"], "other_lr": s["other"], "singular_power": singular_power}
    return [QPSBGD(to_recorded(model).parameters(), s["lr"], **options)]


def _signs(model: nn.Module, s: Settings, beta: float, power: float = 1.0) -> list[torch.optim.Optimizer]:
    return _qpsbgd(model, {**s, "kappa": 0.0, "gram_past": s["past"]}, beta, power)


def _adamw(model: nn.Module, s: Settings, beta: float) -> list[torch.optim.Optimizer]:
    betas = (beta, 1 - s["square_past"])
    return [torch.optim.AdamW(model.parameters(), s["lr"], betas, weight_decay=0.0)]


def _muon(model: nn.Module, s: Settings, beta: float) -> list[torch.optim.Optimizer]:
    matrices = [layer.weight for layer in _linear(model)]
    matrices += [
        p for cell in model.modules() if isinstance(cell, nn.GRU) for p in cell.parameters() if p.ndim == 2
    ]
    if s.get("head", 2.0) <= 1.0:
        matrices = matrices[:-1]
    muon = torch.optim.Muon(matrices, s["lr"], momentum=beta, weight_decay=0.0)
    return [muon, *_adam_of_others(model, matrices, s["other"])]


def _kfac(model: nn.Module, s: Settings, beta: float) -> list[torch.optim.Optimizer]:
    layers = _linear(model)
    kfac = Kfac(layers, s["lr"], beta, 1 - s["curvature_past"], s["damping"])
    return [kfac, *_adam_of_others(model, [layer.weight for layer in layers], s["other"])]


def _soap(model: nn.Module, s: Settings, beta: float) -> list[torch.optim.Optimizer]:
    from pytorch_optimizer import SOAP

    return [SOAP(model.parameters(), s["lr"], (beta, 1 - s["square_past"]), weight_decay=0.0)]


def _shampoo(model: nn.Module, s: Settings, beta: float) -> list[torch.optim.Optimizer]:
    """Make Shampoo with Adam's size of each step (grafting), and roots of every tenth step, as SOAP's."""
    from pytorch_optimizer import ScalableShampoo
    from pytorch_optimizer.optimizer.utils.graft import LayerWiseGrafting

    shampoo = ScalableShampoo(
        model.parameters(),
        s["lr"],
        (beta, 1 - s["square_past"]),
        moving_average_for_momentum=True,
        start_preconditioning_step=10,
        preconditioning_compute_steps=10,
        graft_type=LayerWiseGrafting.RMSPROP,
        nesterov=False,
    )
    return [shampoo]


def _linear(model: nn.Module) -> list[nn.Linear]:
    return [layer for layer in model.modules() if isinstance(layer, nn.Linear)]


def _adam_of_others(model: nn.Module, own: list[Tensor], lr: float) -> list[torch.optim.Optimizer]:
    known = {id(weight) for weight in own}
    others = [p for p in model.parameters() if id(p) not in known]
    return [torch.optim.Adam(others, lr)] if others else []


_Builder = Callable[[nn.Module, Settings, float], list[torch.optim.Optimizer]]
_BUILDERS: dict[str, _Builder] = {
    "qpsbgd": _qpsbgd,
    "flat": lambda m, s, beta: _qpsbgd(m, s, beta, 0.5),
    "signs": _signs,
    "flat-signs": lambda m, s, beta: _signs(m, s, beta, 0.5),
    "adamw": _adamw,
    "muon": _muon,
    "kfac": _kfac,
    "soap": _soap,
    "shampoo": _shampoo,
    "sgd": lambda m, s, beta: [torch.optim.SGD(m.parameters(), s["lr"], momentum=beta)],
    "signum": lambda m, s, beta: [SignedMomentum(m.parameters(), s["lr"], (beta, beta))],
    "lion": lambda m, s, beta: [SignedMomentum(m.parameters(), s["lr"], (beta, 1 - s["slow_past"]))],
}
