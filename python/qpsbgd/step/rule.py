"""What a step of one weight is given, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from qpsbgd.solvers.requests import Work
from qpsbgd.solvers.resolve import Solver
from qpsbgd.step.arrays import Floats
from qpsbgd.step.inputs import LayerInputs

__all__ = ["LayerStep", "Projection", "StepResult", "StepRule"]


class Projection(NamedTuple):
    """The projection of some rows of a weight, as a step made it; what projection hooks are called with."""

    weight: Tensor
    """The latent weight of m rows, which the step has not changed yet."""
    rows: slice
    """Which of its rows: all, or those that were projected together."""
    gradient: Tensor
    """Their gradients g (r, d) to be descended."""
    p: Tensor
    """Gradients plus memory, or their running means (r, d)."""
    A: Floats
    """Gram matrix, or its running mean: (d, d) for all these rows, or (r, d, d)."""
    G: Tensor
    """The binary step (r, d). In the projected variant half of the way that the weights go, (W - w) / 2."""
    options: dict[str, Any]
    """What else made the step. Continuous variant: scale, kappa, domain and num_samples. Projected variant:
    variant, curvatures, damping and num_samples."""


@dataclass(frozen=True)
class LayerStep:
    """One weight in one step.

    Attributes
    ----------
    weight : Tensor (m, ...)
        The latent weight. A rule reads it only.
    gradient : Tensor (m, d)
        The accumulated gradient, to be descended.
    inputs : LayerInputs
        Gram matrices of the samples behind the gradient.
    state : mapping
        The optimizer's state of the weight. A rule reads it only.
    options : mapping
        The options of its parameter group.
    solver : "native", "device" or QuboSolver
        What solves the rows' problems.
    seed : function
        Gives the solver's seed for rows that begin with the given one.
    observed : bool
        Whether the result should hold projections, for hooks.
    """

    weight: Tensor
    gradient: Tensor
    inputs: LayerInputs
    state: Mapping[str, Any]
    options: Mapping[str, Any]
    solver: Solver
    seed: Callable[[int], int]
    observed: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """What the mathematics is done in: float64 for such weights, else float32."""
        return torch.float64 if self.weight.dtype == torch.float64 else torch.float32

    def seed_of(self, rows: slice) -> int:
        """Seed of the solver for `rows`; the native projection draws nothing."""
        return 0 if isinstance(self.solver, str) else self.seed(rows.start)


@dataclass(frozen=True)
class StepResult:
    """What a rule found for one weight.

    Attributes
    ----------
    values : int8 Tensor (m, d)
        The binary step G, or the next binary weights, on the weight's device.
    replaces : bool
        Whether `values` are the next weights.
    state : dict
        What the state becomes.
    projections : list of Projection
        How the rows were projected, if the layer is observed.
    finite : bool Tensor, optional
        Whether p and A are finite, where nobody has waited for the device to know.
    """

    values: Tensor
    replaces: bool
    state: dict[str, Any]
    projections: list[Projection] = field(default_factory=list)
    finite: Tensor | None = None


class StepRule(Protocol):
    """The mathematics of a variant of QP-SBGD."""

    def work(self, layer: LayerStep) -> Work[StepResult]:
        """Find the step of one weight; ask for the solutions of all its rows at once, if for any."""
        ...
