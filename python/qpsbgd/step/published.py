"""The objective of the code published with the paper, for comparison with the quadratic one.

For one layer with inputs X (n, d) and post-activation gradients Y (n, m), the loss gradient with respect to
φ(Z), that code searches for every output neuron j

    min over G_j in {-1,+1}^d of  Σ_i (sign(x_i'G_j) - y_ij)²  =  Σ_i (1 + y_ij²)  -  2 Σ_i y_ij sign(x_i'G_j)

with sign(0) = +1 here. The squares do not depend on G, so only the signs of Y and their weights |Y| count: it
is the fit of a binary perceptron to the signs of the gradient. It is no QUBO, since sign(x'G) is not
quadratic in G, and it ignores the sizes of x'G. The solver here flips single bits.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qpsbgd.problem import check_finite

__all__ = ["project_published", "published_objective"]

_MOST_PASSES = 100


def published_objective(
    G: npt.NDArray[np.generic], Y: npt.NDArray[np.floating], X: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    """Return ``Σ_i (sign(x_i'G_j) - y_ij)²`` of every row (m,), in float64; sign(0) = +1.

    Parameters
    ----------
    G : array (m, d) of -1 and +1
        Steps.
    Y : array (n, m)
        Post-activation gradients.
    X : array (n, d)
        Layer inputs.

    Examples
    --------
    >>> import numpy as np
    >>> Y, X = np.array([[0.5], [-2.0]]), np.array([[1.0, 1.0], [3.0, 0.0]])
    >>> published_objective(np.array([[1, 1], [-1, 1]]), np.repeat(Y, 2, axis=1), X)
    array([9.25, 1.25])
    """
    Z = X.astype(np.float64) @ G.astype(np.float64).T
    total: npt.NDArray[np.float64] = np.square(np.where(Z >= 0, 1.0, -1.0) - Y).sum(axis=0)
    return total


def project_published(
    Y: npt.NDArray[np.floating], X: npt.NDArray[np.floating], *, max_passes: int = _MOST_PASSES
) -> npt.NDArray[np.int8]:
    """Minimise the published objective of every row by descent of single bits, from the sign of Y'X.

    A pass tries the bits in order and flips each that lowers the objective; passes repeat until one flips
    nothing. It ends in a state that no single flip improves, which need not be the minimum.

    Parameters
    ----------
    Y : float array (n, m)
        Post-activation gradients: of the loss with respect to the output of the activation after the layer.
    X : float array (n, d)
        Layer inputs.
    max_passes : int
        Limit of the passes; a pass costs n m d operations.

    Returns
    -------
    int8 array (m, d)
        Steps of -1 and +1, whose objective is at most that of the sign of Y'X (sign(0) = +1).

    Raises
    ------
    ValueError
        If an array is no matrix, is empty or is not finite, their numbers of rows differ, or `max_passes` is
        below 1.

    Examples
    --------
    >>> import numpy as np
    >>> project_published(np.array([[0.5], [-2.0]]), np.array([[1.0, 1.0], [3.0, 0.0]]))
    array([[-1,  1]], dtype=int8)
    """
    for name, array in (("Y", Y), ("X", X)):
        if array.ndim != 2 or 0 in array.shape:
            raise ValueError(f"{name} must be a non-empty matrix, but has shape {array.shape}")
        check_finite(name, array)
    if len(Y) != len(X):
        raise ValueError(f"X has shape {X.shape} but Y has shape {Y.shape}; their rows are the samples")
    if max_passes < 1:
        raise ValueError(f"max_passes is {max_passes}, expected at least 1")
    y = np.ascontiguousarray(Y.T, dtype=np.float64)
    x = np.ascontiguousarray(X.T, dtype=np.float64)
    G = np.where(y @ x.T >= 0, 1.0, -1.0)
    # What is maximised, Σ_i y_ij sign(z_ij); gains below the rounding of that sum are none.
    least_gain = np.finfo(np.float64).eps * np.abs(y).sum(axis=1) * len(X)
    active = np.arange(len(y))
    for _ in range(max_passes):
        # Computed afresh in every pass, so that the rounding of many updates cannot gather.
        Z = G[active] @ x
        value = (y[active] * np.where(Z >= 0, 1.0, -1.0)).sum(axis=1)
        flipped = np.zeros(len(active), dtype=bool)
        for k, column in enumerate(x):
            candidate = Z - 2.0 * G[active, k, None] * column
            changed = (y[active] * np.where(candidate >= 0, 1.0, -1.0)).sum(axis=1)
            better = changed > value + least_gain[active]
            Z[better] = candidate[better]
            value[better] = changed[better]
            G[active[better], k] *= -1.0
            flipped |= better
        active = active[flipped]
        if not len(active):
            break
    return G.astype(np.int8)
