"""The proximal step of the projected variant, on the device of the weight: see `qpsbgd.step.projected`.

In units of c the model's fields at w are ``A (w - W) + m / c - δ mean(diag A) W``: no product is needed to
start, since the descent starts at W.
"""

from __future__ import annotations

import torch
from torch import Tensor

from qpsbgd.step.device.descent import Rows
from qpsbgd.step.device.project import rounding_of
from qpsbgd.step.device.together import Descents, alone

__all__ = ["proximal", "proximal_tensors"]


def proximal_tensors(
    weights: Tensor, gradient: Tensor, matrices: Tensor, curvatures: Tensor, damping: float
) -> Tensor:
    """Take one proximal Newton step at once: `proximal`, to its end.

    Examples
    --------
    >>> gradient = torch.tensor([[0.5, 3.0]])
    >>> proximal_tensors(torch.ones(1, 2), gradient, torch.eye(2)[None], torch.ones(1), damping=0.0)
    tensor([[ 1., -1.]])
    """
    return alone(proximal(weights, gradient, matrices, curvatures, damping))


def proximal(
    weights: Tensor, gradient: Tensor, matrices: Tensor, curvatures: Tensor, damping: float
) -> Descents[Tensor]:
    """Take one proximal Newton step on the binary set, as `qpsbgd.step.projected.proximal_step`.

    It yields the rows that are to descend; see `qpsbgd.step.device.together`.

    Parameters
    ----------
    weights : Tensor (m, d)
        Binary weights W in the dtype of the gradient.
    gradient : Tensor (m, d)
        m.
    matrices : Tensor (q, d, d)
        A: one for each m / q rows, in order.
    curvatures : Tensor (m,)
        c.
    damping : float
        δ.

    Returns
    -------
    Tensor (m, d)
        The new weights. A row keeps its old ones unless the model falls by more than rounding explains.

    Examples
    --------
    >>> gradient = torch.tensor([[0.5, 3.0]])
    >>> alone(proximal(torch.ones(1, 2), gradient, torch.eye(2)[None], torch.ones(1), damping=0.0))
    tensor([[ 1., -1.]])
    """
    shape = (len(matrices), len(weights) // len(matrices), weights.shape[1])
    W, m = weights.reshape(shape), gradient.reshape(shape)
    c = curvatures.to(m.dtype).reshape(shape[:2])
    diagonal = matrices.diagonal(dim1=-2, dim2=-1)
    damped = damping * diagonal.mean(dim=-1)[:, None, None]
    start = m / c.where(c > 0, 1.0)[..., None] - damped * W
    rows = Rows(
        fields=start.clone(),
        spins=W.clone(),
        matrices=matrices,
        thresholds=diagonal + rounding_of(matrices),
        factor=2.0,
        active=(c > 0) & (m != 0).any(dim=-1),
    )
    yield rows
    # Nothing is known of a weight without input and gradient, and its flips do not change the model.
    unknown = (m == 0) & (diagonal[:, None] == 0)
    w = torch.where(unknown, W, rows.spins)
    change = w - W
    linear = m * change
    squares = damped[..., 0] * change.square().sum(dim=-1)
    curved = (change * (rows.fields - start)).sum(dim=-1) + squares
    quadratic = 0.5 * c * curved
    flips = change.count_nonzero(dim=-1)
    rounding = torch.finfo(m.dtype).eps * (8.0 + flips) * (linear.abs().sum(dim=-1) + quadratic.abs())
    better = linear.sum(dim=-1) + quadratic < -rounding
    return torch.where(better[..., None], w, W).reshape(weights.shape)
