"""QP-SBGD with K-FAC's left factor: its QUBOs descend along ``(B + δ b I)^-1 p``.

B are the second moments of the gradients of a layer's outputs, one sample each, and b is their mean diagonal.
A QUBO knows what the inputs of a layer have in common, by A. It sees one row, so it does not know what the
outputs have in common. K-FAC (`networks.kfac`) knows both, and takes steps of real numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from qpsbgd import QPSBGD
from qpsbgd.nn import to_recorded
from qpsbgd.step.continuous import ContinuousRule
from qpsbgd.step.rule import LayerStep, StepRule

__all__ = ["OutputsQPSBGD"]

Matrix = npt.NDArray[Any]


class _Rule(ContinuousRule):
    """p of every layer, solved by the running mean of B."""

    def __init__(self, damping: float) -> None:
        self.seen: dict[Tensor, Tensor] = {}
        self._damping = damping
        self._means: dict[Tensor, Tensor] = {}

    def means(
        self, layer: LayerStep, p: Tensor, A: Matrix, state: Mapping[str, Any]
    ) -> tuple[Tensor, Matrix, dict[str, Any]]:
        """Solve for p; B has the beta of A."""
        p, A, after = super().means(layer, p, A, state)
        weight, beta = layer.weight, layer.options["betas"][1]
        gradients = self.seen.pop(weight)
        B = len(gradients) * gradients.T @ gradients
        mean = self._means[weight] = self._means.get(weight, torch.zeros_like(B)).lerp(B, 1 - beta)
        size = float(mean.diagonal().mean()) + torch.finfo(mean.dtype).tiny
        damped = mean / size + self._damping * torch.eye(len(mean))
        return torch.linalg.solve(damped, p.to(mean.dtype)).to(p.dtype), A, after


class OutputsQPSBGD(QPSBGD):
    """`QPSBGD` of the linear layers of a model, which must not share weights."""

    def __init__(self, model: nn.Module, lr: float, damping: float, **options: Any) -> None:
        self._rule = _Rule(damping)
        super().__init__(to_recorded(model).parameters(), lr, **options)
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                layer.register_forward_hook(self._watch)

    def _watch(self, layer: nn.Linear, inputs: tuple[Tensor, ...], outputs: Tensor) -> None:
        if outputs.requires_grad:
            seen, weight = self._rule.seen, layer.weight
            outputs.register_hook(lambda g: seen.update({weight: g.detach().flatten(0, -2)}))

    def step_rule(self, group: dict[str, Any]) -> StepRule:
        """Return the rule of this optimizer."""
        return self._rule
