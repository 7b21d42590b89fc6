"""The rows of a layer as Ising problems: scales, objective, and their projection by any solver.

Row j solves ``min over G_j of s_j G'AG - 2 p_j'G`` over G_j in {-1,+1}^d, or sign(p_j) times {0,1}^d with
``domain="mask"``. That is, times s_j and up to a constant, the squared distance of s_j a X G_j to v_j.
"""

from __future__ import annotations

import warnings
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from qpsbgd import _core
from qpsbgd.problem import IsingProblem, check_finite
from qpsbgd.solvers.protocol import UnhelpfulSolverWarning
from qpsbgd.solvers.requests import Request, Work
from qpsbgd.solvers.resolve import Solver
from qpsbgd.step.arrays import Doubles, Floats, Spins

__all__ = ["native_step", "objective", "project_rows", "raw_form", "row_problems"]

_AUTO_ROUNDS = 2
_TELLING_ROWS = 64
"""Rows whose answers are all worse than sign(p) before that is more than bad luck."""
_LARGEST_FIELD = 1e6
"""Fields are cut at this multiple of what already decides a spin, so that they never overflow."""


def objective(G: npt.NDArray[Any], P: Floats, gram: Floats, scales: Floats) -> Doubles:
    """Return ``s_j G_j'AG_j - 2 p_j'G_j`` of every row (m,), in float64.

    Examples
    --------
    >>> import numpy as np
    >>> objective(np.array([[1, -1]]), np.array([[0.5, 0.5]]), np.eye(2), np.array([3.0]))
    array([6.])
    """
    g = G.astype(np.float64)
    curvature = np.einsum("md,md->m", _times(g, gram), g)
    linear = np.einsum("md,md->m", P.astype(np.float64), g)
    return cast(Doubles, scales * curvature - 2.0 * linear)


def row_problems(
    P: Floats, gram: Floats, scales: Floats, *, domain: str = "spin", starts: Spins | None = None
) -> IsingProblem:
    """Write the rows as one batch of Ising problems that share the Gram matrix as couplings.

    The energy of row j is its objective over its scale, ``G'AG - 2 p_j'G / s_j``; in the mask domain
    the spins G' stand for G = (σ + G') / 2 with σ = sign(p_j).

    Parameters
    ----------
    P : array (m, d)
        Gradient plus memory.
    gram : array (d, d) or (m, d, d)
        Couplings A, shared or one matrix a row.
    scales : array (m,)
        Positive scales s_j.
    domain : {"spin", "mask"}
        What G may be.
    starts : int8 array (m, d), optional
        Spins to start from; sign(p) if not given.

    Examples
    --------
    >>> import numpy as np
    >>> problem = row_problems(np.array([[0.5, 0.5]]), np.eye(2), np.array([2.0]))
    >>> problem.energies([[[1, 1]]])
    array([[1.]])
    """
    p = P.astype(np.float64) / np.asarray(scales, dtype=np.float64)[:, None]
    # A field above the sum of its couplings decides its spin; beyond that only its sign matters.
    limit = _LARGEST_FIELD * max(float(np.abs(gram).sum(axis=-1, dtype=np.float64).max()), 1e-300)
    p = np.clip(p, -limit, limit)
    signs = np.where(P >= 0, 1.0, -1.0)
    first = (signs if starts is None else starts).astype(np.int8)[:, None, :]
    couplings = np.ascontiguousarray(gram)
    if domain == "spin":
        return IsingProblem(-2.0 * p, couplings, np.zeros(len(p)), initial_states=first)
    pull = _times(signs, gram)
    offset = 0.25 * np.einsum("md,md->m", pull, signs) - np.einsum("md,md->m", p, signs)
    return IsingProblem(0.5 * pull - p, couplings, offset, 0.25, initial_states=first)


def project_rows(
    P: Floats,
    gram: Floats,
    *,
    scale: str | float = "relative",
    kappa: float = 1.0,
    domain: str = "spin",
    solver: Solver = "native",
    seed: int = 0,
    num_samples: int | None = None,
    first: int = 0,
) -> Work[Spins]:
    """Project fields and a Gram matrix, as a piece of work for `qpsbgd.solvers.requests.answer_requests`.

    Parameters are those of `qpsbgd.projection.project_gradient`. The work asks for solutions unless `solver`
    is "native", so that many layers can be solved at the same time. `first` counts problems of the layer that
    come before these rows, see `Request`.
    """
    if isinstance(solver, str) and scale != "raw":
        return _native_spins(P, gram, scale, kappa, domain)
    check_finite("gradient", P)
    check_finite("gram", gram)
    if scale == "raw":
        if num_samples is None:
            raise ValueError("num_samples is needed with scale 'raw'")
        P, gram = raw_form(P, gram, num_samples)
        scale = 1.0
    if isinstance(solver, str):
        return _native_spins(P, gram, scale, 1.0, domain)
    factor = kappa if isinstance(scale, str) else scale
    signs = np.where(P >= 0, 1, -1).astype(np.int8)
    spins = signs
    if factor > 0 or scale == "auto":
        spins = yield from _project_with(P, gram, signs, scale, kappa, domain, (seed, first))
    # Nothing is known of a weight without input and gradient, nor of a row without any gradient.
    unknown = (P == 0) & ((_diagonal(gram) == 0) | ~np.any(P, axis=1, keepdims=True))
    return np.where(unknown, 0, spins).astype(np.int8)


def native_step(
    gradient: Floats,
    gram: Floats,
    *,
    residual: Floats | None = None,
    keep_residual: bool = False,
    scale: str | float = "relative",
    kappa: float = 1.0,
    domain: str = "spin",
) -> tuple[Spins, Floats | None]:
    """Project ``p = gradient + residual`` with the built-in solver, in one pass over the layer.

    Parameters
    ----------
    gradient, residual : float32 or float64 arrays (m, d)
        The gradient, and what the last step left behind, if anything.
    gram : array (d, d) of the same dtype
        ``A = (a²/n) X'X``, fastest as `gram_matrix` returns it.
    keep_residual : bool
        Return also what this step leaves behind, as `error_feedback`.
    scale, kappa, domain
        As in `project_gradient`, but for ``"raw"``.

    Returns
    -------
    int8 array (m, d), and array (m, d) or None
        The binary step G, and the next residual.

    Raises
    ------
    ValueError
        If the sum of gradient and residual, or gram, is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> native_step(np.array([[3.0, -1.0]]), np.eye(2), keep_residual=True)
    (array([[ 1, -1]], dtype=int8), array([[1., 1.]]))
    """
    G, left, finite = _core.project_rows(
        gram,
        gradient,
        residual=residual,
        keep_residual=keep_residual,
        scale=scale if isinstance(scale, str) else "fixed",
        kappa=kappa if isinstance(scale, str) else scale,
        domain=domain,
        num_threads=torch.get_num_threads(),
    )
    if not finite:
        check_finite("gradient", gradient if residual is None else gradient + residual)
        check_finite("gram", gram)
    return G, left


def _native_spins(P: Floats, gram: Floats, scale: str | float, kappa: float, domain: str) -> Spins:
    """Project with the built-in solver, whose rows share a Gram matrix or have one each."""
    if gram.ndim == 2:
        return native_step(P, gram, scale=scale, kappa=kappa, domain=domain)[0]
    rows = [
        native_step(p[None], A, scale=scale, kappa=kappa, domain=domain)[0]
        for p, A in zip(P, gram, strict=True)
    ]
    return np.concatenate(rows)


def raw_form(P: Floats, gram: Floats, num_samples: int) -> tuple[Floats, Floats]:
    """Fields and couplings of the paper's ``min ‖v - G'U‖²`` with U_k = x_k / ‖x_k‖².

    With D = diag(1/‖x_k‖²) they are D X'V/n = D p / a and D X'X D/n, and ‖x_k‖² = n A_kk / a². Zero input
    columns have U_k = 0.

    Examples
    --------
    >>> import numpy as np
    >>> raw_form(np.ones((1, 2)), np.eye(2), num_samples=2)[1]
    array([[0.125, 0.   ],
           [0.   , 0.125]])
    """
    d = gram.shape[-1]
    squares = num_samples * d * _diagonal(gram).astype(np.float64)
    inverse = np.divide(1.0, squares, out=np.zeros_like(squares), where=squares > 0)
    fields = P * (inverse * d**0.5)
    couplings = gram * (inverse[..., :, None] * inverse[..., None, :] * d)
    return fields.astype(P.dtype), couplings.astype(P.dtype)


def _project_with(
    P: Floats,
    gram: Floats,
    signs: Spins,
    scale: str | float,
    kappa: float,
    domain: str,
    stream: tuple[int, int],
) -> Work[Spins]:
    """All rows by a solver, keeping for each row the better of sign(p) and the answer."""
    # Rows are compared at |p| of about 1: the binary step does not depend on a common factor of p and s.
    size = np.abs(P).max(axis=1).astype(np.float64)
    p = P / np.where(size > 0, size, 1.0)[:, None]
    curvature = np.einsum("md,md->m", _times(signs, gram), signs)
    ones = np.divide(np.abs(p).sum(axis=1), curvature, out=np.zeros(len(p)), where=curvature > 0)
    if not isinstance(scale, str):
        scales = scale / np.where(size > 0, size, 1.0)
    else:
        scales = ones if scale == "auto" else kappa * ones
    rows = np.flatnonzero((size > 0) & (scales > 0))
    spins = signs.copy()
    if not len(rows):
        return spins
    active, p, s = signs[rows], p[rows], scales[rows]
    if gram.ndim == 3:
        gram = gram[rows]
    for rounds in range(_AUTO_ROUNDS if scale == "auto" else 1, 0, -1):
        problem = row_problems(p, gram, s, domain=domain, starts=active)
        (solutions,) = yield [Request(problem, stream[0], rounds, stream[1])]
        active = _better_rows(solutions.best_samples, p, gram, s, active, domain)
        if scale == "auto":
            G = _as_step(active, p, domain).astype(np.float64)
            curvature = np.einsum("md,md->m", _times(G, gram), G)
            fitted = np.divide(np.einsum("md,md->m", p, G), curvature, out=s.copy(), where=curvature > 0)
            s = np.where(fitted > 0, fitted, s)
    spins[rows] = _as_step(active, p, domain)
    return spins


def _better_rows(
    found: Spins,
    p: Doubles,
    gram: Floats,
    scales: Doubles,
    starts: Spins,
    domain: str,
) -> Spins:
    """Spins of every row: the solver's best, or the start where that is not better in float64."""
    before = objective(_as_step(starts, p, domain), p, gram, scales)
    after = objective(_as_step(found, p, domain), p, gram, scales)
    if len(found) >= _TELLING_ROWS and (after > before).all():
        warnings.warn(
            "no answer of the solver is as low as the gradient's signs, which are kept; does it minimise?",
            UnhelpfulSolverWarning,
            stacklevel=2,
        )
    return np.where((after < before)[:, None], found, starts)


def _times(spins: npt.NDArray[Any], gram: Floats) -> Doubles:
    """G_j'A of every row (m, d), in float64, for a shared A (d, d) or one a row (m, d, d)."""
    A = gram.astype(np.float64)
    return cast(Doubles, spins @ A if A.ndim == 2 else (spins[:, None, :] @ A)[:, 0])


def _diagonal(gram: Floats) -> Floats:
    """Diagonal of one matrix (d,), or of every matrix (m, d)."""
    return np.diagonal(gram, axis1=-2, axis2=-1)


def _as_step(spins: Spins, p: Floats, domain: str) -> Spins:
    """Turn spins into the step G that they stand for."""
    if domain == "spin":
        return spins
    signs = np.where(p >= 0, 1, -1).astype(np.int8)
    return ((signs + spins) // 2).astype(np.int8)
