"""Any dimod sampler as a `QuboSolver`: one binary quadratic model for every problem of the batch."""

from __future__ import annotations

import time
from typing import Any

import dimod
import numpy as np

from qpsbgd.problem import IsingProblem, Solutions

__all__ = ["DimodSolver"]


class DimodSolver:
    """Solve every problem of a batch with a dimod sampler.

    The sampler gets `seed` and `initial_states` where it lists them among its parameters. Energies are
    recomputed in float64, and as many reads a problem are returned as every problem has.

    Parameters
    ----------
    sampler : dimod.Sampler
        For example ``dwave.samplers.SimulatedAnnealingSampler()``.
    **parameters
        Passed to ``sampler.sample`` with every problem, such as ``num_reads=10``.

    Raises
    ------
    TypeError
        If `sampler` is no `dimod.Sampler`.

    Examples
    --------
    >>> import dimod
    >>> from qpsbgd.problem import ising_problem
    >>> solver = DimodSolver(dimod.ExactSolver())
    >>> solver.solve(ising_problem([0.5, 0.0], [[0.0, -1.0], [0.0, 0.0]]), seed=0).best_samples
    array([[-1, -1]], dtype=int8)
    """

    def __init__(self, sampler: dimod.Sampler, **parameters: Any) -> None:
        if not isinstance(sampler, dimod.Sampler):
            raise TypeError(f"sampler must be a dimod.Sampler, but is {type(sampler).__name__}")
        self.sampler = sampler
        self.parameters = parameters

    def solve(self, problem: IsingProblem, *, seed: int) -> Solutions:
        """Sample every problem; best sample first.

        Raises
        ------
        ValueError
            If the sampler returns no sample for a problem.
        """
        begin = time.perf_counter_ns()
        # One 31-bit seed a problem: that is what samplers written in C commonly take.
        seeds = np.random.SeedSequence(seed).generate_state(problem.num_problems, np.uint32) >> 1
        found = [self._sample(problem, index, int(seeds[index])) for index in range(problem.num_problems)]
        reads = min(len(samples) for samples in found)
        if reads == 0:
            raise ValueError(f"sampler {type(self.sampler).__name__} returned no samples")
        samples = np.stack([samples[:reads] for samples in found])
        energies = problem.energies(samples)
        order = np.argsort(energies, axis=1, kind="stable")
        samples = np.take_along_axis(samples, order[:, :, None], axis=1)
        if problem.binary:
            samples = ((samples + 1) // 2).astype(np.int8)
        info = {
            "method": type(self.sampler).__name__,
            "sweeps": None,
            "timing": {"total": time.perf_counter_ns() - begin},
        }
        return Solutions(samples, np.take_along_axis(energies, order, axis=1), info)

    def _sample(self, problem: IsingProblem, index: int, seed: int) -> np.ndarray[Any, np.dtype[np.int8]]:
        """Return spins (reads, n) of one problem, by the sampler's own energies best first."""
        variables = list(range(problem.num_spins))
        parameters = dict(self.parameters)
        if "seed" in self.sampler.parameters:
            parameters.setdefault("seed", seed)
        if "initial_states" in self.sampler.parameters and problem.initial_states is not None:
            parameters.setdefault("initial_states", (problem.initial_states[index], variables))
        answer = self.sampler.sample(problem.to_bqm(index), **parameters)
        answer = answer.change_vartype(dimod.SPIN, inplace=False)
        columns = [answer.variables.index(variable) for variable in variables]
        order = np.argsort(answer.record.energy, kind="stable")
        return np.asarray(answer.record.sample[order][:, columns], dtype=np.int8)
