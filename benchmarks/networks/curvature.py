"""QP-SBGD with a part of its QUBOs exchanged: which matrix A they have, how old it is, what p they have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from networks.optimizers import Settings
from qpsbgd import QPSBGD
from qpsbgd.nn import to_recorded
from qpsbgd.problem.checks import Memory
from qpsbgd.solvers.requests import Work
from qpsbgd.step.continuous import ContinuousRule
from qpsbgd.step.rule import LayerStep, StepResult, StepRule

__all__ = ["CHANGES", "ChangedQPSBGD", "build_changed"]

Matrix = npt.NDArray[Any]
Means = tuple[Tensor, Matrix, dict[str, Any]]


class Changed(ContinuousRule):
    """QUBOs of another matrix: ``change(A, layer)`` of the running mean A."""

    def __init__(self, change: Callable[[Matrix, LayerStep], Matrix]) -> None:
        self._change = change

    def means(self, layer: LayerStep, p: Tensor, A: Matrix, state: Mapping[str, Any]) -> Means:
        """Change A, not its state."""
        p, A, after = super().means(layer, p, A, state)
        return p, np.ascontiguousarray(self._change(A, layer), dtype=A.dtype), after


class EveryTenth(ContinuousRule):
    """A of every tenth step, kept for the nine steps in between."""

    def means(self, layer: LayerStep, p: Tensor, A: Matrix, state: Mapping[str, Any]) -> Means:
        """Give the last of the tenth matrices."""
        step = state.get("step", 0)
        kept = A if step % 10 == 0 else state["gram_average"].numpy()
        p, _, after = super().means(layer, p, A, state)
        return p, kept, {**after, "gram_average": torch.from_numpy(kept)}


class Solved(ContinuousRule):
    """No QUBO: ``(A + δ I)^-1 p``, δ a tenth of A's mean diagonal, or its signs.

    The first is the step of K-FAC (arXiv 1503.05671) without the factor of the output gradients. Its rows are
    scaled to a mean square of 1, the size of signs.
    """

    def __init__(self, signs: bool) -> None:
        self._signs = signs

    def work(self, layer: LayerStep) -> Work[StepResult]:
        """Solve the linear system."""
        (part,) = layer.inputs.parts("pre-activation")
        p, A, after = self.means(layer, layer.gradient.to(layer.dtype), part.A, layer.state)
        damped = torch.from_numpy(A) + 0.1 * float(np.diag(A).mean()) * torch.eye(len(A))
        solved = torch.cholesky_solve(p.T, torch.linalg.cholesky(damped)).T
        size = solved.square().mean(dim=1, keepdim=True).sqrt().clamp_min(1e-30)
        return StepResult(solved.sign() if self._signs else solved / size, replaces=False, state=after)
        yield []  # a step that asks no solver is a generator too


class Nesterov(ContinuousRule):
    """The mean that the next step would have if its gradient were that of this one."""

    def means(self, layer: LayerStep, p: Tensor, A: Matrix, state: Mapping[str, Any]) -> Means:
        """Look ahead with p."""
        mean, A, after = super().means(layer, p, A, state)
        return p.lerp(mean, layer.options["betas"][0]), A, after


def diagonal(A: Matrix, layer: LayerStep) -> Matrix:
    """Inputs as if they were independent with mean 0."""
    return np.diag(np.diag(A))


def rotated(A: Matrix, layer: LayerStep) -> Matrix:
    """The spectrum of A with random directions, the same in all steps."""
    Q = _rotation(len(A)).astype(A.dtype)
    turned: Matrix = Q @ A @ Q.T
    return turned


@cache
def _rotation(size: int) -> Matrix:
    Q: Matrix = np.linalg.qr(np.random.default_rng(size).standard_normal((size, size)))[0]
    return Q


def leading(rank: int) -> Callable[[Matrix, LayerStep], Matrix]:
    """Keep the largest directions of A, with the diagonal of the rest."""

    def change(A: Matrix, layer: LayerStep) -> Matrix:
        tensor = torch.from_numpy(A)
        if rank >= len(A):
            return A
        start = torch.ones(len(A), rank + 5, dtype=tensor.dtype)
        start[:, 1:] = torch.randn(len(A), rank + 4, generator=torch.Generator().manual_seed(0))
        for _ in range(6):
            start, _ = torch.linalg.qr(tensor @ start)
        values, vectors = torch.linalg.eigh(start.T @ tensor @ start)
        directions = (start @ vectors)[:, -rank:]
        low = ((directions * values[-rank:]) @ directions.T).numpy()
        return low + np.diag(np.maximum(np.diag(A) - np.diag(low), 0))

    return change


def blocks(size: int) -> Callable[[Matrix, LayerStep], Matrix]:
    """Keep what couples inputs within blocks, as if each block were a QUBO of its own."""

    def change(A: Matrix, layer: LayerStep) -> Matrix:
        block = np.arange(len(A)) // size
        return np.where(block[:, None] == block, A, 0)

    return change


class Swapped(ContinuousRule):
    """Layers of equal widths of input get each other's matrix of the step before; others get their own."""

    def __init__(self) -> None:
        self._known: dict[int, Matrix] = {}

    def means(self, layer: LayerStep, p: Tensor, A: Matrix, state: Mapping[str, Any]) -> Means:
        """Remember the own matrix, and give that of another layer."""
        p, A, after = super().means(layer, p, A, state)
        own = id(layer.weight)
        others = [B for known, B in self._known.items() if known != own and B.shape == A.shape]
        self._known[own] = A
        return p, others[0] if others else A, after


CHANGES: dict[str, Callable[[], StepRule]] = {
    "own": ContinuousRule,
    "diagonal": lambda: Changed(diagonal),
    "rotated": lambda: Changed(rotated),
    "swapped": Swapped,
    "rank 1": lambda: Changed(leading(1)),
    "rank 10": lambda: Changed(leading(10)),
    "blocks of 40": lambda: Changed(blocks(40)),
    "every tenth": EveryTenth,
    "nesterov": Nesterov,
    "signs of the solution": lambda: Solved(signs=True),
    "solution": lambda: Solved(signs=False),
}
"""Rules by name. A rule belongs to one optimizer: some remember matrices."""


class ChangedQPSBGD(QPSBGD):
    """`QPSBGD` with a rule of `CHANGES`."""

    rule: StepRule

    def step_rule(self, group: dict[str, Any]) -> StepRule:
        """Return the rule of this optimizer."""
        return self.rule


def build_changed(
    change: str, model: torch.nn.Module, s: Settings, solver: Any = "native", memory: Memory = "momentum"
) -> list[torch.optim.Optimizer]:
    """Make the optimizer of a change."""
    betas = (1 - s["past"], 1 - s["gram_past"])
    optimizer = ChangedQPSBGD(
        to_recorded(model).parameters(),
        s["lr"],
        betas=betas,
        kappa=s["kappa"],
        solver=solver,
        memory=memory,
    )
    optimizer.rule = CHANGES[change]()
    return [optimizer]
