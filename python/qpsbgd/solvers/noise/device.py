"""What a quantum annealer does to a problem on the way in and to the spins on the way out.

On the way in, a row (one problem of the batch) is scaled into the device's ranges, rounded to its precision,
and control errors are added: `program`. On the way out, chains break, qubits are misread, and each chain's
vote gives its spin: `misread`. What lies between, the annealing, is any solver's: see `noise`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from qpsbgd.problem.ising import CSRCouplings, IsingProblem
from qpsbgd.solvers.native import _integer, _real

__all__ = ["ControlErrors", "Couplers", "DeviceNoise", "misread", "program"]

VOTES = ("majority_vote", "weighted_random")

Floats = npt.NDArray[np.floating[Any]]
Doubles = npt.NDArray[np.float64]
Spins = npt.NDArray[np.int8]


@dataclass(frozen=True, kw_only=True)
class DeviceNoise:
    """How far a device is from what it is asked to do.

    Every row occupies a clique embedding of its own: a chain of qubits for each spin, over which its field is
    spread, and one coupler for each pair of spins. Coefficients are in the device's units, in which couplings
    reach from -`J_range` to `J_range`; a row is scaled to fill the ranges, as by D-Wave's ``auto_scale``.

    Attributes
    ----------
    h_error, J_error : float
        Standard deviations of the Gaussian control errors of each qubit's field and each coupler [1]_.
    persistent : float
        Fraction of these errors' variance that the device keeps from one programming to the next, 0 to 1;
        the rest is drawn anew.
    precision_bits : int or None
        Fields and couplings are rounded to ``2**bits - 1`` equally spaced values from end to end of their
        range [1]_; None: not rounded.
    readout_error : float
        Probability that a qubit is misread [2]_, at most 1/2.
    chain_break : float
        Probability that a link between neighbouring qubits of a chain breaks in a read, so that a chain of L
        qubits is broken with probability ``1 - (1 - chain_break)**(L - 1)`` [3]_. A broken chain falls into
        two parts, at a link chosen at random, which show opposite values; a qubit chosen at random is right.
    chain_length : int or None
        Qubits in a chain; None: as for a clique of n spins on a Zephyr graph, ``ceil((n + 8) / 16) + 1`` or,
        up to 4 spins, 1 [4]_.
    chain_strength : float
        Coupling within chains in units of ``sqrt(mean degree) * rms(J)``, as the prefactor of Ocean's
        ``uniform_torque_compensation``. Chains share the range with the problem: strong ones make it small.
    vote : {"majority_vote", "weighted_random"}
        How a chain whose qubits differ is resolved: by the majority (a tie by lot), or by a qubit at random.
    h_range, J_range, chain_range : float
        Largest magnitudes of a qubit's field, of a coupling of the problem, and of a coupling within a chain:
        ends of a D-Wave solver's ``h_range``, ``j_range`` and ``extended_j_range`` [5]_.
    device_seed : int
        Chooses the device: its persistent errors.

    Notes
    -----
    The defaults are D-Wave's own figures, from docs.dwavequantum.com/en/latest/quantum_research/, the worse
    end where they span a range. No figure is given for `persistent`: errors.html names fixed sources and
    drifting ones.

    .. [1] errors.html: standard deviation of δh .010 to .025 and of δJ .0095 to .0155 in the course of the
       anneal; rounding by up to .0045 in J (steps of .009 over a width of 2: 7.8 bits) and .008 in h.
       Measured on a D-Wave 2X, called representative.
    .. [2] solver_properties_specific.html: at most .001, on Advantage and Advantage2.
    .. [3] embedding_guidance.html: 17.5 % of the reads of a 30-spin clique with chains of up to 6 qubits
       had a broken chain: ``1 - (1 - .0013)**(30 * 5) = .177``.
    .. [4] Boothby, King, Raymond, "Zephyr Topology of D-Wave Quantum Processors", 2021. It is what
       ``minorminer.busclique`` finds on a Zephyr graph Z12 without defects, up to its largest clique, 184.
    .. [5] solver_properties_all.html.

    Examples
    --------
    >>> DeviceNoise().qubits_per_chain(64)
    6
    >>> DeviceNoise().scaled(2.0).precision_bits
    7
    """

    h_error: float = 0.025
    J_error: float = 0.015
    persistent: float = 0.5
    precision_bits: int | None = 8
    readout_error: float = 0.001
    chain_break: float = 0.0013
    chain_length: int | None = None
    chain_strength: float = 1.414
    vote: Literal["majority_vote", "weighted_random"] = "majority_vote"
    h_range: float = 4.0
    J_range: float = 1.0
    chain_range: float = 2.0
    device_seed: int = 0

    def __post_init__(self) -> None:
        """Check every parameter."""
        for name in ("h_error", "J_error", "chain_strength"):
            _within(name, getattr(self, name), 0.0, None)
        for name, most in (("persistent", 1.0), ("readout_error", 0.5), ("chain_break", 1.0)):
            _within(name, getattr(self, name), 0.0, most)
        for name in ("h_range", "J_range", "chain_range"):
            if not _real(name, getattr(self, name)) > 0:
                raise ValueError(f"{name} must be positive, but is {getattr(self, name)}")
        if self.precision_bits is not None and _integer("precision_bits", self.precision_bits, 2) > 52:
            raise ValueError(f"precision_bits must be at most 52, but is {self.precision_bits}")
        if self.chain_length is not None:
            _integer("chain_length", self.chain_length, 1)
        if self.vote not in VOTES:
            raise ValueError(f"vote must be one of {', '.join(VOTES)}, but is {self.vote!r}")
        _integer("device_seed", self.device_seed, 0)

    @property
    def misprograms(self) -> bool:
        """Whether a problem is programmed other than it was meant."""
        return self.h_error > 0 or self.alters_couplings

    @property
    def alters_couplings(self) -> bool:
        """Whether couplings are programmed other than they were meant."""
        return self.J_error > 0 or self.precision_bits is not None

    @property
    def misreads(self) -> bool:
        """Whether a spin may be read other than it was."""
        return self.readout_error > 0 or self.chain_break > 0

    def scaled(self, factor: float) -> DeviceNoise:
        """Return a device that is worse by a factor; 0 is a perfect one.

        Errors and probabilities are multiplied; precision loses a bit for every doubling, in whole bits.
        Ranges and chains stay.

        Raises
        ------
        ValueError
            If `factor` is negative, or takes a probability out of its range or the precision below 2 bits.
        """
        factor = _within("factor", factor, 0.0, None)
        bits = self.precision_bits
        if bits is not None:
            bits = None if factor == 0 else bits - round(float(np.log2(factor)))
        return replace(
            self,
            h_error=factor * self.h_error,
            J_error=factor * self.J_error,
            readout_error=factor * self.readout_error,
            chain_break=factor * self.chain_break,
            precision_bits=bits,
        )

    def qubits_per_chain(self, num_spins: int) -> int:
        """Return the length of the chains in a row of `num_spins` spins."""
        if self.chain_length is not None:
            return self.chain_length
        return 1 if num_spins <= 4 else -(-(num_spins + 8) // 16) + 1


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
        row = np.repeat(np.arange(n), np.diff(problem.J.indptr))
        column = problem.J.indices.astype(np.intp)
        apart = row != column
        low, high = np.minimum(row, column)[apart], np.maximum(row, column)[apart]
        keys, place = np.unique(low * n + high, return_inverse=True)
        sums = np.bincount(place, problem.J.data[apart].astype(np.float64), minlength=len(keys))
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


def misread(spins: Spins, noise: DeviceNoise, random: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Flip, in place, the spins (b, reads, n) that broken chains and misread qubits get wrong.

    Of a chain's L qubits `held` hold the value that the spin should have, and `heard` say so when read.

    Returns
    -------
    bool array (b, reads, n)
        Chains whose qubits were read differently.
    """
    chain = noise.qubits_per_chain(spins.shape[2])
    held = np.full(spins.shape, chain)
    broken = 1.0 - (1.0 - noise.chain_break) ** (chain - 1)
    breaks = np.flatnonzero(random.random(spins.shape) < broken) if broken > 0 else np.empty(0, dtype=np.intp)
    if len(breaks):
        part = random.integers(1, chain, size=len(breaks))
        is_right = random.random(len(breaks)) < part / chain
        held.flat[breaks] = np.where(is_right, part, chain - part)
    heard = held
    if noise.readout_error > 0:
        missed = random.binomial(held, noise.readout_error)
        heard = held - missed + random.binomial(chain - held, noise.readout_error)
    lot = random.random(spins.shape)
    if noise.vote == "majority_vote":
        right = np.where(2 * heard == chain, lot < 0.5, 2 * heard > chain)
    else:
        right = lot < heard / chain
    np.negative(spins, out=spins, where=~right)
    differ: npt.NDArray[np.bool_] = (heard > 0) & (heard < chain)
    return differ


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


def _within(name: str, value: Any, least: float, most: float | None) -> float:
    number = _real(name, value)
    if number < least or (most is not None and number > most):
        expected = f"at least {least:g}" if most is None else f"from {least:g} to {most:g}"
        raise ValueError(f"{name} must be {expected}, but is {value}")
    return number


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
        indptr = np.searchsorted(couplers.i, np.arange(n + 1)).astype(np.int64)
        return CSRCouplings(n, indptr, couplers.j.astype(np.int32), np.ascontiguousarray(J[0]))
    matrices: Floats = np.zeros((len(problem.h), n, n), dtype=problem.J.dtype)
    for i, place in enumerate(_row_places(n)):
        matrices[:, i, i + 1 :] = J[:, place]
    return matrices
