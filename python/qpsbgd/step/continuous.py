"""The continuous variant: latent weights are real, and a step is the binary projection G of p."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from qpsbgd.solvers.requests import Work, together
from qpsbgd.step.arrays import Floats, to_host
from qpsbgd.step.inputs import Part
from qpsbgd.step.memory import error_feedback, join_states, running_means, state_of_rows
from qpsbgd.step.rows import native_step, project_rows
from qpsbgd.step.rule import LayerStep, Projection, StepResult
from qpsbgd.step.spectrum import with_singular_values
from qpsbgd.step.wide import native_step_by_inputs

__all__ = ["ContinuousRule"]


class _Rows(NamedTuple):
    """The projection of one part of the rows."""

    G: Tensor
    state: dict[str, Any]
    projection: Projection | None
    p: Tensor | None = None
    """What error feedback is of, where G is not known yet."""
    apart: bool = False
    """Whether the processes share out these rows by themselves."""
    rows: slice = slice(0)


class ContinuousRule:
    """``p = g + memory``, and G the projection of p: a `qpsbgd.step.rule.StepRule`."""

    def work(self, layer: LayerStep) -> Work[StepResult]:
        """Find the binary step G of one weight, as `qpsbgd.step.rule.StepRule.work`."""
        few = layer.inputs.few_samples() if _needs_no_matrix(layer) else None
        if few is not None:
            X, A = few
            return _result_of(_step(layer, slice(0, layer.gradient.shape[0]), A, X))
        parts = layer.inputs.parts(layer.options["jacobian"])
        if _is_native(layer) and _has_one_matrix(layer):
            rows = [self._natively(layer, part) for part in parts]
        else:
            rows = yield from together(self._rows(layer, part) for part in parts)
        if len(rows) == 1:
            return _result_of(rows[0])
        return StepResult(
            torch.cat([part.G for part in rows]),
            replaces=False,
            state=join_states([part.state for part in rows]),
            projections=[part.projection for part in rows if part.projection is not None],
            p=torch.cat([part.p for part in rows if part.p is not None]) if rows[0].p is not None else None,
            split=tuple(part.rows for part in rows) if rows[0].apart else (),
        )

    def _rows(self, layer: LayerStep, part: Part) -> Work[_Rows]:
        options = layer.options
        if _is_native(layer) and part.A.ndim == 2 and not layer.shared:
            return self._natively(layer, part)
        gradient = layer.gradient[part.rows]
        known = state_of_rows(layer.state, part.rows, layer.weight.shape[0])
        p, A = gradient.to(layer.dtype), part.A
        state: dict[str, Any] = {}
        if options["memory"] == "error-feedback" and "residual" in known:
            p = p + known["residual"]
        elif options["memory"] == "momentum":
            p, A, state = self.means(layer, p, A, known)
        G = yield from self._solved(layer, part, p, A)
        left = p if options["memory"] == "error-feedback" else None
        if left is not None and not layer.shared:
            state["residual"], left = error_feedback(left, G.to(layer.dtype)), None
        return _Rows(G, state, _shown(layer, part, p, A, G), left, A.ndim == 3, part.rows)

    def _solved(self, layer: LayerStep, part: Part, p: Tensor, A: Floats) -> Work[Tensor]:
        """Project the rows of a part that this process solves."""
        rows, own = part.rows, layer.own(part)
        G = torch.zeros(p.shape, dtype=torch.int8, device=p.device)
        if own.start == own.stop:
            return G
        mine = slice(own.start - rows.start, own.stop - rows.start)

        def posed(before: slice) -> int:
            return int(p[: before.stop - before.start].any(dim=1).sum())

        seed, first = layer.stream(rows, own, posed)
        spins = yield from project_rows(
            to_host(p[mine], layer.dtype),
            A if A.ndim == 2 else A[mine],
            scale=_scale(layer),
            kappa=layer.options["kappa"],
            domain=layer.options["domain"],
            solver=layer.solver,
            seed=seed,
            num_samples=part.num_samples,
            first=first,
        )
        G[mine] = torch.from_numpy(spins).to(p.device)
        return G

    def means(
        self, layer: LayerStep, p: Tensor, A: Floats, state: Mapping[str, Any]
    ) -> tuple[Tensor, Floats, dict[str, Any]]:
        """Return p and A of the QUBOs by running means, and the state after this step.

        Parameters
        ----------
        layer : LayerStep
            The weight in this step.
        p, A : Tensor (m, d) and array (d, d)
            Gradient and Gram matrix of this step, of some rows.
        state : mapping
            Their state.
        """
        mean, A, after = running_means(p, A, state, layer.options["betas"])
        return with_singular_values(mean, layer.options["singular_power"]), A, after

    def _natively(self, layer: LayerStep, part: Part) -> _Rows:
        """Project and keep the memory by native functions alone: the common case, which asks no solver."""
        if layer.options["memory"] == "momentum":
            return self._native_momentum(layer, part)
        rows = _step(layer, part.rows, part.A)
        if not layer.observed:
            return rows
        p = _p(layer, part.rows)
        return rows._replace(projection=_shown(layer, part, p, part.A, rows.G))

    def _native_momentum(self, layer: LayerStep, part: Part) -> _Rows:
        known = state_of_rows(layer.state, part.rows, layer.weight.shape[0])
        gradient = _of_rows(layer.gradient, part.rows).to(layer.dtype)
        p, A, state = self.means(layer, gradient, part.A, known)
        how = {name: layer.options[name] for name in ("kappa", "domain")}
        spins, _ = native_step(to_host(p, layer.dtype), A, scale=_scale(layer), **how)
        G = torch.from_numpy(spins).to(p.device)
        return _Rows(G, state, _shown(layer, part, p, A, G), rows=part.rows)


def _scale(layer: LayerStep) -> str | float:
    return float(layer.options["lr"]) if layer.options["scale"] == "step" else layer.options["scale"]


def _is_native(layer: LayerStep) -> bool:
    """Whether native functions make the step from A as it is: there is no other solver."""
    return isinstance(layer.solver, str) and layer.options["scale"] != "raw"


def _has_one_matrix(layer: LayerStep) -> bool:
    """Whether the rows of each part share a matrix, and all of them are this process's own."""
    return layer.options["jacobian"] == "pre-activation" and not layer.shared


def _needs_no_matrix(layer: LayerStep) -> bool:
    """Whether neither memory, nor Jacobians, nor hooks ask for A itself."""
    wants = layer.options["memory"] == "momentum" or layer.observed
    return _is_native(layer) and not wants and layer.options["jacobian"] == "pre-activation"


def _of_rows(values: Tensor, rows: slice) -> Tensor:
    return values if rows.stop - rows.start == values.shape[0] else values[rows]


def _residual(layer: LayerStep, rows: slice) -> Tensor | None:
    if layer.options["memory"] != "error-feedback":
        return None
    return state_of_rows(layer.state, rows, layer.weight.shape[0]).get("residual")


def _step(layer: LayerStep, rows: slice, A: Floats | None, X: Floats | None = None) -> _Rows:
    """Step and next residual of some rows, by the Gram matrix, by the samples X, or by both."""
    options, device = layer.options, layer.weight.device
    residual, feedback = _residual(layer, rows), options["memory"] == "error-feedback"
    gradient = to_host(_of_rows(layer.gradient, rows), layer.dtype)
    how: dict[str, Any] = {
        "residual": None if residual is None else to_host(residual, layer.dtype),
        "keep_residual": feedback and not layer.shared,
        "scale": _scale(layer),
        "kappa": options["kappa"],
        "domain": options["domain"],
    }
    if X is not None:
        spins, left = native_step_by_inputs(gradient, X, gram=A, **how)
    else:
        spins, left = native_step(gradient, cast(Floats, A), **how)
    state = {} if left is None else {"residual": torch.from_numpy(left).to(device)}
    p = _p(layer, rows) if feedback and layer.shared else None
    return _Rows(torch.from_numpy(spins).to(device), state, None, p)


def _p(layer: LayerStep, rows: slice) -> Tensor:
    """Gradient plus what the last step has left."""
    gradient, residual = layer.gradient[rows].to(layer.dtype), _residual(layer, rows)
    return gradient if residual is None else gradient + residual


def _result_of(rows: _Rows) -> StepResult:
    """Give the step of a weight whose rows are all in one part."""
    shown = [] if rows.projection is None else [rows.projection]
    split = (rows.rows,) if rows.apart else ()
    return StepResult(rows.G, replaces=False, state=rows.state, projections=shown, p=rows.p, split=split)


def _shown(layer: LayerStep, part: Part, p: Tensor, A: Floats, G: Tensor) -> Projection | None:
    """Describe the projection to hooks, if there are any."""
    if not layer.observed:
        return None
    options = {
        "scale": _scale(layer),
        "kappa": layer.options["kappa"],
        "domain": layer.options["domain"],
        "num_samples": part.num_samples,
    }
    return Projection(layer.weight, part.rows, layer.gradient[part.rows], p, A, G, options)
