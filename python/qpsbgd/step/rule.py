"""What a step of one weight is given, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from qpsbgd.solvers.resolve import Solver
from qpsbgd.step.arrays import Floats
from qpsbgd.step.inputs import LayerInputs, Part
from qpsbgd.step.processes import Share

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
    share : Share
        Which rows this process solves. A rule finds the state of all rows, and the values of its own ones.
    shared : bool
        Whether other processes have a say in the values: then what p leaves behind is not known yet.
    """

    weight: Tensor
    gradient: Tensor
    inputs: LayerInputs
    state: Mapping[str, Any]
    options: Mapping[str, Any]
    solver: Solver
    seed: Callable[[int], int]
    observed: bool = False
    share: Share = field(default_factory=Share)
    shared: bool = False

    def own(self, part: Part) -> slice:
        """Return the rows of a part that this process solves: perhaps none."""
        rows = part.rows
        if part.A.ndim == 3:  # parts come one after the other, and all processes are to work on each
            return self.share.of(rows)
        own = self.share.of(slice(0, len(self.weight)))
        first = min(max(own.start, rows.start), rows.stop)
        return slice(first, max(first, min(own.stop, rows.stop)))

    @property
    def dtype(self) -> torch.dtype:
        """What the mathematics is done in: float64 for such weights, else float32."""
        return torch.float64 if self.weight.dtype == torch.float64 else torch.float32

    def seed_of(self, rows: slice) -> int:
        """Seed of the solver for `rows`; the native projection draws nothing."""
        return 0 if isinstance(self.solver, str) else self.seed(rows.start)

    def stream(self, rows: slice, own: slice, posed: Callable[[slice], int]) -> tuple[int, int]:
        """Return the solver's seed for the `own` ones of `rows`, and how many problems come before them.

        A solver that can solve a part of a batch as it would solve the whole gets the seed of the whole, so
        that its answers do not depend on the number of processes. `posed` counts the problems of some rows.
        """
        if own.start == rows.start or not hasattr(self.solver, "solve_part"):
            return self.seed_of(own), 0
        return self.seed_of(rows), posed(slice(rows.start, own.start))


@dataclass(frozen=True)
class StepResult:
    """What a rule found for one weight.

    Attributes
    ----------
    values : int8 Tensor (m, d)
        The binary step G, or the next binary weights, on the weight's device; of the rows that others solve
        it holds anything.
    replaces : bool
        Whether `values` are the next weights.
    state : dict
        What the state becomes.
    projections : list of Projection
        How the rows were projected, if the layer is observed.
    p : Tensor (m, d), optional
        Gradient plus memory, where the state gets what is left of it once all values are known.
    split : tuple of slices
        The rows in parts, where the processes share out each part by itself; else all rows are one.
    finite : bool Tensor, optional
        Whether p and A are finite, where nobody has waited for the device to know.
    """

    values: Tensor
    replaces: bool
    state: dict[str, Any]
    projections: list[Projection] = field(default_factory=list)
    p: Tensor | None = None
    split: tuple[slice, ...] = ()
    finite: Tensor | None = None


class StepRule(Protocol):
    """The mathematics of a variant of QP-SBGD."""

    def work(self, layer: LayerStep) -> Generator[Any, Any, StepResult]:
        """Find the step of one weight; ask for the solutions of all its rows at once, if for any.

        What it asks for is a list of `qpsbgd.solvers.requests.Request`, or on a device the descent of
        `qpsbgd.step.device.descent.Rows`.
        """
        ...
