"""Batches of Ising problems and their solutions.

A batch is `b` problems of `n` spins: minimise ``s' J s + h' s`` over ``s`` in {-1, +1}^n. Every entry of
`J` counts, so an upper triangular `J` is dimod's convention. Diagonal entries add a constant. The problems
share one `J`, dense or sparse, or have one each.

`qpsbgd.problem.build` makes a batch of what a user gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qpsbgd.extras import needed_for
from qpsbgd.problem import views
from qpsbgd.problem.arrays import any_array, refuse_masked

if TYPE_CHECKING:
    import dimod

__all__ = ["CSRCouplings", "Couplings", "IsingProblem", "Solutions", "Triplets"]


class Triplets(NamedTuple):
    """Entries of a sparse matrix, each as its row, its column and its value."""

    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    values: npt.NDArray[np.floating[Any]]


class CSRCouplings(NamedTuple):
    """Sparse couplings of `n` spins in compressed rows, as `scipy.sparse.csr_matrix` stores them."""

    n: int
    indptr: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int32]
    data: npt.NDArray[np.floating[Any]]

    def triplets(self) -> Triplets:
        """Row, column and value of every entry, in the order in which they are stored.

        Examples
        --------
        >>> couplings = CSRCouplings(2, np.array([0, 1, 1]), np.array([1], dtype=np.int32), np.array([3.0]))
        >>> [array.tolist() for array in couplings.triplets()]
        [[0], [1], [3.0]]
        """
        rows = np.repeat(np.arange(self.n), np.diff(self.indptr))
        return Triplets(rows, self.indices.astype(np.int64), self.data)

    @classmethod
    def of_triplets(
        cls,
        n: int,
        rows: npt.NDArray[np.integer[Any]],
        columns: npt.NDArray[np.integer[Any]],
        values: npt.NDArray[np.floating[Any]],
    ) -> CSRCouplings:
        """Store entries in compressed rows; those of one row keep their order, and every one is kept.

        Examples
        --------
        >>> CSRCouplings.of_triplets(2, np.array([1, 0]), np.array([0, 1]), np.array([2.0, 3.0])).data
        array([3., 2.])
        """
        if np.any(rows[1:] < rows[:-1]):
            order = np.argsort(rows, kind="stable")
            rows, columns, values = rows[order], columns[order], values[order]
        indptr = np.zeros(n + 1, dtype=np.int64)
        np.cumsum(np.bincount(rows, minlength=n), out=indptr[1:])
        return cls(n, indptr, np.ascontiguousarray(columns, dtype=np.int32), np.ascontiguousarray(values))


Couplings = npt.NDArray[np.floating[Any]] | CSRCouplings


@dataclass(frozen=True)
class IsingProblem:
    """A batch: minimise ``coupling_scale * s'Js + h's + offset`` over ``s`` in {-1,+1}^n.

    Make one with `ising_problem` or `qubo_problem`: they check the values of the arrays. Made directly, only
    the shapes are checked.

    Attributes
    ----------
    h : float64 array (b, n)
        Fields.
    J : float32 or float64 array (n, n) or (b, n, n), or `CSRCouplings`
        Couplings; every entry counts. Three axes always mean one matrix for each of the b problems.
    offset : float64 array (b,)
        Constant added to each problem's energies.
    coupling_scale : float
        Factor on `J`, so that a QUBO's matrix enters without a copy (1/4).
    binary : bool
        True when the caller's variables are bits x = (s + 1) / 2.
    initial_states : int8 array (b, reads, n) or None
        Spins to start from, one start per read.

    Raises
    ------
    ValueError
        If the shapes do not fit together; the message names the array.

    Examples
    --------
    >>> IsingProblem(np.zeros((3, 2)), np.zeros((1, 2, 2)), np.zeros(3))
    Traceback (most recent call last):
    ...
    ValueError: J has shape (1, 2, 2), expected (2, 2) or (3, 2, 2) for h of shape (3, 2)
    """

    h: npt.NDArray[np.float64]
    J: Couplings
    offset: npt.NDArray[np.float64]
    coupling_scale: float = 1.0
    binary: bool = False
    initial_states: npt.NDArray[np.int8] | None = None

    def __post_init__(self) -> None:
        """Check that the shapes fit together."""
        if self.h.ndim != 2:
            raise ValueError(f"h has shape {self.h.shape}, expected (b, n)")
        b, n = self.h.shape
        if isinstance(self.J, CSRCouplings):
            if self.J.n != n:
                raise ValueError(f"J is for {self.J.n} spins, expected {n} for h of shape {self.h.shape}")
        elif self.J.shape not in ((n, n), (b, n, n)):
            raise ValueError(
                f"J has shape {self.J.shape}, expected ({n}, {n}) or ({b}, {n}, {n}) "
                f"for h of shape {self.h.shape}"
            )
        if self.offset.shape != (b,):
            raise ValueError(f"offset has shape {self.offset.shape}, expected ({b},)")
        starts = self.initial_states
        if starts is not None and (starts.ndim != 3 or (starts.shape[0], starts.shape[2]) != (b, n)):
            raise ValueError(f"initial_states has shape {starts.shape}, expected ({b}, reads, {n})")

    @property
    def num_problems(self) -> int:
        """Number of problems b in the batch."""
        return int(self.h.shape[0])

    @property
    def num_spins(self) -> int:
        """Number of spins n of each problem."""
        return int(self.h.shape[1])

    @property
    def shares_couplings(self) -> bool:
        """Whether one J serves all problems of the batch."""
        return isinstance(self.J, CSRCouplings) or self.J.ndim == 2

    def rows(self, chosen: slice) -> IsingProblem:
        """Return the chosen problems as a batch of their own; arrays are shared, not copied.

        Examples
        --------
        >>> problem = IsingProblem(np.array([[1.0], [2.0], [3.0]]), np.zeros((1, 1)), np.zeros(3))
        >>> problem.rows(slice(1, 3)).h.tolist()
        [[2.0], [3.0]]
        """
        J = self.J
        if not (isinstance(J, CSRCouplings) or J.ndim == 2):
            J = J[chosen]
        starts = None if self.initial_states is None else self.initial_states[chosen]
        return replace(self, h=self.h[chosen], J=J, offset=self.offset[chosen], initial_states=starts)

    def energies(self, spins: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Energies (b, reads) of spins (b, reads, n), in float64 and by the definition.

        Examples
        --------
        >>> problem = IsingProblem(np.array([[1.0, 0.0]]), np.array([[0.0, -1.0], [0.0, 0.0]]), np.zeros(1))
        >>> problem.energies([[[-1, -1], [1, -1]]])
        array([[-2.,  2.]])
        """
        refuse_masked("spins", spins)
        states = np.asarray(spins, dtype=np.float64)
        if isinstance(self.J, CSRCouplings):
            rows, columns, values = self.J.triplets()
            pair = (states[..., rows] * states[..., columns]) @ values.astype(np.float64)
        else:
            pair = np.einsum("brn,brn->br", states @ self.J.astype(np.float64), states)
        linear = np.einsum("brn,bn->br", states, self.h)
        total: npt.NDArray[np.float64] = self.coupling_scale * pair + linear + self.offset[:, None]
        return total

    def to_bqm(self, index: int = 0) -> dimod.BinaryQuadraticModel:
        """Problem `index` of the batch as a dimod SPIN model with variables 0..n-1.

        Examples
        --------
        >>> problem = IsingProblem(np.array([[1.0, 0.0]]), np.array([[0.0, -1.0], [0.0, 0.0]]), np.zeros(1))
        >>> float(problem.to_bqm().energy([-1, -1]))
        -2.0
        """
        bqm = self._coupled_bqm(index)
        self._add_fields(bqm, index)
        return bqm

    def to_bqms(self) -> Iterator[dimod.BinaryQuadraticModel]:
        """Every problem of the batch as `to_bqm` makes it; couplings that all share are read once.

        Examples
        --------
        >>> J = np.array([[0.0, -1.0], [0.0, 0.0]])
        >>> problem = IsingProblem(np.array([[1.0, 0.0], [0.0, -2.0]]), J, np.zeros(2))
        >>> [float(bqm.energy([-1, -1])) for bqm in problem.to_bqms()]
        [-2.0, 1.0]
        """
        shared = self._coupled_bqm(0) if self.shares_couplings else None
        for index in range(self.num_problems):
            bqm = self._coupled_bqm(index) if shared is None else shared.copy()
            self._add_fields(bqm, index)
            yield bqm

    def _add_fields(self, bqm: dimod.BinaryQuadraticModel, index: int) -> None:
        bqm.add_linear_from_array(self.h[index])
        bqm.offset += float(self.offset[index])

    def _coupled_bqm(self, index: int) -> dimod.BinaryQuadraticModel:
        """Return the couplings of one problem, without its fields and offset."""
        with needed_for("a binary quadratic model", "dimod", "ocean"):
            import dimod

        n = self.num_spins
        if isinstance(self.J, CSRCouplings):
            row, column, value = self.J.triplets()
            weight = self.coupling_scale * value.astype(np.float64)
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


@dataclass(frozen=True)
class Solutions:
    """What a solver returns for a batch of `b` problems of `n` spins, `reads` answers each.

    Attributes
    ----------
    samples : int8 array (b, reads, n)
        Spins in {-1, +1}, or bits in {0, 1} where the problem is one of bits, best read first.
    energies : float64 array (b, reads)
        Energies of the samples, ascending.
        Both are tensors where the problem was solved on a device: `to_host` gives arrays.
    info : dict
        How it was solved. Solvers of this package give at least the entries below; others may give none.
    binary : bool
        Whether the samples are bits. `Solutions.of` sets it.

    Notes
    -----
    Entries of `info`:

    ``method`` : str
        What solved the batch.
    ``sweeps`` : int or None
        Sweeps over all reads, where the solver knows.
    ``trace`` : list of b lists of (seconds, energy)
        For each problem, every new lowest energy and when it came, exact, since the search began. Only where
        a time limit, a target, `progress` or `num_best` was given.
    ``timing`` : dict of str to int
        Nanoseconds of wall time, under the names of Ocean's samplers: ``preprocessing_ns`` (the problem is
        brought into the solver's form), ``sampling_ns`` (it is solved), ``postprocessing_ns`` (answers are
        read, improved, sorted). They do not overlap. A QPU adds ``qpu_access_ns``, its own time as it
        reports or estimates it.
    """

    samples: npt.NDArray[np.int8]
    energies: npt.NDArray[np.float64]
    info: Mapping[str, Any] = field(default_factory=dict)
    binary: bool = False

    @classmethod
    def of(
        cls,
        problem: IsingProblem,
        spins: npt.NDArray[np.int8],
        *,
        energies: npt.NDArray[np.float64] | None = None,
        info: Mapping[str, Any] | None = None,
    ) -> Solutions:
        """Make solutions of spins: sort them by energy, and give bits where the problem is one of bits.

        Parameters
        ----------
        problem : IsingProblem
            The batch that the spins answer.
        spins : int8 array (b, reads, n)
            -1 and +1, in any order of reads. Equal energies keep their order.
        energies : float64 array (b, reads), optional
            Energies of the spins, where they are known; computed by `problem` otherwise.
        info : mapping, optional
            How the batch was solved.

        Examples
        --------
        >>> problem = IsingProblem(np.array([[1.0]]), np.zeros((1, 1)), np.zeros(1), binary=True)
        >>> answer = Solutions.of(problem, np.array([[[1], [-1]]], dtype=np.int8))
        >>> answer.samples.tolist(), answer.energies.tolist()
        ([[[0], [1]]], [[-1.0, 1.0]])
        """
        if energies is None:
            energies = problem.energies(spins)
        if np.any(energies[:, 1:] < energies[:, :-1]):
            order = np.argsort(energies, axis=1, kind="stable")
            spins = np.take_along_axis(spins, order[:, :, None], axis=1)
            energies = np.take_along_axis(energies, order, axis=1)
        if problem.binary:
            spins = (spins > 0).astype(np.int8)
        return cls(spins, energies, {} if info is None else info, problem.binary)

    def to_host(self) -> Solutions:
        """Return the same with NumPy arrays, where samples and energies are tensors of a device.

        Examples
        --------
        >>> from qpsbgd import solve_ising
        >>> solve_ising([1.0], [[0.0]], device="cpu", seed=0).to_host().best_samples
        array([[-1]], dtype=int8)
        """
        if isinstance(self.samples, np.ndarray):
            return self
        samples, energies = any_array("samples", self.samples), any_array("energies", self.energies)
        return replace(self, samples=samples, energies=energies)

    @property
    def best_samples(self) -> npt.NDArray[np.int8]:
        """The best sample of each problem, (b, n)."""
        return self.samples[:, 0, :]

    @property
    def best_energies(self) -> npt.NDArray[np.float64]:
        """The lowest energy of each problem, (b,)."""
        return self.energies[:, 0]

    def to_sampleset(self, index: int = 0, *, labels: Sequence[Any] | None = None) -> dimod.SampleSet:
        """Give the reads of one problem as dimod has them.

        Parameters
        ----------
        index : int
            Which problem of the batch.
        labels : sequence of n labels, optional
            Names of the variables; 0 to n-1 if not given.

        Raises
        ------
        ValueError
            If there are not n labels.
        ModuleNotFoundError
            If dimod is not installed.

        Examples
        --------
        >>> from qpsbgd import solve_qubo
        >>> solve_qubo([[-1, 2], [0, -2]], seed=0).to_sampleset(labels="ab").first.sample
        {'a': np.int8(0), 'b': np.int8(1)}
        """
        return views.as_sampleset(self, index, labels)

    def to_dataframe(self) -> Any:
        """Give a pandas data frame of all reads: the energy, then a column for each variable.

        Raises
        ------
        ModuleNotFoundError
            If pandas is not installed.

        Examples
        --------
        >>> from qpsbgd import solve_qubo
        >>> solve_qubo([[-1, 2], [0, -2]], num_reads=2, seed=0).to_dataframe()["energy"].tolist()
        [-2.0, -2.0]
        """
        return views.as_dataframe(self)

    def plot_trace(self, index: int = 0, *, axes: Any = None) -> Any:
        """Draw the lowest energy of one problem against time.

        Parameters
        ----------
        index : int
            Which problem of the batch.
        axes : matplotlib.axes.Axes, optional
            Where to draw; those of a new figure if not given.

        Returns
        -------
        matplotlib.axes.Axes
            Its ``figure.savefig(...)`` writes the picture.

        Raises
        ------
        ValueError
            If no trace was kept: one is where `time_limit`, `target_energy`, `progress` or `num_best` was
            given.
        ModuleNotFoundError
            If matplotlib is not installed.

        Examples
        --------
        >>> from qpsbgd import solve_ising
        >>> axes = solve_ising([1.0], [[0.0]], num_best=1, seed=0).plot_trace()
        >>> axes.get_ylabel()
        'lowest energy'
        """
        return views.drawn_trace(self, index, axes)

    def __repr__(self) -> str:
        """Show sizes, method and the best energies of the first problems."""
        return views.as_text(self)

    def _repr_html_(self) -> str:
        return views.as_html(self)
