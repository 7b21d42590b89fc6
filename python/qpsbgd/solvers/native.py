"""The native solver: batches of Ising problems and QUBOs from NumPy arrays."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from qpsbgd import _core
from qpsbgd.problem.arrays import contiguous
from qpsbgd.problem.build import ising_problem, qubo_problem
from qpsbgd.problem.checks import (
    MOST_COUNT,
    MOST_THREADS,
    check_integer,
    check_member,
    check_number,
    seed_or_random,
)
from qpsbgd.problem.ising import CSRCouplings, IsingProblem, Solutions
from qpsbgd.problem.memory import check_memory
from qpsbgd.solvers.device.choose import check_settings, device_of, refuse_on_device
from qpsbgd.solvers.presolving import check_presolve, check_presolve_fits
from qpsbgd.solvers.protocol import timing
from qpsbgd.solvers.schedules import Sampling
from qpsbgd.solvers.shares import solve_on
from qpsbgd.solvers.watching import Progress, Reporter, check_num_best, reporter, targets_of
from qpsbgd.solvers.workers import Executors, default_num_threads

__all__ = [
    "METHODS",
    "Method",
    "NativeSolver",
    "check_answer_size",
    "default_num_threads",
    "solve_ising",
    "solve_qubo",
]

_SHORTEST = 1e-9
"""Seconds: a time limit that is over already."""

Method: TypeAlias = Literal["auto", "exact", "descent", "anneal", "tabu", "exchange"]
_ON_DEVICE = ("exchange",)
METHODS: tuple[str, ...] = tuple(method for method in get_args(Method) if method not in _ON_DEVICE)
"""Of the host; a device has another one."""


@dataclass(frozen=True)
class NativeSolver:
    """The native solver with its settings, as a `QuboSolver`.

    Attributes
    ----------
    method : {"auto", "exact", "descent", "anneal", "tabu", "exchange"}
        "auto" proves its answer by exhaustive search up to 20 spins. Beyond, it looks at the couplings and
        fields of each problem: tabu search for most dense ones, annealing for sparse matrices, where few
        couplings of a spin count, for large spin glasses without fields, and where `beta_range` is given.
        "exchange" is for a device: replica exchange, each read a ladder of 16 replicas.
    num_reads : int
        Independent runs per problem.
    num_sweeps : int or None
        Sweeps per read; one sweep is n proposals ("anneal"), one pass ("descent") or n flips ("tabu").
        None: 1000 for "anneal", 200 for "tabu", until no flip helps for "descent"; with `time_limit`, as many
        as the time allows.
    num_threads : int or None
        Threads, at most 1024; None: every processor this process may use. Results do not depend on it.
    beta_range : sequence of two floats or None
        First and last inverse temperature of "anneal"; None: from the local fields.
    time_limit : float or None
        Seconds for the whole call, shared evenly between the reads. Results then depend on the machine.
    target_energy : float, sequence of b floats or None
        The solve ends as soon as every problem of the batch has a state of at most this energy (to twelve
        digits), in float64 and by the caller's numbers. Reads that have not begun are then left out, and so
        are their rows.
    num_best : int or None
        The answer is the `num_best` best *different* states seen in all reads, best first, instead of one
        state for each read. Where some problem has fewer, all have as many rows as it has states. "exact"
        gives the best of all 2^n states.
    sampling : Sampling or None
        Another rule for "anneal", whose sweeps it has: what `NativeSampler` makes of its arguments.
    presolve : "auto" or bool
        Whether spins of a sparse problem are taken out before the search and put back after: those that
        their fields decide, and those of one or two couplings. Components of what is left are solved apart,
        up to 20 spins exactly. "auto": one problem and method "auto", where no component of more than half
        of the spins is left. True: any method, with one sparse problem, no `initial_states` and no
        `num_best`.
    device : str or torch.device, optional
        Where to solve instead, such as "cuda": dense problems of up to 8,192 spins, by "descent", "tabu",
        "anneal" or "exchange" (see the page gpu.md). "auto" is tabu search there, or annealing where
        `beta_range` is given. Then `num_threads`, `target_energy`, `num_best` and `sampling` stay None.

    Notes
    -----
    Every sample is a local minimum of the given numbers: no flip of one spin lowers its energy by more than
    rounding in float64.

    A time limit is kept. Where it is too short for all reads, fewer come back, as many for every problem:
    ``info["num_reads"]`` is their number, ``info["reads_left_out"]`` that of the others. Every problem gets
    one read at least. That one takes a few passes over the couplings, however short the limit, so it may
    end late where there are very many of them.

    Examples
    --------
    >>> from qpsbgd.problem import ising_problem
    >>> problem = ising_problem([1.0, 0.0], [[0.0, -1.0], [0.0, 0.0]])
    >>> NativeSolver(method="exact").solve(problem, seed=0).best_samples
    array([[-1, -1]], dtype=int8)
    """

    method: Method = "auto"
    num_reads: int = 1
    num_sweeps: int | None = None
    num_threads: int | None = None
    beta_range: Sequence[float] | None = None
    time_limit: float | None = None
    target_energy: float | Sequence[float] | None = None
    num_best: int | None = None
    sampling: Sampling | None = None
    presolve: str | bool = "auto"
    device: Any = None

    def __post_init__(self) -> None:
        """Check every setting."""
        if self.device is None and self.method in _ON_DEVICE:
            raise ValueError(f"method {self.method!r} needs a device, such as device='cuda'")
        check_member("method", self.method, METHODS if self.device is None else get_args(Method))
        check_integer("num_reads", self.num_reads, 1)
        if self.num_sweeps is not None:
            check_integer("num_sweeps", self.num_sweeps, 1, MOST_COUNT)
        if self.num_threads is not None:
            check_integer("num_threads", self.num_threads, 1)
        if self.time_limit is not None:
            check_number("time_limit", self.time_limit, positive=True)
        check_num_best(self.num_best)
        check_presolve(self.presolve)
        if self.beta_range is not None:
            if not isinstance(self.beta_range, Sequence | np.ndarray) or len(self.beta_range) != 2:
                raise ValueError(f"beta_range must be (hot, cold), two numbers, but is {self.beta_range!r}")
            hot, cold = (check_number("beta_range", beta) for beta in self.beta_range)
            if not 0 < hot <= cold:
                raise ValueError(f"beta_range must be 0 < hot <= cold, but is {self.beta_range!r}")
        if self.device is not None:
            check_settings(self)

    def solve(
        self,
        problem: IsingProblem,
        *,
        seed: int | None,
        interrupt_function: Callable[[], object] | None = None,
        progress: Progress = None,
    ) -> Solutions:
        """Solve every problem of the batch, starting from its `initial_states` if it has any.

        One initial state per problem serves all reads. `interrupt_function` is called every few milliseconds;
        once it returns True, what has been found is the answer, as if a time limit had been reached.

        `progress` shows a bar (True, by tqdm), or is called in this thread up to ten times a second, and at
        the end, with the seconds since the solve began and the lowest energy so far: a float, infinite before
        the first is known, or an array (b,) for a batch. What it raises stops the solve and is passed on.

        Raises
        ------
        ValueError
            If the problem does not suit the method, or `initial_states` has not `num_reads` reads.
        MemoryError
            If the answers take more memory than this process may use; nothing was allocated then.
        KeyboardInterrupt
            On Ctrl-C, within milliseconds.
        """
        begin = time.perf_counter_ns()
        with reporter(progress, problem.num_problems, self.time_limit) as report:
            return self._solve(problem, seed_or_random(seed), 0, begin, interrupt_function, report)

    def solve_part(self, problem: IsingProblem, *, seed: int, first_problem: int) -> Solutions:
        """Solve some problems of a larger batch, from number `first_problem` on, as `solve` would all."""
        return self._solve(problem, seed_or_random(seed), first_problem, time.perf_counter_ns())

    def _solve(
        self,
        problem: IsingProblem,
        seed: int,
        first_problem: int,
        begin: int,
        interrupt_function: Callable[[], object] | None = None,
        report: Reporter | None = None,
    ) -> Solutions:
        """Solve a part of a batch, from problem number `first_problem` on; the call began at `begin`."""
        check_presolve_fits(self.presolve, problem, num_best=self.num_best, sampling=self.sampling)
        starts = problem.initial_states
        check_answer_size(problem.num_problems, max(self.num_reads, self.num_best or 1), problem.num_spins)
        if starts is not None and starts.shape[1] not in (1, self.num_reads):
            raise ValueError(f"initial_states has {starts.shape[1]} reads but num_reads is {self.num_reads}")
        if self.device is not None:
            from qpsbgd.solvers.device.solve import solve_arrays

            refuse_on_device(progress=report)
            return solve_arrays(self, problem, seed, first_problem, begin, interrupt_function)
        called = time.perf_counter_ns()
        solver = self.within(begin)
        samples, energies, info = solver._call_core(problem, seed, first_problem, interrupt_function, report)
        native = info["timing"]
        info["seed"] = seed
        info["reads_left_out"] = int(self.num_reads) - info["num_reads"]
        solutions = Solutions.of(problem, samples, energies=energies, info=info)
        prepared = called + native["preparation_ns"]
        info["timing"] = timing(begin, prepared, prepared + native["solve_ns"])
        if report is not None:
            report((time.perf_counter_ns() - begin) / 1e9, solutions.best_energies)
        return solutions

    def within(self, begin: int) -> NativeSolver:
        """Return the solver for what is left of a time limit that began at `begin` of `time.perf_counter_ns`.

        Examples
        --------
        >>> NativeSolver(time_limit=5.0).within(time.perf_counter_ns() - 10**9).time_limit < 4.0
        True
        """
        if self.time_limit is None:
            return self
        left = float(self.time_limit) - (time.perf_counter_ns() - begin) * 1e-9
        return replace(self, time_limit=max(left, _SHORTEST))

    def _call_core(
        self,
        problem: IsingProblem,
        seed: int,
        first_problem: int,
        interrupt_function: Callable[[], object] | None,
        report: Reporter | None,
    ) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float64], dict[str, Any]]:
        """Hand a batch to the native core: the one place that calls it."""
        beta_range, num_threads = self.beta_range, default_num_threads()
        if self.num_threads is not None:
            num_threads = min(int(self.num_threads), MOST_THREADS)
        options = _core.SolveOptions(
            method=self.method,
            num_reads=int(self.num_reads),
            num_sweeps=None if self.num_sweeps is None else int(self.num_sweeps),
            beta_range=None if beta_range is None else (float(beta_range[0]), float(beta_range[1])),
            time_limit=None if self.time_limit is None else float(self.time_limit),
            seed=seed,
            num_threads=num_threads,
            first_problem=first_problem,
            interrupt_function=interrupt_function,
            target_energies=targets_of(self.target_energy, problem.num_problems),
            num_best=0 if self.num_best is None else int(self.num_best),
            progress=report,
            presolve="auto" if self.presolve == "auto" else "on" if self.presolve else "off",
            **({} if self.sampling is None else vars(self.sampling)),
        )
        fields, J = np.ascontiguousarray(problem.h), problem.J
        rest = (problem.offset, problem.coupling_scale, problem.initial_states, options)
        if isinstance(J, CSRCouplings):
            return _core.solve_sparse(fields, J.indptr, J.indices, J.data, *rest)
        return _core.solve_dense(fields, contiguous("J", J), *rest)


def check_answer_size(problems: int, reads: int, spins: int) -> None:
    """Raise a MemoryError unless there is room for the answers of a batch, and for its starts and a copy.

    Examples
    --------
    >>> check_answer_size(1, 10**9, 10**9)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    MemoryError: num_reads = 1000000000 of 1 problems of 1000000000 spins take 2000000008000000000 bytes...
    """
    what = f"num_reads = {reads} of {problems} problems of {spins} spins"
    check_memory(what, int(problems) * int(reads) * (2 * int(spins) + 8))


def _on_device(
    solver: NativeSolver, values: tuple[Any, Any], seed: Any, begin: int, initial_states: Any, *, bits: bool
) -> Solutions:
    from qpsbgd.solvers.device.solve import solve_tensors

    return solve_tensors(solver, solver.device, values, seed, begin, initial_states=initial_states, bits=bits)


def solve_ising(
    h: Any,
    J: Any = None,
    *,
    num_reads: int = 1,
    num_sweeps: int | None = None,
    method: Method = "auto",
    seed: int | None = None,
    num_threads: int | None = None,
    initial_states: npt.ArrayLike | None = None,
    beta_range: tuple[float, float] | None = None,
    time_limit: float | None = None,
    executor: Executors | None = None,
    target_energy: float | Sequence[float] | None = None,
    progress: Progress = None,
    num_best: int | None = None,
    presolve: str | bool = "auto",
    device: Any = None,
) -> Solutions:
    """Minimise ``s'Js + h's`` over s in {-1,+1}^n, for one problem or a batch.

    Parameters
    ----------
    h : array (n,) or (b, n), dict {i: value}, or None
        Fields; None for none. A dimod model of variables 0..n-1 stands for h and J: ``solve_ising(bqm)``.
    J : array (n, n) shared by the batch, or (b, n, n), sparse (n, n), or dict {(i, j): value}
        Couplings; every entry counts, so an upper triangular J is dimod's convention. Arrays and sparse
        matrices are NumPy's, scipy's or torch's.
    num_reads, num_sweeps, method, num_threads, beta_range, time_limit, target_energy, num_best, presolve
        As `NativeSolver`.
    seed : int, optional
        0 <= seed < 2**64; the same seed gives the same answer for every number of threads and every split of
        the batch. None draws one.
    initial_states : array (n,), (b, n) or (b, num_reads, n) of -1 and +1, optional
        Spins to start from; random otherwise, and for dense "tabu" leaning to where the fields point.
    executor : concurrent.futures.Executor, or function that makes one, optional
        Solves one part of the batch per worker of it, for example in other processes or on other machines. A
        function makes another executor when workers die, as in `solve_stream`. Without `num_threads` the
        parts that are at work on a machine share its processors, where the executor tells how many these
        are: pools of threads and processes, and Dask's. A given `num_threads` is used by every part.
        ``info["timing"]`` is the sum over the parts. With `time_limit` all problems get as many reads as the
        part that has had the fewest.
    progress : True or function, optional
        A bar, or a function of seconds and lowest energy, as `NativeSolver.solve` takes it; with an executor
        it is called after each part.
    device : str or torch.device, optional
        Where to solve, as `NativeSolver`; the answer holds tensors of this device. None: where dense CUDA or
        XPU tensors among h and J are; else the host.

    Returns
    -------
    Solutions
        `.samples` int8 (b, num_reads, n), `.energies` float64 (b, num_reads) ascending; b = 1 for a
        single problem. Fewer reads where `time_limit` is too short for all of them: ``info["num_reads"]``
        and ``info["reads_left_out"]`` count them. Each sample is a local minimum in float64.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it should be; the message names it.
    KeyboardInterrupt
        On Ctrl-C, within milliseconds.

    Examples
    --------
    >>> solution = solve_ising([0.5, 0.0, 0.0], [[0, -1, 0], [0, 0, 1], [0, 0, 0]], seed=1)
    >>> solution.best_samples, solution.best_energies
    (array([[-1, -1,  1]], dtype=int8), array([-2.5]))
    """
    begin = time.perf_counter_ns()
    solver = NativeSolver(
        method=method,
        num_reads=num_reads,
        num_sweeps=num_sweeps,
        num_threads=num_threads,
        beta_range=beta_range,
        time_limit=time_limit,
        target_energy=target_energy,
        num_best=num_best,
        presolve=presolve,
        device=device_of(device, h, J),
    )
    if solver.device is not None:
        refuse_on_device(executor=executor, progress=progress)
        return _on_device(solver, (h, J), seed, begin, initial_states, bits=False)
    problem = ising_problem(h, J, initial_states=initial_states, num_reads=solver.num_reads)
    return solve_on(solver, problem, seed_or_random(seed), executor, begin, progress)


def solve_qubo(
    Q: Any,
    linear: npt.ArrayLike | None = None,
    *,
    num_reads: int = 1,
    num_sweeps: int | None = None,
    method: Method = "auto",
    seed: int | None = None,
    num_threads: int | None = None,
    initial_states: npt.ArrayLike | None = None,
    beta_range: tuple[float, float] | None = None,
    time_limit: float | None = None,
    executor: Executors | None = None,
    target_energy: float | Sequence[float] | None = None,
    progress: Progress = None,
    num_best: int | None = None,
    presolve: str | bool = "auto",
    device: Any = None,
) -> Solutions:
    """Minimise ``x'Qx + linear'x`` over x in {0,1}^n, for one problem or a batch.

    Parameters
    ----------
    Q : array (n, n) or (b, n, n), sparse (n, n), dict {(i, j): value}, or dimod model
        Every entry counts. A model has variables 0..n-1, which are the columns of the samples; with other
        names use `NativeSampler`.
    linear : array (n,) or (b, n), or dict {i: value}, optional
        Linear coefficients; (b, n) gives a batch over one Q.
    initial_states : array (n,), (b, n) or (b, num_reads, n) of 0 and 1, optional
        Bits to start from; as in `solve_ising` otherwise.
    num_reads, num_sweeps, method, seed, num_threads, beta_range, time_limit, executor
        As `solve_ising`.
    target_energy, progress, num_best, presolve, device
        As `solve_ising`.

    Returns
    -------
    Solutions
        `.samples` int8 (b, num_reads, n) of bits, `.energies` float64 (b, num_reads) ascending; fewer
        reads where `time_limit` is too short, as `solve_ising` says.

    Raises
    ------
    TypeError, ValueError, KeyboardInterrupt
        As `solve_ising`.

    Examples
    --------
    >>> solution = solve_qubo([[-1, 2], [0, -2]], seed=1)
    >>> solution.best_samples, solution.best_energies
    (array([[0, 1]], dtype=int8), array([-2.]))
    """
    begin = time.perf_counter_ns()
    solver = NativeSolver(
        method=method,
        num_reads=num_reads,
        num_sweeps=num_sweeps,
        num_threads=num_threads,
        beta_range=beta_range,
        time_limit=time_limit,
        target_energy=target_energy,
        num_best=num_best,
        presolve=presolve,
        device=device_of(device, Q, linear),
    )
    if solver.device is not None:
        refuse_on_device(executor=executor, progress=progress)
        return _on_device(solver, (Q, linear), seed, begin, initial_states, bits=True)
    problem = qubo_problem(Q, linear, initial_states=initial_states, num_reads=solver.num_reads)
    return solve_on(solver, problem, seed_or_random(seed), executor, begin, progress)
