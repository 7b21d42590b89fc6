"""K-FAC in its textbook form (arXiv 1503.05671): the neighbour of QP-SBGD that inverts the same matrix A.

A layer y = W x has inputs x with second moments A and gradients of its outputs, of one sample each, with
second moments B. Both are running means. The step is ``(B + b I)^-1 M (A + a I)^-1`` of the running mean M
of gradients. The damping λ is shared as in section 6.3: a b = λ, and a / b is the ratio of the mean
eigenvalues of A and B. Steps are then scaled to a root mean square of 1, so a rate means what it means for
signs, and no line search is needed. Gradients are those of the labels (the "empirical" Fisher matrix).

Cost of a step of a layer (m, d): d³ + m³ for the factors, and d² m + m² d.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Kfac"]


class Kfac(torch.optim.Optimizer):
    """Trains the weights of `nn.Linear` layers; their biases and all else are another optimizer's.

    Parameters
    ----------
    layers : sequence of nn.Linear
        The layers; their inputs and output gradients are recorded by hooks.
    lr : float
        Relative to one over the root of a layer's number of inputs.
    beta, curvature_beta : float
        Weights of the past in M, and in A and B.
    damping : float
        λ, relative to the product of the mean eigenvalues of A and B.
    """

    def __init__(
        self, layers: Sequence[nn.Linear], lr: float, beta: float, curvature_beta: float, damping: float
    ) -> None:
        defaults = {"lr": lr, "beta": beta, "curvature_beta": curvature_beta, "damping": damping}
        super().__init__([{"params": [layer.weight]} for layer in layers], defaults)
        self._seen: dict[int, list[Tensor]] = {}
        for number, layer in enumerate(layers):
            layer.register_forward_hook(lambda _layer, x, y, n=number: self._record(n, x[0], y))

    def _record(self, number: int, inputs: Tensor, outputs: Tensor) -> None:
        if outputs.requires_grad:
            x = inputs.detach().flatten(0, -2)
            outputs.register_hook(
                lambda gradient: self._seen.update({number: [x, gradient.detach().flatten(0, -2)]})
            )

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step."""
        for number, group in enumerate(self.param_groups):
            (weight,) = group["params"]
            x, gradients = self._seen.pop(number)
            state = self.state[weight]
            # Losses are means over samples, so one sample's gradient is n times what backward gives it.
            new = {"M": weight.grad, "A": x.T @ x / len(x), "B": len(x) * gradients.T @ gradients}
            for name, value in new.items():
                beta = group["beta" if name == "M" else "curvature_beta"]
                state[name] = value.clone() if name not in state else state[name].lerp(value, 1 - beta)
            direction = solved(state["A"], state["B"], state["M"], group["damping"])
            size = direction.square().mean().sqrt().clamp_min(1e-30)
            weight.sub_(direction / size, alpha=group["lr"] / math.sqrt(weight.shape[1]))


def solved(A: Tensor, B: Tensor, M: Tensor, damping: float) -> Tensor:
    """Compute ``(B + b I)^-1 M (A + a I)^-1`` with a and b in the ratio of the mean eigenvalues."""
    floor = torch.finfo(A.dtype).tiny
    a, b = (math.sqrt(damping) * float(factor.diagonal().mean()) + floor for factor in (A, B))
    return _solve(B, b, _solve(A, a, M.T).T)


def _solve(matrix: Tensor, damping: float, right: Tensor) -> Tensor:
    damped = matrix + damping * torch.eye(len(matrix), dtype=matrix.dtype)
    factor, info = torch.linalg.cholesky_ex(damped)
    answer: Any = (
        torch.cholesky_solve(right, factor) if int(info) == 0 else torch.linalg.lstsq(damped, right)[0]
    )
    return torch.as_tensor(answer)
