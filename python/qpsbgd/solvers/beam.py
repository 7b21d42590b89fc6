"""Beam search for least squares over levels: a good start where columns of X are nearly dependent.

With A = R'R the squared residual is a sum over rows of R, and row i knows symbols i, ..., d-1 only. So
symbols are decided from the last to the first, and the best `width` partial answers of every column are kept:
the K-best detector of multiple-antenna receivers; width 1 is Babai's nearest plane (1986). Columns are sorted
so that the certain symbols come first (sorted QR decomposition, Wübben et al., 2001).

Cost: d³/3 for R, and d² width multiplications a column.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["beam_search", "sorted_cholesky"]

Floats = npt.NDArray[np.float64]

_RIDGE = 1e-3
_CHUNK = 2**23
"""Numbers that the partial answers of a chunk of columns may have."""


def beam_search(A: Floats, p: Floats, levels: int, width: int) -> Floats:
    """Return symbols u (d, m) for which u'Au - 2 p_j'u is small.

    Parameters
    ----------
    A : float64 array (d, d)
        Gram matrix. A thousandth of its mean diagonal is added to the diagonal, so that R exists.
    p : float64 array (d, m)
        Projections X'y_j.
    levels : int
        Symbols are -(levels - 1), ..., levels - 1 in steps of 2.
    width : int
        Partial answers kept for every column.

    Examples
    --------
    >>> A = np.array([[1.0, 0.9], [0.9, 1.0]])
    >>> beam_search(A, A @ [[1.0], [-1.0]], levels=2, width=2).ravel().tolist()
    [1.0, -1.0]
    """
    d, m = p.shape
    ridge = _RIDGE * np.trace(A) / d + np.finfo(np.float64).tiny
    R, order = sorted_cholesky(A + ridge * np.eye(d))
    z = np.linalg.solve(R.T, p[order]).astype(np.float64, copy=False)
    symbols = np.empty((d, m))
    chunk = max(1, _CHUNK // (d * width))
    for first in range(0, m, chunk):
        part = slice(first, min(first + chunk, m))
        symbols[order, part] = _beams(R, z[:, part], levels, width).T
    return symbols


def sorted_cholesky(M: Floats) -> tuple[Floats, npt.NDArray[np.intp]]:
    """Return upper triangular R and an order with ``R'R = M[order][:, order]``, small pivots first.

    Examples
    --------
    >>> R, order = sorted_cholesky(np.diag([4.0, 1.0]))
    >>> R.tolist(), order.tolist()
    ([[1.0, 0.0], [0.0, 2.0]], [1, 0])
    """
    d = len(M)
    order = np.arange(d)
    rest = M.copy()
    R = np.zeros((d, d))
    for k in range(d):
        pivot = k + int(np.argmin(np.diagonal(rest)[k:]))
        rest[[k, pivot]] = rest[[pivot, k]]
        for array in (rest, R):
            array[:, [k, pivot]] = array[:, [pivot, k]]
        order[[k, pivot]] = order[[pivot, k]]
        # Rounding may leave a pivot of nearly dependent columns just below zero.
        R[k, k] = np.sqrt(max(rest[k, k], np.finfo(np.float64).eps * M[order[k], order[k]]))
        R[k, k + 1 :] = rest[k, k + 1 :] / R[k, k]
        rest[k + 1 :, k + 1 :] -= np.outer(R[k, k + 1 :], R[k, k + 1 :])
    return R, order


def _beams(R: Floats, z: Floats, levels: int, width: int) -> Floats:
    """Minimise ||z_j - R u||²: the best answer (m, d) at the end of every column's beam."""
    d, m = z.shape
    alphabet = 2.0 * np.arange(levels) - (levels - 1)
    u = np.zeros((m, 1, d))
    cost = np.zeros((m, 1))
    for i in range(d - 1, -1, -1):
        open_part = z[i, :, None] - u[:, :, i + 1 :] @ R[i, i + 1 :]
        costs = (cost[:, :, None] + (open_part[:, :, None] - R[i, i] * alphabet) ** 2).reshape(m, -1)
        kept = min(width, costs.shape[1])
        chosen = np.argpartition(costs, kept - 1, axis=1)[:, :kept]
        u = np.take_along_axis(u, (chosen // levels)[:, :, None], axis=1)
        u[:, :, i] = alphabet[chosen % levels]
        cost = np.take_along_axis(costs, chosen, axis=1)
    best: Floats = np.take_along_axis(u, cost.argmin(axis=1)[:, None, None], axis=1)[:, 0]
    return best
