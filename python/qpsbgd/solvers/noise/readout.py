"""What a quantum annealer does to the spins on the way out.

Chains break, qubits are misread, and the vote of each chain gives its spin: `misread`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qpsbgd.solvers.noise.device import DeviceNoise

__all__ = ["misread"]

Spins = npt.NDArray[np.int8]


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
