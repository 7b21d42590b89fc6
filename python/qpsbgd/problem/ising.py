"""Batches of Ising problems and their solutions, checked once at the border.

A batch is `b` problems of `n` spins: minimise ``s' J s + h' s`` over ``s`` in {-1, +1}^n.
Every entry of `J` counts, so an upper triangular `J` is dimod's convention; diagonal entries add a
constant. `J` is shared by the batch, one per problem, or sparse and shared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import dimod

__all__ = [
    "CSRCouplings",
    "Couplings",
    "IsingProblem",
    "Solutions",
    "check_finite",
    "ising_problem",
    "qubo_problem",
]

_EXACT_IN_FLOAT32 = 2**24
"""Integers of at most this size are exactly representable in float32."""


class CSRCouplings(NamedTuple):
    """Sparse couplings of `n` spins in compressed rows, as `scipy.sparse.csr_matrix` stores them."""

    n: int
    indptr: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int32]
    data: npt.NDArray[np.floating[Any]]


Couplings = npt.NDArray[np.floating[Any]] | CSRCouplings


@dataclass(frozen=True)
class Solutions:
    """What a solver returns for a batch of `b` problems of `n` spins, `reads` answers each.

    Attributes
    ----------
    samples : int8 array (b, reads, n)
        Spins in {-1, +1}, or bits in {0, 1} from `solve_qubo`, best read first.
    energies : float64 array (b, reads)
        Energies of the samples, ascending.
    info : dict
        At least ``timing`` (nanoseconds), ``method`` and ``sweeps`` as the solver used them.
    """

    samples: npt.NDArray[np.int8]
    energies: npt.NDArray[np.float64]
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def best_samples(self) -> npt.NDArray[np.int8]:
        """The best sample of each problem, (b, n)."""
        return self.samples[:, 0, :]

    @property
    def best_energies(self) -> npt.NDArray[np.float64]:
        """The lowest energy of each problem, (b,)."""
        return self.energies[:, 0]


@dataclass(frozen=True)
class IsingProblem:
    """A checked batch: minimise ``coupling_scale * s'Js + h's + offset`` over ``s`` in {-1,+1}^n.

    Make one with `ising_problem` or `qubo_problem`, which check the arrays.

    Attributes
    ----------
    h : float64 array (b, n)
        Fields.
    J : float32 or float64 array (n, n) or (b, n, n), or `CSRCouplings`
        Couplings; every entry counts.
    offset : float64 array (b,)
        Constant added to each problem's energies.
    coupling_scale : float
        Factor on `J`, so that a QUBO's matrix enters without a copy (1/4).
    binary : bool
        True when the caller's variables are bits x = (s + 1) / 2.
    initial_states : int8 array (b, reads, n) or None
        Spins to start from, one start per read.
    """

    h: npt.NDArray[np.float64]
    J: Couplings
    offset: npt.NDArray[np.float64]
    coupling_scale: float = 1.0
    binary: bool = False
    initial_states: npt.NDArray[np.int8] | None = None

    @property
    def num_problems(self) -> int:
        """Number of problems b in the batch."""
        return int(self.h.shape[0])

    @property
    def num_spins(self) -> int:
        """Number of spins n of each problem."""
        return int(self.h.shape[1])

    def energies(self, spins: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Energies (b, reads) of spins (b, reads, n), in float64 and by the definition.

        Examples
        --------
        >>> problem = ising_problem([1.0, 0.0], [[0.0, -1.0], [0.0, 0.0]])
        >>> problem.energies([[[-1, -1], [1, -1]]])
        array([[-2.,  2.]])
        """
        states = np.asarray(spins, dtype=np.float64)
        if isinstance(self.J, CSRCouplings):
            rows = np.repeat(np.arange(self.num_spins), np.diff(self.J.indptr))
            terms = states[..., rows] * states[..., self.J.indices]
            pair = terms @ self.J.data.astype(np.float64)
        else:
            pair = np.einsum("brn,brn->br", states @ self.J.astype(np.float64), states)
        linear = np.einsum("brn,bn->br", states, self.h)
        total: npt.NDArray[np.float64] = self.coupling_scale * pair + linear + self.offset[:, None]
        return total

    def to_bqm(self, index: int = 0) -> dimod.BinaryQuadraticModel:
        """Problem `index` of the batch as a dimod SPIN model with variables 0..n-1.

        Examples
        --------
        >>> float(ising_problem([1.0, 0.0], [[0.0, -1.0], [0.0, 0.0]]).to_bqm().energy([-1, -1]))
        -2.0
        """
        bqm = self._coupled_bqm(index)
        self._add_fields(bqm, index)
        return bqm

    def to_bqms(self) -> Iterator[dimod.BinaryQuadraticModel]:
        """Every problem of the batch as `to_bqm` makes it; couplings that all share are read once.

        Examples
        --------
        >>> problem = ising_problem([[1.0, 0.0], [0.0, -2.0]], [[0.0, -1.0], [0.0, 0.0]])
        >>> [float(bqm.energy([-1, -1])) for bqm in problem.to_bqms()]
        [-2.0, 1.0]
        """
        shared = None if _num_matrices(self.J) > 1 else self._coupled_bqm(0)
        for index in range(self.num_problems):
            bqm = self._coupled_bqm(index) if shared is None else shared.copy()
            self._add_fields(bqm, index)
            yield bqm

    def _add_fields(self, bqm: dimod.BinaryQuadraticModel, index: int) -> None:
        bqm.add_linear_from_array(self.h[index])
        bqm.offset += float(self.offset[index])

    def _coupled_bqm(self, index: int) -> dimod.BinaryQuadraticModel:
        """Return the couplings of one problem, without its fields and offset."""
        import dimod

        n = self.num_spins
        if isinstance(self.J, CSRCouplings):
            row = np.repeat(np.arange(n), np.diff(self.J.indptr))
            column = self.J.indices.astype(np.int64)
            weight = self.coupling_scale * self.J.data.astype(np.float64)
            trace = float(weight[row == column].sum())
            keep = row != column
            row, column, weight = row[keep], column[keep], weight[keep]
        else:
            dense = self.J if self.J.ndim == 2 else self.J[index]
            couplings = self.coupling_scale * dense.astype(np.float64)
            trace = float(np.trace(couplings))
            upper = np.triu(couplings, 1) + np.tril(couplings, -1).T
            row, column = np.nonzero(upper)
            weight = upper[row, column]
        return dimod.BinaryQuadraticModel.from_numpy_vectors(
            np.zeros(n), (row, column, weight), trace, dimod.SPIN, variable_order=list(range(n))
        )


def ising_problem(
    h: npt.ArrayLike,
    J: Any,
    *,
    initial_states: npt.ArrayLike | None = None,
    num_reads: int = 1,
) -> IsingProblem:
    """Check h, J and the initial spins, and make a batch of Ising problems of them.

    Parameters
    ----------
    h : array (n,) or (b, n)
        Fields.
    J : array (n, n) or (b, n, n), or scipy.sparse (n, n)
        Couplings; every entry counts.
    initial_states : array (b, n) or (b, reads, n) of -1 and +1, optional
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
    """
    fields = _fields("h", h)
    n = fields.shape[1]
    couplings = _couplings("J", J)
    _check_couplings_fit("J", couplings, "h", fields)
    b = max(_num_matrices(couplings), fields.shape[0])
    if fields.shape[0] != b:
        fields = np.ascontiguousarray(np.broadcast_to(fields, (b, n)))
    starts = _initial_states(initial_states, b, n, num_reads, (-1, 1))
    return IsingProblem(fields, couplings, np.zeros(b), 1.0, False, starts)


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
    Q : array (n, n) or (b, n, n), or scipy.sparse (n, n)
        Every entry counts.
    linear : array (n,) or (b, n), optional
        Linear coefficients; (b, n) makes a batch over one Q.
    initial_states : array (b, n) or (b, reads, n) of 0 and 1, optional
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
    couplings = _couplings("Q", Q)
    n = couplings.n if isinstance(couplings, CSRCouplings) else couplings.shape[-1]
    if linear is None:
        bits = np.zeros((1, n))
    else:
        bits = _fields("linear", linear)
        _check_couplings_fit("Q", couplings, "linear", bits)
    bits = np.broadcast_to(bits, (max(_num_matrices(couplings), bits.shape[0]), n))
    row_sums, total = _row_and_column_sums(couplings)
    fields = 0.25 * row_sums + 0.5 * bits
    offset = 0.25 * total + 0.5 * bits.sum(axis=1)
    starts = _initial_states(initial_states, bits.shape[0], n, num_reads, (0, 1))
    if starts is not None:
        starts = (2 * starts - 1).astype(np.int8)
    return IsingProblem(np.ascontiguousarray(fields), couplings, offset, 0.25, True, starts)


def _num_matrices(couplings: Couplings) -> int:
    """Count the matrices: one per problem when every problem brings its own, else 1."""
    return 1 if isinstance(couplings, CSRCouplings) or couplings.ndim == 2 else int(couplings.shape[0])


def _real_array(name: str, value: Any) -> npt.NDArray[Any]:
    """`value` as a numeric array of float32 or float64; integers become float32 where that is exact."""
    try:
        array = np.asarray(value)
    except ValueError as error:  # ragged nested lists
        raise ValueError(f"{name} must be a rectangular array of real numbers: {error}") from None
    if array.dtype == np.float32 or array.dtype == np.float64:
        return array
    if array.dtype == np.bool_ or np.issubdtype(array.dtype, np.integer):
        fits = array.size == 0 or (
            int(array.max()) <= _EXACT_IN_FLOAT32 and int(array.min()) >= -_EXACT_IN_FLOAT32
        )
        return array.astype(np.float32 if fits else np.float64)
    if array.dtype == np.float16:
        return array.astype(np.float32)
    raise TypeError(f"{name} must hold real numbers (float or integer), but its dtype is {array.dtype}")


def check_finite(name: str, array: npt.NDArray[Any]) -> None:
    """Raise a ValueError that names the first entry of `array` that is not finite."""
    # A sum is NaN or infinite if any entry is; only then is the entry looked for.
    with np.errstate(over="ignore", invalid="ignore"):
        suspicious = not np.isfinite(array.sum(dtype=np.float64))
    if suspicious:
        bad = np.argwhere(~np.isfinite(array))
        if len(bad):
            where = tuple(int(i) for i in bad[0])
            raise ValueError(
                f"{name} of shape {array.shape} has {array[where]} at {where}, not a finite number"
            )


def _fields(name: str, value: Any) -> npt.NDArray[np.float64]:
    array = _real_array(name, value)
    if array.ndim not in (1, 2):
        raise ValueError(f"{name} must have shape (n,) or (b, n), but has shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}; at least one problem and one spin are needed")
    check_finite(name, array)
    return np.ascontiguousarray(np.atleast_2d(array), dtype=np.float64)


def _couplings(name: str, value: Any) -> Couplings:
    if hasattr(value, "tocsr"):
        return _sparse_couplings(name, value)
    array = _real_array(name, value)
    if array.ndim not in (2, 3) or array.shape[-1] != array.shape[-2]:
        raise ValueError(f"{name} must have shape (n, n) or (b, n, n), but has shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}; at least one problem and one spin are needed")
    check_finite(name, array)
    return np.ascontiguousarray(array)


def _sparse_couplings(name: str, value: Any) -> CSRCouplings:
    matrix = value.tocsr()
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"sparse {name} must have shape (n, n), but has shape {matrix.shape}")
    n = int(matrix.shape[0])
    if n == 0:
        raise ValueError(f"{name} has shape {matrix.shape}; at least one spin is needed")
    data = np.ascontiguousarray(_real_array(name, matrix.data))
    check_finite(name, data)
    return CSRCouplings(
        n,
        np.ascontiguousarray(matrix.indptr, dtype=np.int64),
        np.ascontiguousarray(matrix.indices, dtype=np.int32),
        data,
    )


def _check_couplings_fit(name: str, couplings: Couplings, other: str, fields: npt.NDArray[Any]) -> None:
    n = couplings.n if isinstance(couplings, CSRCouplings) else couplings.shape[-1]
    if fields.shape[1] != n:
        raise ValueError(f"{other} has shape {fields.shape} but {name} is for {n} spins")
    matrices = _num_matrices(couplings)
    if matrices != 1 and fields.shape[0] not in (1, matrices):
        raise ValueError(f"{other} has shape {fields.shape} but {name} has {matrices} matrices")


def _row_and_column_sums(
    couplings: Couplings,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(Q 1 + Q' 1) of shape (b or 1, n) and 1'Q1 of shape (b or 1,), in float64."""
    if isinstance(couplings, CSRCouplings):
        row = np.repeat(np.arange(couplings.n), np.diff(couplings.indptr))
        values = couplings.data.astype(np.float64)
        sums = np.zeros(couplings.n)
        np.add.at(sums, row, values)
        np.add.at(sums, couplings.indices, values)
        return sums[None, :], np.array([values.sum()])
    rows = couplings.sum(axis=-1, dtype=np.float64)
    columns = couplings.sum(axis=-2, dtype=np.float64)
    return np.atleast_2d(rows + columns), np.atleast_1d(rows.sum(axis=-1))


def _initial_states(
    value: npt.ArrayLike | None, b: int, n: int, num_reads: int, allowed: tuple[int, int]
) -> npt.NDArray[np.int8] | None:
    if value is None:
        return None
    array = np.asarray(value)
    if array.shape == (b, n):
        array = np.broadcast_to(array[:, None, :], (b, num_reads, n))
    if array.shape != (b, num_reads, n):
        raise ValueError(
            f"initial_states has shape {array.shape}, expected ({b}, {n}) or ({b}, {num_reads}, {n})"
        )
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == np.bool_):
        raise TypeError(f"initial_states must hold numbers, but its dtype is {array.dtype}")
    low, high = allowed
    if not bool(np.all((array == low) | (array == high))):
        raise ValueError(f"initial_states must hold only {low} and {high}")
    return np.ascontiguousarray(array, dtype=np.int8)
