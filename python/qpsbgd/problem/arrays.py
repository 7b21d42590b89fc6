"""Arrays of any kind as arrays of native float32 or float64, without losing a number on the way.

What NumPy would change in silence is refused here: the mask of a masked array, integers that float64 does not
hold, the imaginary part of a complex number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from qpsbgd.problem.memory import check_memory

__all__ = ["any_array", "contiguous", "is_tensor", "real_array", "refuse_masked"]

_EXACT_IN_FLOAT32 = 2**24
_EXACT_IN_FLOAT64 = 2**53
"""Integers of at most this size are exactly representable."""


def any_array(name: str, value: Any) -> npt.NDArray[Any]:
    """`value` as NumPy makes an array of it; what it cannot be made of is named.

    Raises
    ------
    TypeError, ValueError
        If it is no array, or masked.
    MemoryError
        If it is larger than this process may be.
    """
    refuse_masked(name, value)
    try:
        array = np.asarray(_without_torch(value) if is_tensor(value) else value)
    except ValueError as error:  # ragged nested lists
        raise ValueError(f"{name} must be a rectangular array of real numbers: {error}") from None
    except (TypeError, RuntimeError, OverflowError) as error:  # a tensor that needs a gradient
        raise TypeError(f"{name} must be an array of real numbers: {error}") from None
    check_memory(f"{name} of shape {array.shape}", array.nbytes)  # a repeated view may be of any size
    return array


def is_tensor(value: Any) -> bool:
    """Whether `value` is a torch tensor: this page does not import torch."""
    return hasattr(value, "detach") and hasattr(value, "layout") and hasattr(value, "is_sparse")


def _without_torch(tensor: Any) -> Any:
    """Return a tensor's numbers as NumPy takes them: on the host, without gradient, of a dtype it knows."""
    plain = tensor.detach().to_dense() if str(tensor.layout) != "torch.strided" else tensor.detach()
    plain = plain.cpu().resolve_conj().resolve_neg()
    return plain.float() if str(plain.dtype) in _FLOATS_OF_TORCH_ALONE else plain


_FLOATS_OF_TORCH_ALONE = (
    "torch.bfloat16",
    "torch.float8_e4m3fn",
    "torch.float8_e4m3fnuz",
    "torch.float8_e5m2",
    "torch.float8_e5m2fnuz",
)
"""NumPy does not know them; float32 holds them exactly."""


def real_array(name: str, value: Any) -> npt.NDArray[Any]:
    """`value` as an array of float32 or float64; integers become float32 where that is exact.

    Other byte orders become the machine's. Numbers of more digits than float64 are rounded to it, as
    ``numpy.float64`` does.

    Raises
    ------
    TypeError
        If it does not hold real numbers.
    ValueError
        If it is ragged or masked, or if float64 does not hold one of its integers.

    Examples
    --------
    >>> real_array("h", [1, 2]).dtype, real_array("h", [2**24 + 1]).dtype
    (dtype('float32'), dtype('float64'))
    >>> real_array("h", [0, 2**53 + 1])
    Traceback (most recent call last):
    ...
    ValueError: h of shape (2,) has 9007199254740993 at (1,), an integer that float64 does not hold exactly
    """
    array = any_array(name, value)
    if array.dtype == np.float32 or array.dtype == np.float64:
        return array
    if array.dtype.kind in "biu":
        return _of_integers(name, array)
    if array.dtype.kind == "f":
        single = array.dtype.itemsize <= 4
        with np.errstate(over="ignore"):  # what overflows becomes infinite, and that is refused by name
            return array.astype(np.float32 if single else np.float64)
    hint = " (numbers beyond 64 bits, or no numbers)" if array.dtype == np.object_ else ""
    raise TypeError(f"{name} must hold real numbers, but its dtype is {array.dtype}{hint}")


def _of_integers(name: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    most = 0 if array.size == 0 else max(int(array.max()), -int(array.min()))
    if most <= _EXACT_IN_FLOAT32:
        return array.astype(np.float32)
    doubles = array.astype(np.float64)
    if most > _EXACT_IN_FLOAT64:
        for where in map(tuple, np.argwhere(np.abs(doubles) >= _EXACT_IN_FLOAT64).tolist()):
            if int(doubles[where]) != int(array[where]):
                raise ValueError(
                    f"{name} of shape {array.shape} has {array[where]} at {where}, "
                    "an integer that float64 does not hold exactly"
                )
    return doubles


def refuse_masked(name: str, value: Any) -> None:
    """Raise if an entry of a masked array is masked: NumPy would put any number in its place.

    Examples
    --------
    >>> refuse_masked("h", [[1.0, 2.0], np.ma.masked_array([1.0, 2.0], [False, True])])
    Traceback (most recent call last):
    ...
    ValueError: h has masked entries; fill them, as with h.filled(0), before they are given
    """
    if _masked(value):
        raise ValueError(
            f"{name} has masked entries; fill them, as with {name}.filled(0), before they are given"
        )


def _masked(value: Any) -> bool:
    if isinstance(value, np.ma.MaskedArray):
        return bool(np.ma.is_masked(value))
    return isinstance(value, (list, tuple)) and any(map(_masked, value))


def contiguous(what: str, array: npt.NDArray[Any], dtype: npt.DTypeLike | None = None) -> npt.NDArray[Any]:
    """`array` in C order, copied if it has to be and the memory for that is there."""
    wanted = array.dtype if dtype is None else np.dtype(dtype)
    if not (array.flags.c_contiguous and array.dtype == wanted):
        check_memory(what, array.size * wanted.itemsize)
    return np.ascontiguousarray(array, dtype=wanted)
