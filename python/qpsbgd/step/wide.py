"""Layers much wider than they have samples: projected by their inputs X, without the matrix A (d, d).

A row keeps X G, one number a sample, so a look at all gains costs n d instead of a matrix of d² numbers. The
minima that it finds differ from those that the matrix leads to, and are as good.
"""

from __future__ import annotations

import torch

from qpsbgd import _core
from qpsbgd.problem.checks import NotFiniteError, check_finite
from qpsbgd.step.arrays import Floats, Spins

__all__ = ["by_inputs", "first_by_inputs", "is_wide", "native_step_by_inputs"]

_LEAST_WIDTH = 2048
_FEW = 24
"""From this many coordinates a sample on, a descent by X is the faster one."""
_LARGE_MATRIX = 2**30
_LEAST_WIDTH_OF_BOTH = 1536
"""Of a layer that has a matrix and makes its first flips by rounded couplings."""
_SOME = 12
"""From this many coordinates a sample on, first fields by X pay."""
_FEW_OF_LARGE = 8
"""The same where the matrix takes a GiB or more: slower by X, but it fits."""


def is_wide(width: int) -> bool:
    """Whether a layer of `width` inputs has anything done by its samples, if they are few enough.

    Examples
    --------
    >>> is_wide(1024), is_wide(2048)
    (False, True)
    """
    return width >= _LEAST_WIDTH_OF_BOTH


def by_inputs(num_samples: int, width: int, itemsize: int = 4) -> bool:
    """Whether a layer of `width` inputs is projected by its `num_samples` samples rather than by the matrix.

    Examples
    --------
    >>> by_inputs(32, 25088), by_inputs(128, 1024), by_inputs(2048, 25088)
    (True, False, True)
    """
    if width < _LEAST_WIDTH:
        return False
    large = width * width * itemsize >= _LARGE_MATRIX
    return num_samples * (_FEW_OF_LARGE if large else _FEW) <= width


def first_by_inputs(num_samples: int, width: int) -> bool:
    """Whether a layer that has a matrix has its first fields from X, its first flips by rounding it.

    Examples
    --------
    >>> first_by_inputs(128, 2048), first_by_inputs(128, 1024)
    (True, False)
    """
    return is_wide(width) and num_samples * _SOME <= width


def native_step_by_inputs(
    gradient: Floats,
    X: Floats,
    *,
    gram: Floats | None = None,
    residual: Floats | None = None,
    keep_residual: bool = False,
    scale: str | float = "relative",
    kappa: float = 1.0,
    domain: str = "spin",
) -> tuple[Spins, Floats | None]:
    """Do as `qpsbgd.step.rows.native_step` for ``A = (a²/n) X'X``, without that matrix.

    Parameters
    ----------
    gradient, residual : float32 or float64 arrays (m, d)
        The gradient, and what the last step left behind, if anything.
    X : array (n, d) of the same dtype
        The samples behind the gradient.
    gram : array (d, d) of the same dtype, optional
        A, for the last flips, where it is there.
    keep_residual, scale, kappa, domain
        As in `qpsbgd.step.rows.native_step`.

    Returns
    -------
    int8 array (m, d), and array (m, d) or None
        The binary step G, and the next residual.

    Raises
    ------
    ValueError
        If the sum of gradient and residual, or X, is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> native_step_by_inputs(np.array([[3.0, -1.0]]), np.ones((1, 2)), kappa=0.0)[0]
    array([[ 1, -1]], dtype=int8)
    """
    G, left, finite = _core.project_rows_by_inputs(
        X,
        gradient,
        A=gram,
        residual=residual,
        keep_residual=keep_residual,
        gram_scale=1.0 / X.size,
        scale=scale if isinstance(scale, str) else "fixed",
        kappa=kappa if isinstance(scale, str) else scale,
        domain=domain,
        num_threads=torch.get_num_threads(),
    )
    if not finite:
        check_finite("gradient", gradient if residual is None else gradient + residual)
        check_finite("X", X)
        raise NotFiniteError("X must be smaller: its Gram matrix overflows")
    return G, left
