"""QUBO, Ising and Max-Cut instances as their files state them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = ["Instance", "Kind", "SparseRows"]

Kind = Literal["qubo", "ising", "maxcut"]

_ALWAYS_DENSE_UP_TO = 64
_NEVER_DENSE_FROM = 3000
_DENSE_FROM_DENSITY = 0.05


@dataclass(frozen=True)
class SparseRows:
    """A sparse (n, n) matrix in compressed rows, with the attributes of `scipy.sparse.csr_matrix`.

    The solvers take it like scipy's own, so that reading an instance does not need scipy.

    Attributes
    ----------
    shape : (int, int)
        The matrix is square.
    indptr : int64 array (n + 1,)
        Row i holds the entries ``indptr[i]`` to ``indptr[i + 1] - 1``.
    indices : int32 array (nnz,)
        Columns.
    data : float64 array (nnz,)
        Values.

    Examples
    --------
    >>> SparseRows.from_entries(2, np.array([0, 0]), np.array([1, 1]), np.array([2.0, 3.0])).data
    array([5.])
    """

    shape: tuple[int, int]
    indptr: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int32]
    data: npt.NDArray[np.float64]
    ndim: int = 2

    @classmethod
    def from_entries(
        cls,
        n: int,
        rows: npt.NDArray[np.int64],
        columns: npt.NDArray[np.int64],
        values: npt.NDArray[np.float64],
    ) -> SparseRows:
        """Make the (n, n) matrix of entries (rows, columns, values); repeated places add up."""
        places, of_entry = np.unique(rows * n + columns, return_inverse=True)
        data = np.bincount(of_entry, values, places.size).astype(np.float64)
        lengths = np.bincount(places // n, minlength=n)
        indptr = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        return cls((n, n), indptr, (places % n).astype(np.int32), data)

    def tocsr(self) -> SparseRows:
        """Return the matrix itself, which is in compressed rows already."""
        return self


@dataclass(frozen=True)
class Instance:
    """One QUBO, Ising or Max-Cut instance, as its file states it.

    Attributes
    ----------
    name : str
        File name without its ending.
    kind : {"qubo", "ising", "maxcut"}
        QUBO (minimise over bits), Ising (minimise over spins) or Max-Cut (maximise over spins).
    n : int
        Number of variables.
    rows, columns : int64 array (m,)
        Places of the file's lines, counted from 0.
    values : float64 array (m,)
        Values of the places; those of the same place add up. A QUBO's value off the diagonal stands for q_ij
        and for q_ji, so it counts twice. Those of an Ising problem count once; its diagonal holds the fields.
    """

    name: str
    kind: Kind
    n: int
    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]

    @property
    def sense(self) -> Literal["min", "max"]:
        """Whether the file's objective is minimised or maximised."""
        return "max" if self.kind == "maxcut" else "min"

    def solver_arguments(self) -> dict[str, Any]:
        """Arguments for `solve_qubo` (a QUBO: ``Q``) or `solve_ising` (``h`` and ``J``).

        The matrix is a float64 array (n, n), or `SparseRows` where the instance is large or sparse. With
        Max-Cut, minimising s'Js = sum w_ij s_i s_j maximises the cut, sum w_ij (1 - s_i s_j) / 2.

        Examples
        --------
        >>> one = np.array([1.0])
        >>> edge = Instance("edge", "maxcut", 2, np.array([0]), np.array([1]), one)
        >>> edge.solver_arguments()["J"]
        array([[0., 1.],
               [0., 0.]])
        """
        apart = self.rows != self.columns
        rows, columns, values = self.rows[apart], self.columns[apart], self.values[apart]
        if self.kind == "maxcut":
            return {"h": np.zeros(self.n), "J": self._matrix(rows, columns, values)}
        if self.kind == "ising":
            fields = np.bincount(self.rows[~apart], self.values[~apart], self.n)
            return {"h": fields.astype(np.float64), "J": self._matrix(rows, columns, values)}
        rows, columns = np.concatenate((self.rows, columns)), np.concatenate((self.columns, rows))
        return {"Q": self._matrix(rows, columns, np.concatenate((self.values, values)))}

    def _matrix(
        self,
        rows: npt.NDArray[np.int64],
        columns: npt.NDArray[np.int64],
        values: npt.NDArray[np.float64],
    ) -> npt.NDArray[np.float64] | SparseRows:
        dense = self.n <= _ALWAYS_DENSE_UP_TO or (
            self.n < _NEVER_DENSE_FROM and self.values.size >= _DENSE_FROM_DENSITY * self.n * self.n / 2
        )
        if not dense:
            return SparseRows.from_entries(self.n, rows, columns, values)
        matrix = np.zeros((self.n, self.n))
        np.add.at(matrix, (rows, columns), values)
        return matrix

    def value(self, samples: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Objective of samples in the file's own terms: x'Qx of bits, the energy or the cut weight of spins.

        Parameters
        ----------
        samples : array (..., n)
            Bits {0, 1} for a QUBO, spins {-1, +1} otherwise.

        Returns
        -------
        float64 array (...)
            One value per sample.

        Raises
        ------
        ValueError
            If the last dimension is not n.

        Examples
        --------
        >>> one = np.array([1.0])
        >>> edge = Instance("edge", "maxcut", 2, np.array([0]), np.array([1]), one)
        >>> edge.value([[1, 1], [1, -1]])
        array([0., 1.])
        """
        states = np.asarray(samples)
        if states.ndim == 0 or states.shape[-1] != self.n:
            raise ValueError(f"samples have shape {states.shape}, but {self.name} has {self.n} variables")
        flat = states.reshape(-1, self.n)
        values = np.empty(len(flat))
        diagonal = self.rows == self.columns
        twice = np.where(diagonal, 1.0, 2.0)
        for index, state in enumerate(flat):  # one at a time: (samples, lines) need not fit in memory
            left, right = state[self.rows], state[self.columns]
            if self.kind == "maxcut":
                values[index] = self.values[left != right].sum()
            elif self.kind == "ising":
                values[index] = self.values[diagonal] @ left[diagonal] + self.values[~diagonal] @ (
                    left * right
                )[~diagonal].astype(np.float64)
            else:
                values[index] = (self.values * twice)[(left != 0) & (right != 0)].sum()
        return values.reshape(states.shape[:-1])
