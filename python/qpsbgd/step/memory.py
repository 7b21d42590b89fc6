"""What a weight's step keeps for the next one: error feedback and running means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qpsbgd import _core
from qpsbgd.step.arrays import Floats, to_host
from qpsbgd.step.kept import NEVER_MADE

__all__ = [
    "average",
    "empty_state",
    "error_feedback",
    "join_states",
    "running_means",
    "running_tensors",
    "state_of_rows",
]

_ROW_STATE = ("residual", "gradient_average", "curvature_rows")
"""State with a row for every neuron."""
_GRAM_STATE = ("gram_average", "curvature_gram")
"""State with a matrix for every channel group of a layer."""


def error_feedback(p: Tensor, G: Tensor) -> Tensor:
    """Return what a step leaves for the next one, ``p - max(0, mean_k p_k G_k) G``, row by row.

    Parameters
    ----------
    p, G : Tensor (m, d)
        Gradient plus memory, and its projection.

    Examples
    --------
    >>> import torch
    >>> error_feedback(torch.tensor([[3.0, -1.0]]), torch.tensor([[1.0, -1.0]]))
    tensor([[1., 1.]])
    """
    step = (p * G).mean(dim=1, keepdim=True).clamp_(min=0)
    return p - step * G


def average(state: Tensor | None, value: Tensor, step: int, decay: float = 0.9) -> tuple[Tensor, Tensor]:
    """Update a running mean that starts at zero; return its next state, and that corrected for the start.

    Parameters
    ----------
    state, value : Tensor of one shape
        The next state is ``decay state + (1 - decay) value``. No state is one of zeros.
    step : int
        Number of this update, from 1.
    decay : float
        Weight of the past.

    Examples
    --------
    >>> import torch
    >>> average(torch.zeros(1), torch.tensor([2.0]), step=1, decay=0.5)
    (tensor([1.]), tensor([2.]))
    """
    state = (torch.zeros_like(value) if state is None else state).lerp(value, 1.0 - decay)
    correction = 1.0 - decay**step
    return state, state if correction == 1.0 else state / correction


def running_means(
    p: Tensor, A: Floats, state: Mapping[str, Any], betas: tuple[float, float] = (0.9, 0.9)
) -> tuple[Tensor, Floats, dict[str, Any]]:
    """Return p and A as running means, and the state after this step.

    Parameters
    ----------
    p : Tensor (m, d)
        Gradient of this step.
    A : array (d, d)
        Gram matrix of this step.
    state : mapping
        ``step``, ``gradient_average`` and ``gram_average`` of the steps before, or nothing.
    betas : (float, float)
        Weights of the past in p and in A.
    """
    if not p.is_cpu:
        p, gram, memory = running_tensors(p, torch.from_numpy(A).to(p.device), state, betas)
        return p, to_host(gram, gram.dtype), memory
    step = state.get("step", 0) + 1
    p_state, p_mean = _native_average(state.get("gradient_average"), to_host(p, p.dtype), step, betas[0])
    gram_state, A = _native_average(state.get("gram_average"), A, step, betas[1])
    averages = {
        "gradient_average": torch.from_numpy(p_state),
        "gram_average": torch.from_numpy(gram_state),
    }
    return torch.from_numpy(p_mean), A, {"step": step, **averages}


def _native_average(state: Tensor | None, value: Floats, step: int, decay: float) -> tuple[Floats, Floats]:
    """Do as `average` in one pass over the memory, to the same bits."""
    past = None
    if state is not None:
        past = to_host(state, torch.float64 if value.dtype == np.float64 else torch.float32)
    return _core.running_mean(
        value,
        past,
        weight=1.0 - decay,
        correction=1.0 - decay**step,
        num_threads=torch.get_num_threads(),
    )


def running_tensors(
    p: Tensor, A: Tensor, state: Mapping[str, Any], betas: tuple[float, float]
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Return p and A as running means, and the state after this step, as `running_means`, all as tensors."""
    step = state.get("step", 0) + 1
    p_state, p = average(state.get("gradient_average"), p, step, betas[0])
    gram_state, A = average(state.get("gram_average"), A, step, betas[1])
    return p, A, {"step": step, "gradient_average": p_state, "gram_average": gram_state}


def state_of_rows(state: Mapping[str, Any], rows: slice, num_rows: int) -> Mapping[str, Any]:
    """Return the part of a weight's state that belongs to `rows`: all of it, or that of one channel group."""
    size = rows.stop - rows.start
    if size == num_rows and not any(name in state and state[name].dim() == 3 for name in _GRAM_STATE):
        return state
    part = dict(state)
    for name, value in state.items():
        if name in _ROW_STATE:
            part[name] = value[rows]
        elif name in _GRAM_STATE and value.dim() == 3:
            # An attention whose query, key and value were three inputs may get one input for all of them.
            part[name] = value.mean(dim=0) if size == num_rows else value[rows.start // size]
    return part


def join_states(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Put the states of all rows together, in their order; counters are the same in all parts."""
    if len(parts) == 1:
        return parts[0]
    joined = dict(parts[0])
    for name in joined:
        if name in _ROW_STATE:
            joined[name] = torch.cat([part[name] for part in parts])
        elif name in _GRAM_STATE:
            joined[name] = torch.stack([part[name] for part in parts])
    return joined


def empty_state(weight: Tensor, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state before a weight's first step, with the names and shapes that steps give it.

    Checkpoints that are loaded tensor by tensor need it. The running mean of A is left out for convolutions:
    its shape depends on the layer's channel groups, which the weight does not tell.
    """
    rows = weight.detach().reshape(len(weight), -1)
    dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
    zeros = torch.zeros_like(rows, dtype=dtype)
    state: dict[str, Any] = {}
    if options["memory"] == "error-feedback":
        state["residual"] = zeros
    elif options["memory"] == "momentum":
        state["gradient_average"] = zeros
    factors = options["variant"] == "projected" and options["majorizer"] == "gauss-newton"
    if factors:
        state["curvature_step"] = 0
        state["curvature_rows"] = zeros.new_zeros(len(rows))
    elif options["memory"] == "momentum":
        state["step"] = 0
    if weight.dim() == 2 and (factors or options["memory"] == "momentum"):
        gram = zeros.new_zeros((rows.shape[1], rows.shape[1]))
        state["curvature_gram" if factors else "gram_average"] = gram
    if weight.dim() == 2 and options["gram_every"] > 1:
        state["gram"] = zeros.new_zeros((rows.shape[1], rows.shape[1]))
        state["gram_step"] = NEVER_MADE
    return state
