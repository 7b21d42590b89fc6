"""Sparse matrices of scipy, of any format, as checked `CSRCouplings`.

scipy's conversions trust the indices that a matrix holds: with wrong ones they read and write memory that is
not theirs. So the parts of a matrix are checked before scipy converts it, and those of the answer afterwards.

Nothing here imports scipy: whoever passes such a matrix has done so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from qpsbgd.problem.arrays import real_array, refuse_masked
from qpsbgd.problem.checks import check_finite
from qpsbgd.problem.ising import CSRCouplings
from qpsbgd.problem.memory import check_memory

__all__ = ["sparse_couplings"]

_MOST_SPINS = 2**31 - 1


def sparse_couplings(name: str, value: Any) -> CSRCouplings:
    """Check a sparse matrix and return it in compressed rows; its entries keep their order.

    Entries that stand twice are summed, as scipy means them. Rows need not be sorted.

    Raises
    ------
    TypeError, ValueError
        If the matrix is not square, its parts do not fit together or an entry is no finite real number; the
        message names the argument and the entry.
    MemoryError
        If there are more spins than the memory has room for.
    """
    n = _order(name, value)
    _check_parts(name, value, n)
    try:
        matrix = _summable(value).tocsr()
    except MemoryError:
        raise
    except Exception as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"sparse {name} cannot be read as compressed rows: {error}") from None
    _check_compressed(name, matrix, n, n, "column")
    data = np.ascontiguousarray(real_array(name, matrix.data))
    check_finite(f"the data of sparse {name}", data)
    return CSRCouplings(
        n,
        np.ascontiguousarray(matrix.indptr, dtype=np.int64),
        np.ascontiguousarray(matrix.indices, dtype=np.int32),
        data,
    )


def _order(name: str, value: Any) -> int:
    """Rows of a square matrix."""
    shape = tuple(value.shape)
    if len(shape) != 2 or shape[0] != shape[1]:
        raise ValueError(f"sparse {name} must have shape (n, n), but has shape {shape}")
    n = int(shape[0])
    if n == 0:
        raise ValueError(f"{name} has shape {shape}; at least one spin is needed")
    if n > _MOST_SPINS:
        raise ValueError(f"sparse {name} has shape {shape}, but at most {_MOST_SPINS} spins are possible")
    check_memory(f"sparse {name} and fields of {n} spins", 40 * n)
    return n


def _check_parts(name: str, value: Any, n: int) -> None:
    """Check what the format's own arrays say, before scipy's code follows them."""
    refuse_masked(name, getattr(value, "data", None))
    check = _CHECKS.get(getattr(value, "format", ""))
    if check is not None:
        check(name, value, n)


def _check_csr(name: str, value: Any, n: int) -> None:
    _check_compressed(name, value, n, n, "column")


def _check_csc(name: str, value: Any, n: int) -> None:
    _check_compressed(name, value, n, n, "row")


def _check_bsr(name: str, value: Any, n: int) -> None:
    data = np.asarray(value.data)
    height, width = data.shape[1:] if data.ndim == 3 else (0, 0)
    if not height or not width or n % height or n % width:
        raise ValueError(f"sparse {name} of shape ({n}, {n}) has blocks of shape {data.shape[1:]}")
    _check_compressed(name, value, n // height, n // width, "block column")


def _check_coo(name: str, value: Any, n: int) -> None:
    lengths = {"row": len(value.row), "col": len(value.col), "data": len(value.data)}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"sparse {name} has {_sizes(lengths)}; they must have the same length")
    _check_indices(name, value.row, n, "row")
    _check_indices(name, value.col, n, "column")


def _check_dia(name: str, value: Any, n: int) -> None:
    data, offsets = np.asarray(value.data), np.asarray(value.offsets)
    if data.ndim != 2 or offsets.shape != (len(data),):
        raise ValueError(
            f"sparse {name} has data of shape {data.shape} and offsets of shape {offsets.shape}; "
            "every row of data is one diagonal"
        )
    # A diagonal outside of the matrix holds nothing, so any offset will do.
    _integers(name, offsets, "offsets")


_CHECKS: dict[str, Callable[[str, Any, int], None]] = {
    "csr": _check_csr,
    "csc": _check_csc,
    "bsr": _check_bsr,
    "coo": _check_coo,
    "dia": _check_dia,
}
"""Formats "lil" and "dok" are Python objects, which cannot point elsewhere: their answer is checked."""


def _check_compressed(name: str, value: Any, rows: int, columns: int, word: str) -> None:
    indptr = _integers(name, value.indptr, "indptr")
    indices, data = np.asarray(value.indices), np.asarray(value.data)
    if indptr.shape != (rows + 1,):
        raise ValueError(f"sparse {name} has indptr of shape {indptr.shape}, expected ({rows + 1},)")
    if indices.ndim != 1 or len(indices) != len(data):
        sizes = _sizes({"indices": len(indices), "data": len(data)})
        raise ValueError(f"sparse {name} has {sizes}; they must have the same length")
    if indptr[0] != 0:
        raise ValueError(f"sparse {name} has indptr[0] = {indptr[0]}, expected 0")
    falls = np.flatnonzero(indptr[1:] < indptr[:-1])
    if len(falls):
        k = int(falls[0]) + 1
        raise ValueError(
            f"sparse {name} has indptr[{k}] = {indptr[k]} after {indptr[k - 1]}; it must not fall"
        )
    if indptr[-1] != len(indices):
        raise ValueError(
            f"sparse {name} has indptr[{rows}] = {indptr[-1]}, expected {len(indices)}, the number of entries"
        )
    _check_indices(name, indices, columns, word)


def _check_indices(name: str, indices: Any, count: int, word: str) -> None:
    array = _integers(name, indices, f"{word} indices")
    if array.size and not (array.min() >= 0 and array.max() < count):
        k = int(np.flatnonzero((array < 0) | (array >= count))[0])
        raise ValueError(f"sparse {name} has {word} index {array[k]} at entry {k}, expected 0 to {count - 1}")


def _integers(name: str, value: Any, what: str) -> npt.NDArray[Any]:
    refuse_masked(name, value)
    array = np.asarray(value)
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise TypeError(
            f"sparse {name} has {what} of dtype {array.dtype} and shape {array.shape}, expected integers"
        )
    return array


def _sizes(lengths: dict[str, int]) -> str:
    return ", ".join(f"{what} of length {length}" for what, length in lengths.items())


def _summable(value: Any) -> Any:
    """Give a matrix a dtype in which scipy adds repeated entries without wrapping and reads its numbers."""
    if not hasattr(value, "dtype"):  # compressed rows of another kind than scipy's
        return value
    dtype = np.dtype(value.dtype)
    if getattr(value, "format", "") == "coo" and dtype.kind in "iu" and dtype != np.uint64:
        return value.astype(np.int64)
    return value if dtype.isnative else value.astype(dtype.newbyteorder("="))
