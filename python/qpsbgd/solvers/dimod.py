"""Any dimod sampler as a `QuboSolver`: one binary quadratic model for every problem of the batch."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt

from qpsbgd.extras import needed_for
from qpsbgd.problem.ising import IsingProblem, Solutions
from qpsbgd.solvers.protocol import timing

with needed_for("DimodSolver", "dimod", "ocean"):
    import dimod

__all__ = ["DimodSolver"]


class DimodSolver:
    """Solve every problem of a batch with a dimod sampler.

    All problems are handed to the sampler before the first answer is awaited, so samplers that answer with a
    future (`dimod.SampleSet.from_future`, as ``DWaveSampler`` does) work on all of them at once. When one
    fails, the others are cancelled.

    The sampler gets `seed` and `initial_states` where it lists them among its parameters. A sample that it
    reports with `num_occurrences` counts as that many reads. Energies are recomputed in float64, and as many
    reads a problem are returned as every problem has.

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
            If the sampler returns no sample for a problem, or not a spin for each of its variables.
        Exception
            What the sampler raises, after the answers still awaited were cancelled.
        """
        begin = time.perf_counter_ns()
        found = self._all_spins(problem, seed)
        sampled = time.perf_counter_ns()
        reads = min(len(spins) for spins in found)
        if reads == 0:
            raise ValueError(f"sampler {type(self.sampler).__name__} returned no samples")
        info: dict[str, Any] = {"method": type(self.sampler).__name__, "sweeps": None}
        solutions = Solutions.of(problem, np.stack([spins[:reads] for spins in found]), info=info)
        info["timing"] = timing(begin, begin, sampled)  # models are made while others are sampled
        return solutions

    def _all_spins(self, problem: IsingProblem, seed: int) -> list[npt.NDArray[np.int8]]:
        """Spins (reads, n) of every problem. Whatever goes wrong, Ctrl-C included, cancels the others."""
        # One 31-bit seed a problem: that is what samplers written in C commonly take.
        seeds = np.random.SeedSequence(seed).generate_state(problem.num_problems, np.uint32) >> 1
        answers: list[dimod.SampleSet] = []
        try:
            for index, bqm in enumerate(problem.to_bqms()):
                answers.append(
                    self.sampler.sample(bqm, **self._parameters_of(problem, index, int(seeds[index])))
                )
            return [self._spins(answer, problem.num_spins) for answer in answers]
        except BaseException:
            for answer in answers:
                _cancel(answer)
            raise

    def _parameters_of(self, problem: IsingProblem, index: int, seed: int) -> dict[str, Any]:
        parameters = dict(self.parameters)
        if "seed" in self.sampler.parameters:
            parameters.setdefault("seed", seed)
        if "initial_states" in self.sampler.parameters and problem.initial_states is not None:
            variables = list(range(problem.num_spins))
            parameters.setdefault("initial_states", (problem.initial_states[index], variables))
        return parameters

    def _spins(self, answer: dimod.SampleSet, n: int) -> npt.NDArray[np.int8]:
        """Await an answer: its spins (reads, n), by the sampler's energies best first."""
        name = type(self.sampler).__name__
        if set(answer.variables) != set(range(n)):
            raise ValueError(
                f"sampler {name} returned {len(answer.variables)} variables, which are not the problem's "
                f"variables 0 to {n - 1}"
            )
        record = answer.record
        columns = [answer.variables.index(variable) for variable in range(n)]
        order = np.argsort(record.energy, kind="stable")
        spins = np.repeat(record.sample[order], record.num_occurrences[order], axis=0)[:, columns]
        if answer.vartype is dimod.BINARY:
            spins = 2 * spins - 1
        if not bool(np.all(np.abs(spins) == 1)):
            raise ValueError(f"sampler {name} returned values that are not of vartype {answer.vartype.name}")
        return spins.astype(np.int8)


def _cancel(answer: Any) -> None:
    """Cancel an answer that is still awaited; composites hand on futures of futures."""
    # dimod has no public way to the future of a sample set, which is gone once the set is resolved.
    while isinstance(answer, dimod.SampleSet):
        answer = getattr(answer, "_future", None)
    cancel = getattr(answer, "cancel", None)
    if callable(cancel):
        cancel()
