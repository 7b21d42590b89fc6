"""Gram matrices of a layer's inputs: shared by its rows, by a channel group of them, or one for each row.

Nothing here holds more than one block of inputs and the matrices that are asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import numpy as np
import torch

from qpsbgd import _core
from qpsbgd.step.arrays import Floats

__all__ = ["gram_matrices", "gram_matrix", "row_chunks", "weighted_grams"]

_CHUNK_ELEMENTS = 2**24
"""Numbers in the Gram matrices of one chunk of rows: 64 MiB of float32."""


def gram_matrix(inputs: Sequence[Floats]) -> Floats:
    """Return ``A = (a²/n) X'X`` of all `inputs` (n_i, d) together, n = sum of n_i, a = 1/sqrt(d).

    Examples
    --------
    >>> import numpy as np
    >>> gram_matrix([np.ones((2, 4))])[0, :2]
    array([0.25, 0.25])
    """
    return gram_matrices(([x] for x in inputs), sum(len(x) for x in inputs))[0]


def gram_matrices(blocks: Iterable[Sequence[Floats]], num_samples: int) -> list[Floats]:
    """Return ``A = (a²/n) X'X`` of every channel group of a layer, of inputs that come in blocks.

    Parameters
    ----------
    blocks : iterable of sequences of arrays (k, d)
        In every block some rows of X for each group; only one block is held at a time.
    num_samples : int
        Rows n of all blocks together.

    Examples
    --------
    >>> import numpy as np
    >>> one, two = gram_matrices([[np.ones((1, 4)), np.eye(1, 4)]] * 2, num_samples=2)
    >>> one[0, :2], two[0, :2]
    (array([0.25, 0.25]), array([0.25, 0.  ]))
    """
    threads = torch.get_num_threads()
    totals: list[Floats] = []
    for block in blocks:
        parts = [_gram(np.ascontiguousarray(x), 1.0 / (num_samples * x.shape[1]), threads) for x in block]
        totals = [total + part for total, part in zip(totals, parts, strict=True)] if totals else parts
    return totals


def _gram(x: Floats, scale: float, threads: int) -> Floats:
    """``scale x'x``, or a MemoryError that tells how much was wanted."""
    try:
        return cast(Floats, _core.gram(x, scale, threads))
    except MemoryError:
        d = x.shape[1]
        size = d * d * x.itemsize / 2**30
        raise MemoryError(
            f"the Gram matrix of a layer of {d} inputs takes {size:.1f} GiB; without momentum, hooks, the "
            "projected variant and other solvers a layer of few samples needs none"
        ) from None


def weighted_grams(blocks: Iterable[tuple[Floats, Floats]], num_samples: int) -> Floats:
    """Return the Gram matrices ``A_j = (a²/n) X' diag(D_j²) X`` of post-activation Jacobians, (m, d, d).

    Parameters
    ----------
    blocks : iterable of pairs of arrays (k, d) and (k, m)
        Rows of X, and the slopes D of the activation there.
    num_samples : int
        Rows n of all blocks together.

    Examples
    --------
    >>> import numpy as np
    >>> weighted_grams([(np.ones((2, 4)), np.array([[1.0, 0.0], [1.0, 2.0]]))], num_samples=2)[:, 0, 0]
    array([0.25, 0.5 ])
    """
    threads = torch.get_num_threads()
    total: Floats | None = None
    for x, slopes in blocks:
        d, m = x.shape[1], slopes.shape[1]
        if total is None:
            total = np.zeros((m, d, d), dtype=x.dtype)
        for j in range(m):
            # Many activations are flat in places, and rows without slope add nothing.
            active = np.flatnonzero(slopes[:, j])
            if len(active):
                weighted = x[active] * slopes[active, j, None]
                total[j] += _core.gram(weighted, 1.0 / (num_samples * d), threads)
    if total is None:
        raise ValueError("blocks is empty, expected at least one block of inputs and slopes")
    return total


def row_chunks(num_rows: int, width: int) -> Iterator[slice]:
    """Yield slices of rows whose Gram matrices (width, width) fit together into a bounded memory.

    Examples
    --------
    >>> list(row_chunks(3, 4000))
    [slice(0, 1, None), slice(1, 2, None), slice(2, 3, None)]
    """
    step = max(1, _CHUNK_ELEMENTS // width**2)
    for first in range(0, num_rows, step):
        yield slice(first, min(first + step, num_rows))
