"""From what users give to a checked batch: dtypes, shapes and values, and bits as spins.

After this page the couplings of a batch are (n, n), (b, n, n) or sparse (n, n), and no other shape. A stack
(1, n, n) of one matrix becomes (n, n) where several problems share it.

Problems over bits become problems over spins here: `qubo_problem`, `fields_of_bits`. `Solutions.of` gives
their answers as bits again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from qpsbgd.problem.arrays import any_array, contiguous, real_array
from qpsbgd.problem.checks import check_finite
from qpsbgd.problem.foreign import (
    is_model,
    is_sparse_tensor,
    matrix_of_dict,
    model_parts,
    tensor_triplets,
    vector_of_dict,
)
from qpsbgd.problem.ising import Couplings, CSRCouplings, IsingProblem
from qpsbgd.problem.memory import check_memory
from qpsbgd.problem.sparse import sparse_couplings

__all__ = ["check_energies", "fields_of_bits", "ising_problem", "qubo_problem"]

Doubles = npt.NDArray[np.float64]

_MOST_ENERGY = 2.0**1020
"""What absolute values of a problem may add up to: energies and their parts then stay in float64's range."""


def ising_problem(
    h: Any,
    J: Any = None,
    *,
    initial_states: npt.ArrayLike | None = None,
    num_reads: int = 1,
) -> IsingProblem:
    """Check h, J and the initial spins, and make a batch of Ising problems of them.

    Parameters
    ----------
    h : array (n,) or (b, n), dict {i: value}, or None
        Fields. One row of fields serves every matrix of J. None: no fields.
    J : array (n, n) or (b, n, n), sparse (n, n), dict {(i, j): value}, or dimod model
        Couplings; every entry counts. One matrix serves every row of h. A model of variables 0..n-1 may stand
        for h and J, as either of them.
    initial_states : array (n,), (b, n) or (b, reads, n) of -1 and +1, optional
        Spins to start from.
    num_reads : int
        Number of reads that an initial state of shape (b, n) is repeated for.

    Raises
    ------
    TypeError
        If an array does not hold real numbers.
    ValueError
        If shapes do not fit together, a batch is empty or a value is not finite.

    Examples
    --------
    >>> ising_problem([1.0, 0.0], [[0.0, -1.0], [0.0, 0.0]]).num_spins
    2
    >>> ising_problem([[1.0, 0.0], [0.0, 1.0]], [[[0.0, -1.0], [0.0, 0.0]]]).J.shape
    (2, 2)
    """
    offset = 0.0
    if is_model(h if J is None else J):
        if J is not None and h is not None:
            raise TypeError("h must be None where J is a model, which has fields of its own")
        h, J, offset = model_parts("J" if h is None else "h", h if J is None else J, binary=False)
    elif J is None:
        raise TypeError("J must be given: a matrix, a dict or a dimod model")
    couplings = _couplings("J", J, _num_variables(h, J))
    n = couplings.n if isinstance(couplings, CSRCouplings) else couplings.shape[-1]
    fields = np.zeros((1, n)) if h is None else _fields("h", h, n)
    _check_couplings_fit("J", couplings, "h", fields)
    check_energies("h and J", fields, couplings)
    b = max(_num_matrices(couplings), len(fields))
    starts = _initial_states(initial_states, b, n, num_reads, (-1, 1))
    return IsingProblem(
        _for_each(fields, b), _shared_if_single(couplings, b), np.full(b, offset), initial_states=starts
    )


def qubo_problem(
    Q: Any,
    linear: npt.ArrayLike | None = None,
    *,
    initial_states: npt.ArrayLike | None = None,
    num_reads: int = 1,
) -> IsingProblem:
    """Check a batch of QUBOs, minimise ``x'Qx + linear'x`` over {0,1}, and rewrite it in spins.

    With x = (s + 1) / 2 the couplings are Q / 4, the fields (Q 1 + Q' 1) / 4 + linear / 2; `Q` itself is
    not copied.

    Parameters
    ----------
    Q : array (n, n) or (b, n, n), sparse (n, n), dict {(i, j): value}, or dimod model
        Every entry counts. One matrix serves every row of `linear`. A model has variables 0..n-1.
    linear : array (n,) or (b, n), or dict {i: value}, optional
        Linear coefficients; (b, n) makes a batch over one Q.
    initial_states : array (n,), (b, n) or (b, reads, n) of 0 and 1, optional
        Bits to start from.
    num_reads : int
        Number of reads that an initial state of shape (b, n) is repeated for.

    Raises
    ------
    TypeError, ValueError
        As `ising_problem`.

    Examples
    --------
    >>> problem = qubo_problem([[-1.0, 2.0], [0.0, -1.0]])
    >>> problem.energies([[[-1, -1], [1, -1], [1, 1]]])
    array([[ 0., -1.,  0.]])
    """
    constant = 0.0
    if is_model(Q):
        if linear is not None:
            raise TypeError("linear must be None where Q is a model, which has linear terms of its own")
        linear, Q, constant = model_parts("Q", Q, binary=True)
    couplings = _couplings("Q", Q, _num_variables(linear, Q))
    n = couplings.n if isinstance(couplings, CSRCouplings) else couplings.shape[-1]
    bits = np.zeros((1, n))
    if linear is not None:
        bits = _fields("linear", linear, n)
        _check_couplings_fit("Q", couplings, "linear", bits)
    check_energies("Q" if linear is None else "Q and linear", bits, couplings)
    b = max(_num_matrices(couplings), len(bits))
    fields, offset = fields_of_bits(_for_each(bits, b), *_row_and_column_sums(couplings))
    starts = _initial_states(initial_states, b, n, num_reads, (0, 1))
    if starts is not None:
        starts = 2 * starts - np.int8(1)
    return IsingProblem(fields, _shared_if_single(couplings, b), offset + constant, 0.25, True, starts)


def fields_of_bits(linear: Doubles, sums: Doubles, totals: Doubles) -> tuple[Doubles, Doubles]:
    """Fields and offset in spins of ``x'Qx + linear'x`` over bits x = (s + 1) / 2, whose couplings are Q / 4.

    Parameters
    ----------
    linear : float64 array (b, n)
        Linear coefficients.
    sums : float64 array (b, n) or (1, n)
        ``Q 1 + Q' 1``.
    totals : float64 array (b,) or (1,)
        ``1' Q 1``.

    Returns
    -------
    float64 arrays (b, n) and (b,)
        ``linear / 2 + sums / 4`` and ``linear' 1 / 2 + totals / 4``.

    Examples
    --------
    >>> fields_of_bits(np.array([[1.0, 0.0]]), np.array([[2.0, 2.0]]), np.array([2.0]))
    (array([[1. , 0.5]]), array([1.]))
    """
    return 0.25 * sums + 0.5 * linear, 0.25 * totals + 0.5 * linear.sum(axis=1)


def check_energies(names: str, fields: Doubles, couplings: Couplings) -> None:
    """Raise unless every energy, and every sum on the way to it, is a float64 number.

    Parameters
    ----------
    names : str
        The arguments that hold the coefficients, for the message.
    fields : float64 array (1 or b, n)
    couplings : as in `IsingProblem`

    Examples
    --------
    >>> check_energies("h and J", np.array([[1.0]]), np.array([[1e308]]))
    Traceback (most recent call last):
    ...
    ValueError: h and J are too large: an energy overflows float64 (problem 0 adds up to 1e+308)
    """
    values = couplings.data if isinstance(couplings, CSRCouplings) else couplings
    with np.errstate(over="ignore"):
        bound = fields.shape[1] * _largest(fields) + values.size * _largest(values)
        if bound < _MOST_ENERGY:  # nearly always, and without an array of absolute values
            return
        axes = None if values.ndim < 3 else (1, 2)
        sums = np.abs(fields).sum(axis=1) + np.abs(values).sum(axis=axes, dtype=np.float64)
    worst = int(sums.argmax())
    if not sums[worst] < _MOST_ENERGY:
        raise ValueError(
            f"{names} are too large: an energy overflows float64 (problem {worst} adds up to {sums[worst]:g})"
        )


def _largest(values: npt.NDArray[np.floating[Any]]) -> float:
    """Return the largest absolute value."""
    return max(float(values.max()), -float(values.min())) if values.size else 0.0


def _num_matrices(couplings: Couplings) -> int:
    return 1 if isinstance(couplings, CSRCouplings) or couplings.ndim == 2 else len(couplings)


def _for_each(rows: Doubles, b: int) -> Doubles:
    """Repeat a single row of fields for each of `b` problems."""
    if len(rows) == b:
        return rows
    return contiguous(f"fields of {b} problems", np.broadcast_to(rows, (b, rows.shape[1])))


def _shared_if_single(couplings: Couplings, b: int) -> Couplings:
    """Take the matrix out of a stack of one, where several problems share it."""
    if isinstance(couplings, CSRCouplings) or couplings.ndim == 2 or len(couplings) == b:
        return couplings
    shared: npt.NDArray[np.floating[Any]] = couplings[0]
    return shared


def _num_variables(linear: Any, quadratic: Any) -> int | None:
    """Variables that a dict of couplings is for: as many as linear coefficients, or as the keys ask for."""
    if not isinstance(quadratic, Mapping) or linear is None:
        return None
    if not isinstance(linear, Mapping):
        shape = tuple(linear.shape) if hasattr(linear, "shape") else np.shape(linear)
        return int(shape[-1]) if shape else None
    keys = [*linear, *(index for key in quadratic if isinstance(key, tuple) for index in key)]
    integers = [key for key in keys if isinstance(key, (int, np.integer))]
    return 1 + max(integers, default=-1) if len(integers) == len(keys) else None  # others are refused by name


def _fields(name: str, value: Any, n: int) -> Doubles:
    array = vector_of_dict(name, value, n) if isinstance(value, Mapping) else real_array(name, value)
    if array.ndim not in (1, 2):
        raise ValueError(f"{name} must have shape (n,) or (b, n), but has shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}; at least one problem and one spin are needed")
    check_finite(name, array)
    return contiguous(f"fields {name}", np.atleast_2d(array), np.float64)


def _couplings(name: str, value: Any, n: int | None) -> Couplings:
    if hasattr(value, "tocsr"):
        return sparse_couplings(name, value)
    if isinstance(value, Mapping) or is_sparse_tensor(value):
        given = matrix_of_dict(name, value, n) if isinstance(value, Mapping) else tensor_triplets(name, value)
        if isinstance(given, CSRCouplings):
            check_finite(f"the data of sparse {name}", given.data)
            return given
        value = given
    array = real_array(name, value)
    if array.ndim not in (2, 3) or array.shape[-1] != array.shape[-2]:
        raise ValueError(f"{name} must have shape (n, n) or (b, n, n), but has shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}; at least one problem and one spin are needed")
    check_finite(name, array)
    return contiguous(f"couplings {name}", array)


def _check_couplings_fit(name: str, couplings: Couplings, other: str, fields: Doubles) -> None:
    n = couplings.n if isinstance(couplings, CSRCouplings) else couplings.shape[-1]
    if fields.shape[1] != n:
        raise ValueError(f"{other} has shape {fields.shape} but {name} is for {n} spins")
    matrices = _num_matrices(couplings)
    if matrices != 1 and fields.shape[0] not in (1, matrices):
        raise ValueError(f"{other} has shape {fields.shape} but {name} has {matrices} matrices")


def _row_and_column_sums(couplings: Couplings) -> tuple[Doubles, Doubles]:
    """(Q 1 + Q' 1) of shape (b or 1, n) and 1'Q1 of shape (b or 1,), in float64."""
    if isinstance(couplings, CSRCouplings):
        rows, columns, entries = couplings.triplets()
        values = entries.astype(np.float64)
        sums = np.zeros(couplings.n)
        np.add.at(sums, rows, values)
        np.add.at(sums, columns, values)
        return sums[None, :], np.array([values.sum()])
    row_sums = couplings.sum(axis=-1, dtype=np.float64)
    column_sums = couplings.sum(axis=-2, dtype=np.float64)
    return np.atleast_2d(row_sums + column_sums), np.atleast_1d(row_sums.sum(axis=-1))


def _initial_states(
    value: npt.ArrayLike | None, b: int, n: int, num_reads: int, allowed: tuple[int, int]
) -> npt.NDArray[np.int8] | None:
    if value is None:
        return None
    array = any_array("initial_states", value)
    if array.shape == (n,):
        array = np.broadcast_to(array, (b, n))
    if array.shape == (b, n):
        array = np.broadcast_to(array[:, None, :], (b, num_reads, n))
    if array.shape != (b, num_reads, n):
        raise ValueError(
            f"initial_states has shape {array.shape}, expected ({b}, {n}) or ({b}, {num_reads}, {n})"
        )
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"initial_states must hold numbers (float or integer), but its dtype is {array.dtype}"
        )
    check_memory(f"initial states of {num_reads} reads", array.size)
    low, high = allowed
    if not bool(np.all((array == low) | (array == high))):
        raise ValueError(f"initial_states must hold only {low} and {high}")
    return np.ascontiguousarray(array, dtype=np.int8)
