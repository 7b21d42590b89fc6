"""Arrays as callers pass them: any dtype, byte order, stride, alignment, scale; some of them wrong."""

import warnings

import numpy as np
import scipy.sparse

DTYPES = [
    "f4",
    "f8",
    ">f4",
    ">f8",
    "f2",
    "g",
    "i1",
    "u1",
    ">i2",
    "i4",
    ">i8",
    "i8",
    "u8",
    "?",
    "c16",
    "O",
    "U3",
]
REAL = DTYPES[:14]
LAYOUTS = ["plain", "fortran", "reversed", "strided", "unaligned", "read-only", "transposed", "list"]
SCALES = [1.0, 1.0, 1.0, 1e-320, 1e-200, 1e-40, 1e30, 1e120, 1e300]


def laid_out(array, layout):
    """The same numbers, elsewhere in memory."""
    if array.ndim == 0:
        return array
    if layout == "fortran":
        return np.asfortranarray(array)
    if layout == "reversed":
        return np.ascontiguousarray(array[..., ::-1])[..., ::-1]
    if layout == "strided":
        wide = np.repeat(array, 3, axis=-1)
        return wide[..., ::3]
    if layout == "unaligned" and array.dtype != object:
        memory = np.empty(array.nbytes + 1, dtype=np.uint8)
        view = memory[1:].view(array.dtype).reshape(array.shape)
        view[...] = array
        return view
    if layout == "read-only":
        copy = array.copy()
        copy.flags.writeable = False
        return copy
    if layout == "transposed":
        return np.ascontiguousarray(array.T).T
    return array.tolist() if layout == "list" else array


def numbers(rng, shape, dtype):
    """Numbers that suit a dtype: mostly small integers, sometimes of any size."""
    small = rng.integers(-3, 4, size=shape)
    if dtype in ("U3", "O"):
        return small.astype(dtype)
    kind = np.dtype(dtype).kind
    if kind in "iub":
        return np.abs(small).astype(dtype) if kind in "ub" else small.astype(dtype)
    values = small * rng.choice(SCALES) if rng.random() < 0.5 else rng.normal(size=shape)
    if rng.random() < 0.1:
        values = np.sign(values) * 10.0 ** rng.uniform(-150, 150, size=shape)
    with np.errstate(over="ignore"):
        return values.astype(dtype)


def spoiled(rng, array):
    """Sometimes one entry is no number, or masked, or an integer that float64 does not hold."""
    array = np.array(array)
    fate = rng.random()
    if fate < 0.03 and array.dtype.kind == "f" and array.size:
        array.flat[rng.integers(array.size)] = rng.choice([np.nan, np.inf, -np.inf])
    elif fate < 0.06:
        return np.ma.masked_array(array, mask=rng.random(array.shape) < 0.3)
    elif fate < 0.09 and array.dtype.kind in "iu" and array.dtype.itemsize == 8 and array.size:
        array.flat[rng.integers(array.size)] = 2**62 + rng.integers(0, 3)
    return array


def odd_array(rng, shape):
    if rng.random() < 0.04:
        shape = tuple(rng.integers(0, 4, size=rng.integers(0, 4)))
    dtype = rng.choice(REAL if rng.random() < 0.9 else DTYPES)
    array = spoiled(rng, numbers(rng, shape, dtype))
    if isinstance(array, np.ma.MaskedArray):
        return array
    return laid_out(array, rng.choice(LAYOUTS))


def odd_sparse(rng, n):
    """A sparse matrix of any format, its parts spoiled in half of the cases."""
    dense = np.where(rng.random((n, n)) < 0.4, rng.normal(size=(n, n)), 0.0) * rng.choice(SCALES)
    matrix = scipy.sparse.coo_array(dense).asformat(
        rng.choice(["csr", "csc", "coo", "bsr", "dia", "lil", "dok"])
    )
    if rng.random() < 0.5:
        return matrix
    names = [name for name in ("indptr", "indices", "row", "col", "data") if _is_vector(matrix, name)]
    if names:
        name = rng.choice(names)
        with warnings.catch_warnings(), np.errstate(invalid="ignore"):
            warnings.simplefilter("ignore")  # numpy's, about what is broken here on purpose
            setattr(matrix, name, _broken_part(rng, np.array(getattr(matrix, name))))
    return matrix


def _is_vector(matrix, name):
    part = getattr(matrix, name, None)
    return isinstance(part, np.ndarray) and part.dtype != object and part.ndim == 1 and part.size > 0


def _broken_part(rng, part):
    fate = rng.integers(5)
    if fate == 0:
        return part[:-1]
    if fate == 1:
        return part.astype(rng.choice(["f8", "i8", "u8", "O", "c16"]))
    if fate == 2:
        return np.append(part, part[-1:])
    if fate == 3:
        return rng.permutation(part)
    wide = part.astype(np.int64) if part.dtype.kind in "iu" else part.copy()
    values = [-1, 2**31 - 1, 2**31, 2**32, 2**32 + 1, -(2**40), 5]
    wide[rng.integers(len(wide))] = rng.choice(values) if part.dtype.kind in "iu" else np.nan
    return wide
