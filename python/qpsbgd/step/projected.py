"""The projected variant: one proximal Newton step on the binary set, row by row.

Binary weights W (m, d), their gradient m (m, d) and a majorizer H_j = c_j (A + δ mean(diag A) I) of row j's
loss Hessian give

    w_j = argmin over w in {-1,+1}^d of  q_j(w) = m_j'(w - W_j) + ½ (w - W_j)'H_j(w - W_j)

With A = (a²/n) X'X the factor c_j is ¼ for the logistic loss, since σ(z)(1 - σ(z)) <= ¼, and ½ for softmax
with cross-entropy: diag(p) - pp' <= ½ I, because its row sums of absolute values are 2 p_k (1 - p_k) <= ½.
That bound keeps the rows separate where Böhning's ½ (I - 11'/c) couples them. Then the loss is at most its
value at W plus the sum of all q_j, which is 0 at w = W: a step that does not raise q_j does not raise the
loss, and where no step lowers any q_j the weights stay. The set is finite, so full batches end in such a
fixed point.

On {-1,+1}^d the damping is linear in w, so all rows share the couplings A/2; divided by c_j the fields are
m_j/c_j - A W_j - δ mean(diag A) W_j.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from qpsbgd.problem import IsingProblem, check_finite
from qpsbgd.solvers.native import NativeSolver
from qpsbgd.solvers.requests import Request, Work, answer_requests, together
from qpsbgd.solvers.resolve import Solver
from qpsbgd.step.arrays import Doubles, Floats, Spins, to_host
from qpsbgd.step.inputs import CurvatureFactors, Part
from qpsbgd.step.memory import average, join_states, running_means, state_of_rows
from qpsbgd.step.rule import LayerStep, Projection, StepResult

__all__ = [
    "MAJORIZERS",
    "ProjectedRule",
    "matched_curvatures",
    "proximal_model",
    "proximal_step",
    "row_curvatures",
    "with_curvature_average",
]

MAJORIZERS = {"logistic": 0.25, "softmax": 0.5}
"""Factors c of the majorizers c A that bound a loss's Hessian whatever the weights."""

CURVATURE_DECAY = 0.99
_LARGEST_FIELD = 1e6
"""Fields are cut at this multiple of what already decides a spin, so that they never overflow."""


def proximal_model(
    steps: Spins, weights: Spins, gradient: Floats, gram: Floats, curvatures: Floats, damping: float
) -> Doubles:
    """Return the model q_j of every row, which a proximal step minimises, in float64.

    Parameters
    ----------
    steps, weights : int8 arrays (m, d) of -1 and +1
        The candidates w and the present weights W.
    gradient : array (m, d)
        m.
    gram : array (d, d)
        A.
    curvatures : array (m,)
        c.
    damping : float
        δ.

    Returns
    -------
    float64 array (m,)
        ``q_j(w_j)``; 0 where ``w_j = W_j``.

    Examples
    --------
    >>> import numpy as np
    >>> one, two = np.array([[1, 1]]), np.array([[1, -1]])
    >>> proximal_model(two, one, np.array([[0.0, 3.0]]), np.eye(2), np.array([0.5]), damping=1.0)
    array([-4.])
    """
    linear, quadratic = _terms(steps, weights, gradient, gram, curvatures, damping)
    return cast(Doubles, linear.sum(axis=1) + quadratic)


def _terms(
    steps: Spins, weights: Spins, gradient: Floats, gram: Floats, curvatures: Floats, damping: float
) -> tuple[Doubles, Doubles]:
    """``m_jk (w - W)_jk`` (m, d), and ``½ (w - W)'H(w - W)`` (m,)."""
    change = steps.astype(np.float64) - weights
    A = gram.astype(np.float64)
    curved = np.einsum("md,md->m", change @ A, change)
    curved += damping * float(np.diagonal(A).mean()) * np.square(change).sum(axis=1)
    return gradient * change, 0.5 * curvatures * curved


def proximal_step(
    weights: Spins,
    gradient: Floats,
    gram: Floats,
    *,
    curvatures: Floats,
    damping: float = 0.0,
    solver: Solver = "native",
    seed: int = 0,
) -> Spins:
    """Take one proximal Newton step on the binary set.

    Parameters
    ----------
    weights : int8 array (m, d) of -1 and +1
        Binary weights W to start from.
    gradient : float32 or float64 array (m, d)
        The loss gradient m at W.
    gram : array (d, d) of the dtype of the gradient
        A.
    curvatures : float64 array (m,)
        Factors c_j, at least 0. A row of factor 0 has no model and keeps its weights.
    damping : float
        δ, at least 0.
    solver : "native" or QuboSolver
        As `qpsbgd.solvers.resolve.resolve_solver` returns it; "native" descends by single flips.
    seed : int
        Seed of the solver.

    Returns
    -------
    int8 array (m, d)
        The new weights. A row keeps its old ones unless the model falls by more than its rounding error.

    Raises
    ------
    ValueError
        If an array is not finite or the solver returns samples of another shape.

    Examples
    --------
    >>> import numpy as np
    >>> W = np.ones((1, 2), dtype=np.int8)
    >>> proximal_step(W, np.array([[0.5, 3.0]]), np.eye(2), curvatures=np.array([1.0]))
    array([[ 1, -1]], dtype=int8)
    """
    work = _proximal_work(weights, gradient, gram, curvatures, damping, solver, seed)
    return answer_requests([work], solver)[0]


def _proximal_work(
    weights: Spins,
    gradient: Floats,
    gram: Floats,
    curvatures: Floats,
    damping: float,
    solver: Solver,
    seed: int,
    first: int = 0,
) -> Work[Spins]:
    """As `proximal_step`: asks for the solutions of all rows at once, unless the solver is the native one."""
    check_finite("gradient", gradient)
    check_finite("gram", gram)
    check_finite("curvatures", curvatures)
    rows = np.flatnonzero((curvatures > 0) & np.any(gradient, axis=1))
    result = weights.copy()
    if not len(rows):
        return result
    W, m, c = weights[rows], gradient[rows], curvatures[rows].astype(np.float64)
    problem = _problem(W, m, gram, c, damping)
    if isinstance(solver, str):
        descent = NativeSolver(method="descent", num_threads=torch.get_num_threads())
        solutions = descent.solve(problem, seed=seed)
    else:
        (solutions,) = yield [Request(problem, seed, first=first)]
    # Nothing is known of a weight without input and gradient, and its flips do not change the model.
    unknown = (m == 0) & (np.diagonal(gram) == 0)
    w = np.where(unknown, W, solutions.best_samples)
    linear, quadratic = _terms(w, W, m, gram, c, damping)
    rounding = np.finfo(gradient.dtype).eps * (np.abs(linear).sum(axis=1) + quadratic)
    better = linear.sum(axis=1) + quadratic < -rounding
    result[rows] = np.where(better[:, None], w, W)
    return result


def _problem(
    weights: Spins, gradient: Floats, gram: Floats, curvatures: Doubles, damping: float
) -> IsingProblem:
    """Batch whose energies are the models over c_j, up to a constant; it starts at the weights."""
    A = gram.astype(np.float64)
    W = weights.astype(np.float64)
    fields = gradient.astype(np.float64) / curvatures[:, None]
    # A field above the sum of its couplings decides its spin; beyond that only its sign matters.
    limit = _LARGEST_FIELD * max(float(np.abs(A).sum(axis=1).max()), 1e-300)
    fields = np.clip(fields, -limit, limit) - W @ A - damping * float(np.diagonal(A).mean()) * W
    return IsingProblem(
        np.ascontiguousarray(fields),
        np.ascontiguousarray(gram),
        np.zeros(len(fields)),
        0.5,
        initial_states=np.ascontiguousarray(weights[:, None, :]),
    )


def row_curvatures(V: Tensor, X: Tensor, gradient: Tensor) -> Tensor:
    """Second Gauss-Newton factor of a layer: the mean square of every row's per-sample gradients.

    With the first factor A it stands for row j's block ``(a²/n) Σ_i v_ij² x_i x_i'`` of the Gauss-Newton
    matrix, as the Kronecker factors of K-FAC do (Martens and Grosse 2015), with the diagonal of the second.

    Parameters
    ----------
    V, X : Tensor (n, m), (n, d)
        As `qpsbgd.capture.Capture.jacobian_factors` returns them.
    gradient : Tensor (m, d)
        The weight gradient that the step uses, see `matched_curvatures`.

    Returns
    -------
    Tensor (m,)
        ``mean_i v_ij²``, in at least float32.

    Examples
    --------
    >>> import torch
    >>> X, V = torch.eye(2).double(), torch.tensor([[3.0], [1.0]]).double()
    >>> g = V.T @ X / (2 * 2**0.5)
    >>> [round(row_curvatures(factor * V, X, g).item(), 9) for factor in (1, 1024)]
    [5.0, 5.0]
    """
    dtype = torch.promote_types(gradient.dtype, torch.float32)
    recorded = V.to(dtype).T @ X.to(dtype) / (len(X) * X.shape[1] ** 0.5)
    return matched_curvatures(CurvatureFactors(recorded, V.double().square().mean(dim=0)), gradient)


def matched_curvatures(factors: CurvatureFactors, gradient: Tensor) -> Tensor:
    """Return mean squares of per-sample gradients, in the units of the gradient that the step uses.

    Where a loss was scaled for half precision, or gradients were clipped, the gradient differs by a factor
    from that of the recorded passes. The per-sample gradients are given that factor too.

    Parameters
    ----------
    factors : CurvatureFactors
        Gradient (m, d) of the recorded passes, and mean squares (m,) of their per-sample gradients.
    gradient : Tensor (m, d)
        The weight gradient that the step uses.

    Returns
    -------
    Tensor (m,)
        In at least float32.
    """
    dtype = torch.promote_types(gradient.dtype, torch.float32)
    recorded, gradient = factors.gradient.to(dtype), gradient.to(dtype)
    # In units of the largest entry, whose square could overflow.
    largest = recorded.abs().max()
    unit = recorded / torch.where(largest > 0, largest, 1.0)
    size = unit.square().sum() * largest
    factor = torch.where(size > 0, (unit * gradient).sum() / size, 1.0).double()
    return (factor.square() * factors.mean_squares).to(dtype)


def with_curvature_average(
    A: Floats, curvatures: Tensor, state: Mapping[str, Any]
) -> tuple[Floats, Doubles, dict[str, Any]]:
    """Return both Gauss-Newton factors as running means over about 100 steps, and the state after this one.

    Parameters
    ----------
    A : array (d, d)
        Gram matrix of this step.
    curvatures : Tensor (m,)
        Of this step.
    state : dict
        ``curvature_step``, ``curvature_gram`` and ``curvature_rows`` of the steps before, or nothing.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> A, c, state = with_curvature_average(np.eye(1), torch.ones(1, dtype=torch.float64), {})
    >>> A, c, state["curvature_step"]
    (array([[1.]]), array([1.]), 1)
    """
    step = state.get("curvature_step", 0) + 1
    gram = torch.from_numpy(A).to(curvatures.device)
    gram_state, gram = average(
        state.get("curvature_gram", torch.zeros_like(gram)), gram, step, CURVATURE_DECAY
    )
    before = state.get("curvature_rows", torch.zeros_like(curvatures))
    row_state, rows = average(before, curvatures, step, CURVATURE_DECAY)
    memory = {"curvature_step": step, "curvature_gram": gram_state, "curvature_rows": row_state}
    return to_host(gram, gram.dtype), cast(Doubles, to_host(rows, torch.float64)), memory


class _Rows(NamedTuple):
    """The next weights of one channel group."""

    weights: Tensor
    state: dict[str, Any]
    projection: Projection | None


class ProjectedRule:
    """Weights are -1 and +1, and a step minimises a quadratic model: a `qpsbgd.step.rule.StepRule`."""

    def work(self, layer: LayerStep) -> Work[StepResult]:
        """Find the next binary weights of one weight, as `qpsbgd.step.rule.StepRule.work`."""
        parts = list(layer.inputs.parts("pre-activation"))
        factors: list[CurvatureFactors | None] = [None] * len(parts)
        if layer.options["majorizer"] == "gauss-newton":
            factors = list(layer.inputs.curvature_factors())
        rows = yield from together(
            self._rows(layer, part, own) for part, own in zip(parts, factors, strict=True)
        )
        return StepResult(
            torch.cat([part.weights for part in rows]),
            replaces=True,
            state=join_states([part.state for part in rows]),
            projections=[part.projection for part in rows if part.projection is not None],
        )

    def _rows(self, layer: LayerStep, part: Part, factors: CurvatureFactors | None) -> Work[_Rows]:
        options = layer.options
        known = state_of_rows(layer.state, part.rows, len(layer.weight))
        gradient = layer.gradient[part.rows]
        p, A = gradient.to(layer.dtype), part.A
        state: dict[str, Any] = {}
        curvatures: Doubles
        if factors is not None:
            A, curvatures, state = with_curvature_average(A, matched_curvatures(factors, gradient), known)
            if options["memory"] == "momentum":
                before = known.get("gradient_average", torch.zeros_like(p))
                state["gradient_average"], p = average(
                    before, p, state["curvature_step"], options["betas"][0]
                )
        else:
            curvatures = np.full(len(p), MAJORIZERS.get(options["majorizer"], options["majorizer"]))
            if options["memory"] == "momentum":
                p, A, state = running_means(p, A, known, options["betas"])
        weight = layer.weight.reshape(len(layer.weight), -1)[part.rows]
        signs = np.where(to_host(weight, layer.dtype) >= 0, 1, -1).astype(np.int8)
        own = layer.own(part)
        mine = slice(own.start - part.rows.start, own.stop - part.rows.start)
        P = to_host(p, layer.dtype)

        def posed(before: slice) -> int:
            count = before.stop - before.start
            return int(np.count_nonzero((curvatures[:count] > 0) & np.any(P[:count], axis=1)))

        new = signs.copy()
        if own.start < own.stop:
            seed, first = layer.stream(part.rows, own, posed)
            new[mine] = yield from _proximal_work(
                signs[mine], P[mine], A, curvatures[mine], options["damping"], layer.solver, seed, first
            )
        weights = torch.from_numpy(new).to(layer.weight.device)
        projection = None
        if layer.observed:
            shown = {
                "variant": "projected",
                "curvatures": curvatures,
                "damping": options["damping"],
                "num_samples": part.num_samples,
            }
            half_way = torch.from_numpy((signs - new) // 2).to(layer.weight.device)
            projection = Projection(layer.weight, part.rows, gradient, p, A, half_way, shown)
        return _Rows(weights, state, projection)
