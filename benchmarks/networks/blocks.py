"""Wide problems in blocks, as a chip of few variables solves them: in turn, with the rest fixed."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from qpsbgd.problem import IsingProblem, Solutions, ising_problem
from qpsbgd.solvers import DeviceNoise, NativeSolver, NoisySolver
from qpsbgd.solvers.protocol import QuboSolver

__all__ = ["BlockSolver"]


class BlockSolver:
    """Anneal blocks of `size` spins in turn, from the given start; a `QuboSolver`.

    Parameters
    ----------
    size : int
        Spins of a block.
    noise : float
        How many times the published noise of a D-Wave annealer the device has that solves the blocks.
    """

    def __init__(self, size: int, noise: float = 0.0) -> None:
        self.size, self.noise = size, noise

    @cached_property
    def _device(self) -> QuboSolver:
        annealer = NativeSolver(method="anneal", num_sweeps=100, num_threads=1)
        return NoisySolver(annealer, DeviceNoise().scaled(self.noise)) if self.noise else annealer

    def solve(self, problem: IsingProblem, *, seed: int) -> Solutions:
        """Solve every problem of the batch, which share a dense matrix."""
        J = np.asarray(problem.J, dtype=np.float64)
        J = J + J.T
        np.fill_diagonal(J, 0)
        starts = problem.initial_states
        spins = np.sign(-problem.h).astype(np.int8) if starts is None else starts[:, 0].copy()
        fields = problem.h + problem.coupling_scale * spins @ J
        for begin in range(0, J.shape[0], self.size):
            block = slice(begin, min(begin + self.size, J.shape[0]))
            inside = problem.coupling_scale * J[block, block]
            outside = fields[:, block] - spins[:, block] @ inside
            part = ising_problem(outside, inside / 2)
            found = self._device.solve(part, seed=seed + begin).best_samples
            changed = (found - spins[:, block]).astype(np.float64)
            fields += problem.coupling_scale * changed @ J[block]
            spins[:, block] = found
        samples = spins[:, None, :]
        return Solutions(samples, problem.energies(samples))
