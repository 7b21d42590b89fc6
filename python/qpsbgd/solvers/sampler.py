"""The native solver as a dimod sampler: one binary quadratic model in, a sample set out."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from qpsbgd import _core
from qpsbgd.extras import needed_for
from qpsbgd.problem.arrays import refuse_masked
from qpsbgd.problem.build import check_energies, fields_of_bits
from qpsbgd.problem.checks import check_finite, check_integer, seed_or_random
from qpsbgd.problem.ising import Couplings, CSRCouplings, IsingProblem
from qpsbgd.solvers.device.choose import check_width
from qpsbgd.solvers.native import METHODS, Method, NativeSolver, check_answer_size
from qpsbgd.solvers.protocol import timing
from qpsbgd.solvers.schedules import KEEPS, SCHEDULES, SamplingArguments
from qpsbgd.solvers.watching import Progress

with needed_for("NativeSampler", "dimod", "ocean"):
    import dimod

__all__ = ["NativeSampler"]

_LEAST_DENSITY = 1 / 8
"""Of the couplings, from which a dense matrix is searched: measured, n = 300 and 1500 with 1 and 8 reads."""

_SMALL = 64
"""Variables up to which the matrix is dense whatever its density."""

_SECONDS_OF_SAMPLE = 1e-8
"""What dimod takes for each variable and interaction of a sample, whose energy it computes."""

_INFO_WITHOUT_VARIABLES: Mapping[str, Any] = {
    "beta_range": None,
    "method": "exact",
    "sweeps": 0,
    "proven_optimal": True,
    "reads_left_out": 0,
    "presolve": None,
    "timing": {"sampling_ns": 0},
}
"""How a model without variables is solved: every read has the model's offset as its energy."""


class NativeSampler(dimod.Sampler, dimod.Initialized):  # type: ignore[misc]  # dimod is untyped
    """Sample binary quadratic models with the native solver.

    It takes the place of ``dwave.samplers.SimulatedAnnealingSampler``: arguments have the same names, order
    and meaning; `num_threads`, `time_limit` and `method` are new. Ocean's composites take it as their child.

    Parameters
    ----------
    device : str or torch.device, optional
        Where to solve instead of on the host, such as "cuda". Models have up to 8,192 variables then, and
        arguments that a device knows nothing of are refused by name, as `NativeSolver` says.

    Examples
    --------
    >>> import dimod
    >>> from qpsbgd import NativeSampler
    >>> bqm = dimod.BinaryQuadraticModel({"a": -1, "b": -1}, {("a", "b"): 2}, 0.5, "BINARY")
    >>> sampleset = NativeSampler().sample(bqm, num_reads=3, seed=1)
    >>> float(sampleset.first.energy), len(sampleset), sampleset.vartype.name
    (-0.5, 3, 'BINARY')
    """

    def __init__(self, device: Any = None) -> None:
        self._device = device
        # Of each instance, as dimod has it: composites may add to their child's.
        self._parameters: dict[str, list[str]] = {
            "beta_range": [],
            "num_reads": [],
            "num_sweeps": [],
            "num_sweeps_per_beta": [],
            "beta_schedule_type": ["beta_schedule_options"],
            "seed": [],
            "interrupt_function": [],
            "beta_schedule": [],
            "initial_states": [],
            "initial_states_generator": [],
            "randomize_order": [],
            "proposal_acceptance_criteria": [],
            "num_threads": [],
            "time_limit": [],
            "method": ["methods"],
            "target_energy": [],
            "progress": [],
            "num_best": [],
            "keep": ["keeps"],
            "presolve": [],
        }
        self._properties: dict[str, Any] = {
            "beta_schedule_options": SCHEDULES,
            "methods": METHODS,
            "keeps": KEEPS,
        }

    @property
    def parameters(self) -> dict[str, list[str]]:
        """Names of the arguments of `sample`, each with the properties that say more about it."""
        return self._parameters

    @property
    def properties(self) -> dict[str, Any]:
        """`beta_schedule_options`, `methods` and `keeps`: the values that those arguments take."""
        return self._properties

    def sample(
        self,
        bqm: dimod.BinaryQuadraticModel,
        beta_range: Sequence[float] | None = None,
        num_reads: int | None = None,
        num_sweeps: int | None = None,
        num_sweeps_per_beta: int = 1,
        beta_schedule_type: str = "geometric",
        seed: int | None = None,
        interrupt_function: Callable[[], object] | None = None,
        beta_schedule: Sequence[float] | None = None,
        initial_states: Any = None,
        initial_states_generator: str = "random",
        randomize_order: bool = False,
        proposal_acceptance_criteria: str = "Metropolis",
        *,
        num_threads: int | None = None,
        time_limit: float | None = None,
        method: Method = "auto",
        target_energy: float | None = None,
        progress: Progress = None,
        num_best: int | None = None,
        keep: Literal["best", "last"] = "best",
        presolve: str | bool = "auto",
        **kwargs: Any,
    ) -> dimod.SampleSet:
        """Sample from a binary quadratic model; lowest energy first.

        Parameters
        ----------
        bqm : dimod.BinaryQuadraticModel
            The model, of any labels, vartype and dtype.
        beta_range : (float, float), optional
            First and last inverse temperature, in the model's own units; from the local fields by default.
            The first may be the larger one.
        num_reads : int, optional
            Independent runs. By default as many as there are initial states, or 1.
        num_sweeps : int, optional
            Sweeps per read; 0 gives the initial states and their energies.
            By default 1000 ("anneal"), 200 ("tabu"), or what `time_limit` allows.
        seed : int, optional
            0 <= seed < 2**64; the same seed gives the same samples, whatever `num_threads`.
        interrupt_function : callable, optional
            Called without arguments every few milliseconds; when it returns True, the reads that have begun
            end at once with the local minima they have found, the others are left out.
        initial_states : samples-like, optional
            States of all variables to start from, as `dimod.as_samples` takes them.
        initial_states_generator : {"random", "tile", "none"}
            How `initial_states` grow to `num_reads`: with random states, by repetition, or not at all.
        num_threads : int, optional
            Threads; every processor that this process may use by default.
        time_limit : float, optional
            Seconds for the whole call; with it the samples depend on the machine. Where it is too short for
            all reads, fewer come back; one always does, after a few passes over the model. Every sample is a
            local minimum.
        method : {"auto", "exact", "descent", "anneal", "tabu"}
            "auto" proves its answer up to 20 variables. Beyond, it searches dense models by tabu search or
            annealing, as `solve_ising` does, and anneals sparse ones and where `beta_range` is given.
        target_energy : float, optional
            Sampling ends as soon as a sample of at most this energy is found.
        progress : True or function, optional
            A bar, or a function of seconds and lowest energy, as `NativeSolver.solve` takes it.
        num_best : int, optional
            The sample set holds the `num_best` best different samples seen, or all where fewer are known,
            instead of one for each read.
        num_sweeps_per_beta, beta_schedule_type, beta_schedule, randomize_order, proposal_acceptance_criteria
            As in dwave.samplers. Anything but its defaults, a `beta_range` from cold to hot, and `keep` =
            "last" are annealed in float32, one read at a time, with exact probabilities.
        keep : {"best", "last"}
            What a read answers: the best state it has seen, improved to a local minimum, or, as in
            dwave.samplers, the state after its last sweep.
        presolve : "auto" or bool
            Whether variables are taken out before the search where their best values follow from others, as
            `NativeSolver` has it; "auto": sparse models of the default method, whose reads are then alike in
            these variables.
        **kwargs
            Ignored with a `dimod.exceptions.SamplerUnknownArgWarning`.

        Returns
        -------
        dimod.SampleSet
            Energies are the model's own. `info` has ``beta_range`` as used by the first read (None where
            nothing was annealed), ``method``, ``sweeps`` over all reads, ``proven_optimal``, ``seed``,
            ``reads_left_out`` (of `num_reads`, for want of time), ``presolve`` (how many variables it took
            out; None where it did not act), and in ``timing`` the nanoseconds
            ``preprocessing_ns``, ``sampling_ns`` and ``postprocessing_ns``.

        Raises
        ------
        TypeError, ValueError
            If an argument is not what it should be; the message names it.
        KeyboardInterrupt
            On Ctrl-C, within milliseconds.
        """
        begin = time.perf_counter_ns()
        if not isinstance(bqm, dimod.BinaryQuadraticModel):
            raise TypeError(f"bqm must be a dimod.BinaryQuadraticModel, but is {type(bqm).__name__}")
        self.remove_unknown_kwargs(**kwargs)
        rule = SamplingArguments(
            beta_range,
            num_sweeps,
            num_sweeps_per_beta,
            beta_schedule_type,
            beta_schedule,
            randomize_order,
            proposal_acceptance_criteria,
            keep,
        )
        if interrupt_function is not None and not callable(interrupt_function):
            raise TypeError(f"interrupt_function must be callable, but is {interrupt_function!r}")
        seed = seed_or_random(seed)
        starts, reads = self._starts(bqm, initial_states, initial_states_generator, num_reads, seed)
        solver = NativeSolver(
            method=method,
            num_reads=reads,
            num_sweeps=None if rule.are_special else num_sweeps,
            num_threads=num_threads,
            beta_range=None if rule.are_special else beta_range,
            time_limit=time_limit,
            target_energy=target_energy,
            num_best=num_best,
            presolve=presolve,
            device=self._device,
        )
        calls = {"interrupt_function": interrupt_function, "progress": progress}
        samples, labels, info, prepared = _solved(bqm, solver, rule, starts, seed, begin, calls)
        info = {**info, "seed": seed, "beta_schedule_type": beta_schedule_type}
        return _sampleset(bqm, samples, labels, info, begin, prepared)

    def _starts(
        self, bqm: dimod.BinaryQuadraticModel, states: Any, generator: str, num_reads: int | None, seed: int
    ) -> tuple[npt.NDArray[np.int8] | None, int]:
        """Return spins (1, reads, n) to start from, in the model's order, None for random ones; the reads."""
        refuse_masked("initial_states", states)
        if num_reads is not None:
            check_answer_size(1, check_integer("num_reads", num_reads, 1), bqm.num_variables)
        if states is None and generator == "random":
            return None, 1 if num_reads is None else num_reads  # drawn natively, one stream a read
        parsed = self.parse_initial_states(
            bqm,
            initial_states=states,
            initial_states_generator=generator,
            num_reads=num_reads,
            seed=seed % 2**32,
        )
        answer = parsed.initial_states.change_vartype(dimod.SPIN, inplace=False)
        columns = [answer.variables.index(label) for label in bqm.variables]
        samples = answer.record.sample[:, columns]
        if not bool(np.all(np.abs(samples) == 1)):
            raise ValueError(f"initial_states must hold values of vartype {bqm.vartype.name} only")
        return np.ascontiguousarray(samples, dtype=np.int8)[None], parsed.num_reads


def _with_rule(
    solver: NativeSolver, rule: SamplingArguments, problem: Callable[[], IsingProblem]
) -> NativeSolver:
    """Return a solver that anneals as the arguments say; `problem` is asked where the range depends on it."""
    if not rule.are_special:
        return solver
    if solver.device is not None:
        raise ValueError(
            "beta_schedule and the other rules of annealing must have their defaults on a device, with "
            "num_sweeps of at least 1 and beta_range from hot to cold"
        )
    if solver.method not in ("auto", "anneal"):
        raise ValueError(
            f"method must be 'anneal' or 'auto' with this schedule and acceptance, but is {solver.method!r}"
        )

    def default_range() -> Sequence[float]:
        probe = NativeSolver(method="anneal", num_sweeps=1, num_threads=solver.num_threads)
        found: Sequence[float] = probe.solve(replace(problem(), initial_states=None), seed=0).info[
            "beta_range"
        ]
        return found

    sampling = rule.sampling(default_range)
    return replace(
        solver, method="anneal", sampling=sampling, beta_range=None, num_sweeps=max(1, len(sampling.betas))
    )


def _solved(
    bqm: dimod.BinaryQuadraticModel,
    solver: NativeSolver,
    rule: SamplingArguments,
    starts: npt.NDArray[np.int8] | None,
    seed: int,
    begin: int,
    calls: Mapping[str, Any],
) -> tuple[npt.NDArray[np.int8], list[Hashable], Mapping[str, Any], int]:
    """Solve a model; return samples, their labels, the solver's info, and the time when sampling began."""
    if bqm.num_variables == 0:
        samples = np.empty((solver.num_reads, 0), dtype=np.int8)
        return samples, [], _INFO_WITHOUT_VARIABLES, time.perf_counter_ns()
    if solver.device is not None:
        check_width("bqm", bqm.num_variables)
    dense = True if solver.device is not None else False if solver.presolve is True else None
    problem, labels = _problem_of(bqm, starts, dense=dense)
    solver = _with_rule(solver, rule, lambda: problem)
    called = time.perf_counter_ns()
    solver = _with_time_for_samples(solver.within(begin), bqm)
    solutions = solver.solve(problem, seed=seed, **calls)
    info = solutions.info
    return solutions.samples[0], labels, info, called + info["timing"]["preprocessing_ns"]


def _with_time_for_samples(solver: NativeSolver, bqm: dimod.BinaryQuadraticModel) -> NativeSolver:
    """Take the time that making a sample set of all reads takes from the solver's, at most half of it."""
    if solver.time_limit is None:
        return solver
    needed = _SECONDS_OF_SAMPLE * solver.num_reads * (bqm.num_variables + bqm.num_interactions)
    return replace(solver, time_limit=solver.time_limit - min(needed, 0.5 * solver.time_limit))


def _sampleset(
    bqm: dimod.BinaryQuadraticModel,
    samples: npt.NDArray[np.int8],
    labels: list[Hashable],
    info: Mapping[str, Any],
    begin: int,
    prepared: int,
) -> dimod.SampleSet:
    """Return samples as dimod has them; the solve began at `begin` and sampling at `prepared`."""
    sampled = prepared + info["timing"]["sampling_ns"]
    sorted_already = labels == list(range(len(labels)))  # dimod takes its time to find that out
    sampleset = dimod.SampleSet.from_samples_bqm((samples, labels), bqm, sort_labels=not sorted_already)
    used = info["beta_range"]
    sampleset.info.update(
        beta_range=None if used is None else list(used),
        method=info["method"],
        sweeps=info["sweeps"],
        proven_optimal=info["proven_optimal"],
        reads_left_out=info["reads_left_out"],
        presolve=info["presolve"],
        seed=info["seed"],
        timing=timing(begin, prepared, sampled),
        beta_schedule_type=info["beta_schedule_type"],
    )
    if "trace" in info:
        sampleset.info["trace"] = [list(found) for found in info["trace"][0]]
    return sampleset


def _problem_of(
    bqm: dimod.BinaryQuadraticModel, starts: npt.NDArray[np.int8] | None, *, dense: bool | None
) -> tuple[IsingProblem, list[Hashable]]:
    """Return a model as an Ising problem of one row, and its labels in the order of the spins.

    `dense`: as a matrix, or in compressed rows, whatever its size and density; None: by these.
    With x = (s + 1) / 2 a term q x_i x_j is q/4 (s_i s_j + s_i + s_j + 1).
    """
    if bqm.dtype == np.object_:  # numbers as Python objects: no vectors to read
        bqm = dimod.BinaryQuadraticModel(bqm, dtype=np.float64)
    linear, (rows, columns, values), offset, labels = bqm.to_numpy_vectors(
        sort_labels=False, return_labels=True
    )
    check_finite("bqm.linear", linear)
    check_finite("bqm.quadratic", values)
    if not np.isfinite(offset):
        raise ValueError(f"bqm.offset must be finite, but is {offset}")
    n = len(linear)
    couplings, multiplicity = _couplings_of(n, rows, columns, values, dense=dense)
    fields, constant, scale = linear.astype(np.float64)[None], np.array([float(offset)]), 1.0
    check_energies("the coefficients of bqm", np.append(fields, [constant], axis=1), couplings)
    binary = bqm.vartype is dimod.BINARY
    if binary:
        if isinstance(couplings, CSRCouplings):
            ends = np.bincount(rows, values, n), np.bincount(columns, values, n)
            sums = np.add(*ends, dtype=np.float64)
        else:
            sums = couplings.sum(axis=1, dtype=np.float64)
        fields, shift = fields_of_bits(fields, sums[None], 0.5 * sums.sum(keepdims=True))
        constant, scale = constant + shift, 0.25
    problem = IsingProblem(fields, couplings, constant, scale / multiplicity, binary, starts)
    return problem, list(labels)


def _couplings_of(
    n: int, rows: npt.NDArray[Any], columns: npt.NDArray[Any], values: npt.NDArray[Any], *, dense: bool | None
) -> tuple[Couplings, int]:
    """Return interactions as a matrix, dense or in compressed rows, and how often it holds each of them."""
    rows = rows.astype(np.int32, copy=False)
    columns = columns.astype(np.int32, copy=False)
    if dense is None:
        dense = n <= _SMALL or 2 * len(values) >= _LEAST_DENSITY * n * (n - 1)
    if dense:
        matrix = np.zeros((n, n), dtype=values.dtype)
        _core.fill_couplings(matrix, rows, columns, values)  # both triangles
        return matrix, 2
    return CSRCouplings.of_triplets(n, rows, columns, values), 1
