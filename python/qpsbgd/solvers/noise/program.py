"""What a quantum annealer does to a problem on the way in.

A row (one problem of the batch) is scaled into the device's ranges and rounded to its precision, and control
errors are added: `program`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qpsbgd.problem.ising import CSRCouplings, IsingProblem
from qpsbgd.solvers.noise.device import DeviceNoise

__all__ = ["ControlErrors", "Couplers", "program"]

Floats = npt.NDArray[np.floating[Any]]
Doubles = npt.NDArray[np.float64]
Spins = npt.NDArray[np.int8]


class Couplers(NamedTuple):
    """Couplers of a row: all pairs of spins, as in a clique embedding, or those that a sparse J couples.

    Attributes
    ----------
    i, j : int arrays (pairs,)
        The spins of each coupler, i < j, in rising order.
    shared : array (1, pairs) or None
        The couplings, where all rows share J.
    """

    i: npt.NDArray[np.intp]
    j: npt.NDArray[np.intp]
    shared: Floats | None

    @classmethod
    def of(cls, problem: IsingProblem) -> Couplers:
        """Find the couplers that each row of the batch needs."""
        n = problem.num_spins
        if not isinstance(problem.J, CSRCouplings):
            i, j = np.triu_indices(n, 1)
            shared = problem.J.ndim == 2
            return cls(i, j, _both_halves(problem.J[None], problem.coupling_scale) if shared else None)
        row, column, value = problem.J.triplets()
        apart = row != column
        low, high = np.minimum(row, column)[apart], np.maximum(row, column)[apart]
        keys, place = np.unique(low * n + high, return_inverse=True)
        sums = np.bincount(place, value[apart].astype(np.float64), minlength=len(keys))
        return cls(keys // n, keys % n, problem.coupling_scale * sums[None])

    def couplings(self, problem: IsingProblem) -> Floats:
        """Return the couplings of these rows, (1, pairs) where they share J and (b, pairs) where not."""
        if self.shared is not None:
            return self.shared
        assert not isinstance(problem.J, CSRCouplings)
        return _both_halves(problem.J, problem.coupling_scale)


class ControlErrors:
    """Gaussian errors of one solve, of unit variance: what the device keeps, and fresh ones.

    Parameters
    ----------
    noise : DeviceNoise
        The device.
    num_spins : int
        Spins of a row; rows of another size lie on other qubits.
    streams : two SeedSequence
        For the fresh errors of fields and couplers.
    """

    def __init__(self, noise: DeviceNoise, num_spins: int, streams: Sequence[np.random.SeedSequence]) -> None:
        self._weights = np.sqrt(noise.persistent), np.sqrt(1.0 - noise.persistent)
        self._device_entropy = [noise.device_seed, num_spins]
        self._fresh = [np.random.default_rng(stream) for stream in streams]
        self.restart_device()

    def restart_device(self) -> None:
        """Go back to the first row's qubits: they have the same persistent errors in every programming."""
        streams = np.random.SeedSequence(self._device_entropy).spawn(2)
        self._device = [np.random.default_rng(stream) for stream in streams]

    def of_fields(self, shape: tuple[int, int]) -> Floats:
        """Draw the errors of the next rows' fields, (rows, n)."""
        return self._draw(0, shape)

    def of_couplers(self, shape: tuple[int, int]) -> Floats:
        """Draw the errors of the next rows' couplers, (rows, pairs)."""
        return self._draw(1, shape)

    def _draw(self, kind: int, shape: tuple[int, int]) -> Floats:
        drawn = np.zeros(shape, dtype=np.float32)
        for weight, streams in zip(self._weights, (self._device, self._fresh), strict=True):
            if weight > 0:
                normal = streams[kind].standard_normal(shape, dtype=np.float32)
                normal *= np.float32(weight)
                drawn += normal
        return drawn


def program(
    problem: IsingProblem,
    couplers: Couplers,
    noise: DeviceNoise,
    errors: ControlErrors,
    gauge: Spins | None = None,
) -> IsingProblem:
    """Return what the device does in place of these rows, in the caller's units.

    Parameters
    ----------
    problem : IsingProblem
        Rows of the batch.
    couplers : Couplers
        Of these rows.
    noise, errors : DeviceNoise, ControlErrors
        The device and its errors.
    gauge : int8 array (b, n) of -1 and +1, optional
        Spins that are programmed reversed.

    Returns
    -------
    IsingProblem
        With couplings (b, n, n), upper triangular, where they are altered, else with those of `problem`.
        Diagonals of J and offsets, which are constants, are not programmed.
    """
    wanted = couplers.couplings(problem)
    scale = _device_scale(problem.h, wanted, noise)
    chain = noise.qubits_per_chain(problem.num_spins)
    h = _rounded(problem.h, scale / chain, noise.h_range, noise.precision_bits)
    starts = problem.initial_states
    if gauge is not None:
        h = h * gauge
        starts = None if starts is None else starts * gauge[:, None, :]
    if noise.h_error > 0:
        # The errors of a chain's qubits add up.
        h = h + np.sqrt(chain) * noise.h_error / scale * errors.of_fields(h.shape)
    if gauge is None and not noise.alters_couplings:
        return replace(problem, h=h)
    scale = scale.astype(wanted.dtype)
    J = _rounded(wanted, scale, noise.J_range, noise.precision_bits)
    if gauge is not None:
        J = J * (gauge[:, couplers.i] * gauge[:, couplers.j])
    if noise.J_error > 0:
        deviations = errors.of_couplers((len(h), len(couplers.i)))
        deviations *= noise.J_error / scale
        J = J + deviations
    return replace(problem, h=h, J=_matrices(problem, couplers, J), coupling_scale=1.0, initial_states=starts)


def _both_halves(J: Floats, factor: float) -> Floats:
    """``factor * (J_ij + J_ji)`` of all pairs i < j, (b, pairs) for J (b, n, n)."""
    n = J.shape[1]
    pairs: Floats = np.empty((len(J), n * (n - 1) // 2), dtype=J.dtype)
    for i, place in enumerate(_row_places(n)):
        np.add(J[:, i, i + 1 :], J[:, i + 1 :, i], out=pairs[:, place])
    pairs *= factor
    return pairs


def _row_places(n: int) -> Iterator[slice]:
    """Where the pairs (i, i+1), ..., (i, n-1) lie among all pairs, for i = 0, 1, ... n-1."""
    end = 0
    for i in range(n):
        begin, end = end, end + n - 1 - i
        yield slice(begin, end)


def _device_scale(h: Doubles, couplings: Floats, noise: DeviceNoise) -> Doubles:
    """Factor (b, 1) from each row's coefficients to the device's units."""
    n = h.shape[1]
    chain = noise.qubits_per_chain(n)
    scale = _headroom(chain * noise.h_range, np.abs(h).max(axis=1))
    if couplings.shape[1]:
        largest = np.abs(couplings).max(axis=1).astype(np.float64)
        scale = np.minimum(scale, _headroom(noise.J_range, largest))
        if chain > 1:
            # sqrt(mean degree) * rms = sqrt(2 / n * sum of squares) over the couplers in use.
            torque = np.sqrt(2.0 / n * np.einsum("bp,bp->b", couplings, couplings, dtype=np.float64))
            scale = np.minimum(scale, _headroom(noise.chain_range, noise.chain_strength * torque))
    # A row without any coefficient is programmed as it is.
    scale[~np.isfinite(scale)] = 1.0
    return scale[:, None]


def _headroom(limit: float, largest: Doubles) -> Doubles:
    return np.divide(limit, largest, out=np.full_like(largest, np.inf), where=largest > 0)


def _rounded(values: npt.NDArray[Any], scale: Floats, limit: float, bits: int | None) -> npt.NDArray[Any]:
    """Values whose multiples by `scale` are whole steps of a device that reaches from -limit to limit."""
    if bits is None:
        return values
    step = limit / (2 ** (bits - 1) - 1) / scale
    steps = values / step
    np.rint(steps, out=steps)
    steps *= step
    rounded: npt.NDArray[Any] = steps
    return rounded


def _matrices(problem: IsingProblem, couplers: Couplers, J: Floats) -> Floats | CSRCouplings:
    """Couplings (b, pairs) as the upper triangular matrices of an `IsingProblem`."""
    n = problem.num_spins
    if isinstance(problem.J, CSRCouplings):
        return CSRCouplings.of_triplets(n, couplers.i, couplers.j, J[0])
    matrices: Floats = np.zeros((len(problem.h), n, n), dtype=problem.J.dtype)
    for i, place in enumerate(_row_places(n)):
        matrices[:, i, i + 1 :] = J[:, place]
    return matrices
