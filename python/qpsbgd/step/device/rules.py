"""The rules of both variants on the device of the weight: see `qpsbgd.step.continuous` and `.projected`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from qpsbgd.step.arrays import to_host
from qpsbgd.step.device.project import projection
from qpsbgd.step.device.proximal import proximal
from qpsbgd.step.device.together import Descents
from qpsbgd.step.inputs import CurvatureFactors, Part
from qpsbgd.step.memory import average, error_feedback, join_states, running_tensors, state_of_rows
from qpsbgd.step.projected import MAJORIZERS, curvature_tensors, matched_curvatures
from qpsbgd.step.rule import LayerStep, Projection, StepResult
from qpsbgd.step.spectrum import with_singular_values

__all__ = ["DeviceContinuousRule", "DeviceProjectedRule"]


class DeviceContinuousRule:
    """``p = g + memory``, and G the projection of p: a `qpsbgd.step.rule.StepRule`."""

    def work(self, layer: LayerStep) -> Descents[StepResult]:
        """Find the binary step G of one weight, as `qpsbgd.step.rule.StepRule.work`."""
        parts = []
        for part in layer.inputs.tensor_parts(layer.options["jacobian"]):
            parts.append((yield from self._rows(layer, part)))
            del part  # or its matrices would outlive it
        return _joined(parts, replaces=False)

    def _rows(self, layer: LayerStep, part: Part) -> Descents[StepResult]:
        options = layer.options
        known = state_of_rows(layer.state, part.rows, len(layer.weight))
        p, A = layer.gradient[part.rows].to(layer.dtype), part.A
        state: dict[str, Any] = {}
        if options["memory"] == "error-feedback" and "residual" in known:
            p = p + known["residual"]
        elif options["memory"] == "momentum":
            p, A, state = _running(p, A, layer.state, options["betas"])
            p = _with_spectrum(p, len(A), options["singular_power"])
        scale = float(options["lr"]) if options["scale"] == "step" else options["scale"]
        how = {"scale": scale, "kappa": options["kappa"], "domain": options["domain"]}
        how["num_samples"] = part.num_samples
        G = yield from _own_rows(layer, part, p, A, how)
        left = p if options["memory"] == "error-feedback" else None
        if left is not None and not layer.shared:
            state["residual"], left = error_feedback(left, G.to(layer.dtype)), None
        return StepResult(
            G,
            replaces=False,
            state=state,
            projections=_shown(layer, part, p, A, G, lambda rows: how),
            p=left,
            split=(part.rows,),
            finite=_are_finite(p, A),
        )


class DeviceProjectedRule:
    """Weights are -1 and +1, and a step minimises a quadratic model: a `qpsbgd.step.rule.StepRule`."""

    def work(self, layer: LayerStep) -> Descents[StepResult]:
        """Find the next binary weights of one weight, as `qpsbgd.step.rule.StepRule.work`."""
        (part,) = layer.inputs.tensor_parts("pre-activation")
        return _joined([(yield from self._rows(layer, part))], replaces=True)

    def _rows(self, layer: LayerStep, part: Part) -> Descents[StepResult]:
        options = layer.options
        gradient = layer.gradient
        p, A = gradient.to(layer.dtype), part.A
        state: dict[str, Any] = {}
        if options["majorizer"] == "gauss-newton":
            squares = _matched(layer.inputs.curvature_factors(), gradient)
            A, curvatures, state = _curvatures(A, squares, layer.state)
            if options["memory"] == "momentum":
                before = layer.state.get("gradient_average")
                step, decay = state["curvature_step"], options["betas"][0]
                state["gradient_average"], p = average(before, p, step, decay)
        else:
            factor = MAJORIZERS.get(options["majorizer"], options["majorizer"])
            curvatures = torch.full_like(p[:, 0], factor)
            if options["memory"] == "momentum":
                p, A, state = _running(p, A, layer.state, options["betas"])
        signs = torch.where(layer.weight.reshape(p.shape) >= 0, 1.0, -1.0).to(layer.dtype)
        new = yield from proximal(signs, p, A, curvatures, options["damping"])

        def how(rows: slice) -> dict[str, Any]:
            return {
                "variant": "projected",
                "curvatures": to_host(curvatures[rows], torch.float64),
                "damping": options["damping"],
                "num_samples": part.num_samples,
            }

        half_way = ((signs - new) / 2).to(torch.int8)
        return StepResult(
            new.to(torch.int8),
            replaces=True,
            state=state,
            projections=_shown(layer, part, p, A, half_way, how),
            finite=_are_finite(p, A),
        )


def _own_rows(layer: LayerStep, part: Part, p: Tensor, A: Tensor, how: dict[str, Any]) -> Descents[Tensor]:
    """Project the rows of a part that this process solves: all, where they share several matrices."""
    if 1 not in (len(A), len(p) // len(A)):
        return (yield from projection(p, A, **how))
    own = layer.share.of(slice(0, len(p)))
    if own == slice(0, len(p)):
        return (yield from projection(p, A, **how))
    G = torch.zeros_like(p, dtype=torch.int8)
    if own.start < own.stop:
        G[own] = yield from projection(p[own], A if len(A) == 1 else A[own], **how)
    return G


def _joined(parts: list[StepResult], *, replaces: bool) -> StepResult:
    """Put the rows together."""
    return StepResult(
        parts[0].values if len(parts) == 1 else torch.cat([part.values for part in parts]),
        replaces=replaces,
        state=join_states([part.state for part in parts]),
        projections=[projection for part in parts for projection in part.projections],
        p=torch.cat([part.p for part in parts if part.p is not None]) if parts[0].p is not None else None,
        split=tuple(rows for part in parts for rows in part.split) if len(parts) > 1 else (),
        finite=torch.stack([part.finite for part in parts if part.finite is not None]).all(),
    )


def _are_finite(p: Tensor, A: Tensor) -> Tensor:
    """Tell whether all is finite; the largest entry of X'X is on its diagonal."""
    return p.sum().isfinite() & A.diagonal(dim1=-2, dim2=-1).sum().isfinite()


def _in_state_form(A: Tensor) -> Tensor:
    """Give matrices as states hold them: (d, d) where there is one."""
    return A[0] if len(A) == 1 else A


def _as_matrices(A: Tensor) -> Tensor:
    return A if A.dim() == 3 else A[None]


def _known_matrices(state: Mapping[str, Any], name: str, A: Tensor) -> Mapping[str, Any]:
    """Give the state with as many matrices as the layer has channel groups now."""
    known = state.get(name)
    if known is None or (len(known) if known.dim() == 3 else 1) == len(A):
        return state
    # An attention whose query, key and value were three inputs may get one input for all of them.
    mean = known.mean(dim=0) if known.dim() == 3 else known
    return {**state, name: mean if len(A) == 1 else mean.expand(len(A), *mean.shape)}


def _running(
    p: Tensor, A: Tensor, state: Mapping[str, Any], betas: tuple[float, float]
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    known = _known_matrices(state, "gram_average", A)
    p, A, new = running_tensors(p, _in_state_form(A), known, betas)
    return p, _as_matrices(A), new


def _with_spectrum(p: Tensor, groups: int, power: float) -> Tensor:
    """Raise the singular values of each channel group's p to a power."""
    if len(p) % groups:
        groups = 1
    return with_singular_values(p.unflatten(0, (groups, -1)), power).flatten(0, 1)


def _curvatures(
    A: Tensor, curvatures: Tensor, state: Mapping[str, Any]
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    known = _known_matrices(state, "curvature_gram", A)
    A, rows, new = curvature_tensors(_in_state_form(A), curvatures, known)
    return _as_matrices(A), rows, new


def _matched(factors: list[CurvatureFactors], gradient: Tensor) -> Tensor:
    """Give the mean squares of all rows' per-sample gradients, channel group by channel group."""
    own = gradient.unflatten(0, (len(factors), -1))
    return torch.cat([matched_curvatures(factor, g) for factor, g in zip(factors, own, strict=True)])


def _shown(layer: LayerStep, part: Part, p: Tensor, A: Tensor, G: Tensor, how: Any) -> list[Projection]:
    """Describe the projection to hooks, if there are any: one for each channel group, as on the host."""
    if not layer.observed:
        return []
    own = len(A) == len(p) and layer.options["jacobian"] == "post-activation"
    count = 1 if own else len(A)
    rows = len(p) // count
    projections = []
    for group in range(count):
        inside = slice(group * rows, (group + 1) * rows)
        outside = slice(part.rows.start + inside.start, part.rows.start + inside.stop)
        matrix = to_host(A if own else A[group], A.dtype)
        gradient = layer.gradient[outside]
        projections.append(
            Projection(layer.weight, outside, gradient, p[inside], matrix, G[inside], how(inside))
        )
    return projections
