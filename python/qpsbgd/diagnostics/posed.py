"""The QUBOs that a layer's rows posed in a step: as problems, and as matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch

from qpsbgd.optim import Projection
from qpsbgd.problem import IsingProblem
from qpsbgd.projection import raw_form, row_problems

__all__ = ["SolvedRows", "is_proximal", "qubo_matrix", "solved_rows"]

Doubles = npt.NDArray[np.float64]
Spins = npt.NDArray[np.int8]


class SolvedRows(NamedTuple):
    """The problems of some rows in one step, and the answers that the step took; from `solved_rows`."""

    rows: npt.NDArray[np.intp]
    """Numbers of the rows, (r,)."""
    p: Doubles
    """Their fields p_j, (r, d)."""
    A: Doubles
    """Gram matrix, (d, d) for all, or one a row, (r, d, d)."""
    scales: Doubles
    """Their scales s_j, positive, (r,)."""
    spins: Spins
    """The answers, (r, d): G, or in the mask domain the spins G' of G = (σ + G') / 2."""
    domain: str
    """What G may be: "spin" or "mask"."""

    @property
    def problem(self) -> IsingProblem:
        """The rows as Ising problems, whose energies are ``G'AG - 2 p_j'G / s_j``."""
        return row_problems(self.p, self.A, self.scales, domain=self.domain)


def solved_rows(projection: Projection, rows: Sequence[int] | None = None) -> SolvedRows:
    """Find the problems that the rows of a layer posed in a step, and the answers that the step took.

    ``scale="auto"`` fits scale and answer in turn: the problem is that of the last scale.

    Parameters
    ----------
    projection : Projection
        The argument of a projection hook of `qpsbgd.QPSBGD`.
    rows : sequence of int, optional
        Numbers of the weight's rows; all rows of the projection if not given. A row is left out if the
        projection does not contain it, or if it poses no problem: p all zero, or scale 0.

    Raises
    ------
    IndexError
        If the weight has no such row.
    ValueError
        If the projection is a step of ``variant="projected"``.

    Examples
    --------
    >>> import torch
    >>> from qpsbgd.nn import BinaryLinear
    >>> weight = BinaryLinear(2, 1).weight
    >>> p = torch.tensor([[0.5, -0.5]])
    >>> options = {"scale": "relative", "kappa": 1.0, "domain": "spin", "num_samples": 8}
    >>> solved_rows(Projection(weight, slice(0, 1), p, p, np.eye(2), torch.tensor([[1, -1]]), options)).scales
    array([0.5])
    """
    if is_proximal(projection):
        raise ValueError("projection is a step of variant='projected', expected the continuous variant")
    options = projection.options
    A = projection.A.astype(np.float64)
    p, G = (tensor.detach().to("cpu", torch.float64).numpy() for tensor in (projection.p, projection.G))
    total = len(projection.weight)
    members = np.arange(total)[projection.rows]
    if rows is not None and not all(0 <= row < total for row in rows):
        raise IndexError(f"rows {list(rows)} are not all in a layer of {total} rows")
    inside = np.ones(len(p), dtype=np.bool_) if rows is None else np.isin(members, rows)
    chosen, p, G = members[inside], p[inside], G[inside]
    A = A[inside] if A.ndim == 3 else A
    signs = np.where(p >= 0, 1, -1)
    if options["scale"] == "raw":
        p, A = cast("tuple[Doubles, Doubles]", raw_form(p, A, options["num_samples"]))
    scales = _scales(p, A, G, signs, options["scale"], options["kappa"])
    spins = np.where(G == 0, signs, G) if options["domain"] == "spin" else 2 * G - signs
    posed = (scales > 0) & p.any(axis=1)
    A = A[posed] if A.ndim == 3 else A
    return SolvedRows(
        chosen[posed], p[posed], A, scales[posed], spins[posed].astype(np.int8), options["domain"]
    )


def is_proximal(projection: Projection) -> bool:
    """Return whether a projection is a step of ``variant="projected"``, whose rows pose other problems."""
    return projection.options.get("variant") == "projected"


def _scales(
    p: Doubles, A: Doubles, G: Doubles, signs: npt.NDArray[Any], scale: str | float, kappa: float
) -> Doubles:
    """Return the s_j of every row (m,); 0 where the row poses no problem."""
    if scale == "raw":
        return np.ones(len(p))
    if not isinstance(scale, str):
        return np.full(len(p), float(scale))
    curvature = _curvature(A, signs)
    size = np.abs(p).sum(axis=1)
    relative: Doubles = np.divide(size, curvature, out=np.zeros(len(p)), where=curvature > 0)
    if scale == "relative":
        return kappa * relative
    curvature = _curvature(A, G)
    product = np.einsum("md,md->m", p, G)
    fitted: Doubles = np.divide(product, curvature, out=relative.copy(), where=curvature > 0)
    return np.where(fitted > 0, fitted, relative)


def _curvature(A: Doubles, G: npt.NDArray[Any]) -> Doubles:
    """G_j'AG_j of every row (m,), for one A or one a row."""
    product = G @ A if A.ndim == 2 else np.einsum("md,mdk->mk", G, A)
    return cast(Doubles, np.einsum("md,md->m", product, G))


def qubo_matrix(
    p: npt.ArrayLike, A: npt.ArrayLike, scale: float, *, domain: str = "spin"
) -> tuple[Doubles, float]:
    """Write one row's problem as a QUBO: ``G'AG - 2 p'G / s = x'Qx + offset``, x in {0, 1}^d.

    With G = 2x - 1 the entries off the diagonal are 4 A_kl, those on it ``4 A_kk - 4 (A1)_k - 4 p_k / s``.
    In the mask domain G = σ x with σ = sign(p): σ_k A_kl σ_l, and ``A_kk - 2 |p_k| / s``.

    Parameters
    ----------
    p : array (d,)
        Gradient plus memory.
    A : array (d, d)
        Gram matrix, symmetric.
    scale : float
        s, positive.
    domain : {"spin", "mask"}
        What G may be.

    Returns
    -------
    float64 array (d, d), float
        Q, symmetric, and the offset.

    Raises
    ------
    ValueError
        If shapes do not fit together, or the scale is not positive.

    Examples
    --------
    >>> qubo_matrix([0.5, -0.5], [[1.0, 0.25], [0.25, 1.0]], 2.0)[0]
    array([[-2.,  1.],
           [ 1.,  0.]])
    """
    fields, gram = np.asarray(p, dtype=np.float64), np.asarray(A, dtype=np.float64)
    if fields.ndim != 1 or gram.shape != (len(fields), len(fields)):
        raise ValueError(f"p has shape {fields.shape} and A {gram.shape}, expected (d,) and (d, d)")
    if not scale > 0:
        raise ValueError(f"scale must be positive, but is {scale}")
    if domain == "mask":
        signs = np.where(fields >= 0, 1.0, -1.0)
        return signs[:, None] * gram * signs - np.diag(2.0 * np.abs(fields) / scale), 0.0
    linear = 4.0 * gram.sum(axis=1) + 4.0 * fields / scale
    return 4.0 * gram - np.diag(linear), float(gram.sum() + 2.0 * fields.sum() / scale)
