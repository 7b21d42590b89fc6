"""`NoisySolver`: any solver in a noisy device, which solves and reads something slightly different.

The host knows the true coefficients. Energies, the order of the reads and post-processing use them. Thermal
and diabatic errors are those of the wrapped solver: give it fewer sweeps or a smaller last beta.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from qpsbgd.problem.checks import check_integer, seed_or_random
from qpsbgd.problem.ising import CSRCouplings, IsingProblem, Solutions
from qpsbgd.solvers.native import NativeSolver
from qpsbgd.solvers.noise.device import DeviceNoise
from qpsbgd.solvers.noise.program import ControlErrors, Couplers, program
from qpsbgd.solvers.noise.readout import misread
from qpsbgd.solvers.protocol import QuboSolver, checked_solutions, timing

__all__ = ["NoisySolver"]

_CHUNK_BYTES = 64 * 2**20
_BYTES_PER_READ_SPIN = 40
"""What `misread` needs for one spin of one read."""

Spins = npt.NDArray[np.int8]


@dataclass(frozen=True)
class NoisySolver:
    """Solve as a device with `DeviceNoise` would, with any solver in place of the annealing.

    Attributes
    ----------
    solver : QuboSolver
        Solves what is programmed; its reads are the device's reads.
    noise : DeviceNoise
        The device.
    num_spin_reversal_transforms : int
        0: the problem is programmed once, as it is. k > 0: it is programmed k times, each time with a random
        choice of spins reversed. Errors that do not follow the problem's signs then differ each time.
        Every programming gives the solver's reads.
    postprocess : {None, "descent"}
        "descent": every read descends to a local minimum of the true problem.

    Notes
    -----
    The read that is best by the true coefficients comes first. The wrapped solver's ``num_reads`` decides how
    many reads there are. The same seed gives the same answer. Without noise, transforms and post-processing
    the answer is the wrapped solver's.

    The device is programmed row by row, so errors of couplings differ between rows that share J. Memory:

    - Rows with altered couplings are solved in chunks of at most 64 MiB of couplings (one row at least).
      Making a chunk takes about three times as much.
    - A shared J stays shared where couplings are exact and no spins are reversed.
    - A sparse J has couplers at its nonzeros only; its rows are programmed one at a time.

    Examples
    --------
    >>> from qpsbgd.problem import ising_problem
    >>> problem = ising_problem([[1.0, 0.0], [-1.0, 0.0]], [[0.0, -1.0], [0.0, 0.0]])
    >>> solver = NoisySolver(NativeSolver(num_reads=5), num_spin_reversal_transforms=2)
    >>> solutions = solver.solve(problem, seed=0)
    >>> solutions.samples.shape, solutions.best_samples.tolist()
    ((2, 10, 2), [[-1, -1], [1, 1]])
    """

    solver: QuboSolver
    noise: DeviceNoise = field(default_factory=DeviceNoise)
    num_spin_reversal_transforms: int = 0
    postprocess: Literal["descent"] | None = None

    def __post_init__(self) -> None:
        """Check every setting."""
        if not isinstance(self.solver, QuboSolver):
            raise TypeError(
                f"solver must have solve(problem, *, seed), but is {type(self.solver).__name__} "
                "(put a dimod sampler into a DimodSolver)"
            )
        if not isinstance(self.noise, DeviceNoise):
            raise TypeError(f"noise must be a DeviceNoise, but is {type(self.noise).__name__}")
        check_integer("num_spin_reversal_transforms", self.num_spin_reversal_transforms, 0)
        if self.postprocess not in (None, "descent"):
            raise ValueError(f"postprocess must be None or 'descent', but is {self.postprocess!r}")

    def solve(self, problem: IsingProblem, *, seed: int) -> Solutions:
        """Program, solve and read every row; the best read by the true coefficients comes first.

        ``info`` also has ``num_programmings``, ``chain_length`` and ``chain_break_fraction``: how many of the
        chains were read with qubits that differ.

        Raises
        ------
        TypeError, ValueError
            If the seed is not an integer from 0 to 2**64 - 1, or the wrapped solver does not return spins of
            the problem's shape.
        """
        begin, seed = time.perf_counter_ns(), seed_or_random(seed)
        transforms = self.num_spin_reversal_transforms
        if not (transforms or self.postprocess or self.noise.misprograms or self.noise.misreads):
            return checked_solutions(self.solver, problem, self.solver.solve(problem, seed=seed))
        gauges, readout, *error_streams = np.random.SeedSequence(seed).spawn(4)
        device = _Device(self, problem, seed, np.random.default_rng(gauges), error_streams)
        prepared = time.perf_counter_ns()
        samples = np.concatenate([device.sample(number) for number in range(max(1, transforms))], axis=1)
        broken = _misread_by_rows(samples, self.noise, np.random.default_rng(readout))
        sampled = time.perf_counter_ns()
        solutions = self._by_true_coefficients(problem, samples, seed)
        info = {
            "method": f"noisy {type(self.solver).__name__}",
            "sweeps": None,
            "num_programmings": max(1, transforms),
            "chain_length": self.noise.qubits_per_chain(problem.num_spins),
            "chain_break_fraction": broken,
            "timing": timing(begin, prepared, sampled),
        }
        return replace(solutions, info=info)

    def _by_true_coefficients(self, problem: IsingProblem, samples: Spins, seed: int) -> Solutions:
        """Post-process if asked to; sort the reads by their true energies."""
        if self.postprocess is None:
            return Solutions.of(problem, samples)
        descent = NativeSolver(method="descent", num_reads=samples.shape[1])
        return descent.solve(replace(problem, initial_states=samples), seed=seed)


class _Device:
    """One solve of a batch: programs its rows again and again, and has the wrapped solver anneal them."""

    def __init__(
        self,
        settings: NoisySolver,
        problem: IsingProblem,
        seed: int,
        gauges: np.random.Generator,
        error_streams: list[np.random.SeedSequence],
    ) -> None:
        self._settings = settings
        self._problem = problem
        self._seed = seed
        self._gauges = gauges
        self._couplers = Couplers.of(problem)
        self._errors = ControlErrors(settings.noise, problem.num_spins, error_streams)

    def sample(self, number: int) -> Spins:
        """Spins (b, reads, n) of programming `number`, as the qubits hold them at the end of the anneal."""
        problem, noise = self._problem, self._settings.noise
        own_couplings = self._settings.num_spin_reversal_transforms > 0 or noise.alters_couplings
        self._errors.restart_device()
        found = []
        for rows in _chunks(problem.num_problems, _bytes_per_row(problem) if own_couplings else 0):
            part = replace(problem.rows(rows), binary=False)
            found.append(self._sample_rows(part, self._seed_of(number, rows.start)))
        reads = min(spins.shape[1] for spins in found)
        return np.concatenate([spins[:, :reads] for spins in found])

    def _sample_rows(self, problem: IsingProblem, seed: int) -> Spins:
        b, n = problem.num_problems, problem.num_spins
        settings, gauge = self._settings, None
        if settings.num_spin_reversal_transforms > 0:
            gauge = self._gauges.choice(np.array([-1, 1], dtype=np.int8), size=(b, n))
        if gauge is not None or settings.noise.misprograms:
            problem = program(problem, self._couplers, settings.noise, self._errors, gauge)
        solver = settings.solver
        spins = checked_solutions(solver, problem, solver.solve(problem, seed=seed)).samples.copy()
        if gauge is not None:
            spins *= gauge[:, None, :]
        return spins

    def _seed_of(self, number: int, row: int) -> int:
        """Seed of the wrapped solver; the first is the caller's own."""
        if number == row == 0:
            return self._seed
        return int(np.random.SeedSequence([self._seed, number, row]).generate_state(1, np.uint64)[0])


def _misread_by_rows(samples: Spins, noise: DeviceNoise, random: np.random.Generator) -> float:
    """Misread the samples in place; return the fraction of chains whose qubits differed."""
    if not noise.misreads:
        return 0.0
    b, reads, n = samples.shape
    differ = 0
    for rows in _chunks(b, _BYTES_PER_READ_SPIN * reads * n):
        differ += int(np.count_nonzero(misread(samples[rows], noise, random)))
    return differ / samples.size


def _chunks(num_rows: int, bytes_per_row: int) -> Iterator[slice]:
    """Slices of at least one row and at most `_CHUNK_BYTES` each; rows of 0 bytes come all at once."""
    size = num_rows if bytes_per_row == 0 else max(1, _CHUNK_BYTES // bytes_per_row)
    for begin in range(0, num_rows, size):
        yield slice(begin, min(begin + size, num_rows))


def _bytes_per_row(problem: IsingProblem) -> int:
    """Size of a row's own couplings; a batch holds one sparse J only, so there a row fills a chunk."""
    if isinstance(problem.J, CSRCouplings):
        return _CHUNK_BYTES
    return problem.num_spins**2 * int(problem.J.dtype.itemsize)
