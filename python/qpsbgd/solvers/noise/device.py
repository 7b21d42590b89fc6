"""`DeviceNoise`: the errors of a quantum annealer, and its ranges."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from qpsbgd.problem.checks import check_integer, check_member, check_number

__all__ = ["DeviceNoise"]

VOTES = ("majority_vote", "weighted_random")


@dataclass(frozen=True, kw_only=True)
class DeviceNoise:
    """Errors of a device and its ranges.

    Every row occupies a clique embedding of its own. A spin is a chain of qubits that share its field, and a
    pair of spins has one coupler. Coefficients are in the device's units: couplings reach from -`J_range` to
    `J_range`. A row is scaled to fill the ranges, as D-Wave's ``auto_scale`` does.

    Attributes
    ----------
    h_error, J_error : float
        Standard deviations of the Gaussian control errors of each qubit's field and each coupler [1].
    persistent : float
        Fraction of these errors' variance that the device keeps from one programming to the next, 0 to 1;
        the rest is drawn anew.
    precision_bits : int or None
        Fields and couplings are rounded to ``2**bits - 1`` equally spaced values from end to end of their
        range [1]; None: not rounded.
    readout_error : float
        Probability that a qubit is misread [2], at most 1/2.
    chain_break : float
        Probability that a link between neighbouring qubits of a chain breaks in a read, so that a chain of L
        qubits is broken with probability ``1 - (1 - chain_break)**(L - 1)`` [3]. A broken chain falls into
        two parts, at a link chosen at random, which show opposite values; a qubit chosen at random is right.
    chain_length : int or None
        Qubits in a chain; None: as for a clique of n spins on a Zephyr graph, ``ceil((n + 8) / 16) + 1`` or,
        up to 4 spins, 1 [4].
    chain_strength : float
        Coupling within chains in units of ``sqrt(mean degree) * rms(J)``, as the prefactor of Ocean's
        ``uniform_torque_compensation``. Chains share the range with the problem: strong ones make it small.
    vote : {"majority_vote", "weighted_random"}
        How a chain whose qubits differ is resolved: by the majority (a tie by lot), or by a qubit at random.
    h_range, J_range, chain_range : float
        Largest magnitudes of a qubit's field, of a coupling of the problem, and of a coupling within a chain:
        ends of a D-Wave solver's ``h_range``, ``j_range`` and ``extended_j_range`` [5].
    device_seed : int
        Chooses the device: its persistent errors.

    Notes
    -----
    The defaults are D-Wave's own figures, from docs.dwavequantum.com/en/latest/quantum_research/, the worse
    end where they span a range. No figure is given for `persistent`: errors.html names fixed sources and
    drifting ones.

    - [1] errors.html: standard deviation of δh .010 to .025 and of δJ .0095 to .0155 in the course of the
      anneal; rounding by up to .0045 in J (steps of .009 over a width of 2: 7.8 bits) and .008 in h.
      Measured on a D-Wave 2X, called representative.
    - [2] solver_properties_specific.html: at most .001, on Advantage and Advantage2.
    - [3] embedding_guidance.html: 17.5 % of the reads of a 30-spin clique with chains of up to 6 qubits
      had a broken chain: ``1 - (1 - .0013)**(30 * 5) = .177``.
    - [4] Boothby, King, Raymond, "Zephyr Topology of D-Wave Quantum Processors", 2021. It is what
      ``minorminer.busclique`` finds on a Zephyr graph Z12 without defects, up to its largest clique, 184.
    - [5] solver_properties_all.html.

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
            check_number(name, getattr(self, name), 0.0)
        for name, most in (("persistent", 1.0), ("readout_error", 0.5), ("chain_break", 1.0)):
            check_number(name, getattr(self, name), 0.0, most)
        for name in ("h_range", "J_range", "chain_range"):
            check_number(name, getattr(self, name), positive=True)
        if self.precision_bits is not None:
            check_integer("precision_bits", self.precision_bits, 2, 52)
        if self.chain_length is not None:
            check_integer("chain_length", self.chain_length, 1)
        check_member("vote", self.vote, VOTES)
        check_integer("device_seed", self.device_seed, 0)

    @property
    def misprograms(self) -> bool:
        """Whether the programmed problem differs from the given one."""
        return self.h_error > 0 or self.alters_couplings

    @property
    def alters_couplings(self) -> bool:
        """Whether the programmed couplings differ from the given ones."""
        return self.J_error > 0 or self.precision_bits is not None

    @property
    def misreads(self) -> bool:
        """Whether a spin may be read with the wrong sign."""
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
        factor = check_number("factor", factor, 0.0)
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
