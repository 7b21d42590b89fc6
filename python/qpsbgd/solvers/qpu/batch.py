"""Rounds of submissions that solve a batch: rows as a whole, or block after block."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qpsbgd.problem.ising import CSRCouplings, IsingProblem, Solutions
from qpsbgd.solvers.native import NativeSolver
from qpsbgd.solvers.protocol import timing
from qpsbgd.solvers.qpu.chip.layout import Doubles, Layout
from qpsbgd.solvers.qpu.errors import QPUError
from qpsbgd.solvers.qpu.jobs import Job, Rounds, read_samples
from qpsbgd.solvers.qpu.plan import Plan
from qpsbgd.solvers.qpu.scaling import bounded_fields, chain_strengths, effective_bits, row_scales
from qpsbgd.solvers.qpu.session import Session

__all__ = ["fallback_rounds", "solve_rounds"]

Spins = npt.NDArray[np.int8]


@dataclass(frozen=True)
class _Submission:
    """One job with what it takes to read its answer."""

    job: Job
    layout: Layout
    rows: slice
    signs: Spins
    reads: int


class _Figures(NamedTuple):
    """Figures of every row in one round, each (b,)."""

    chain_strength: Doubles
    scale: Doubles
    effective_bits: Doubles
    chain_break_fraction: Doubles


@dataclass
class _Record:
    """Figures of one batch, gathered over its rounds."""

    rows: int
    submissions: int = 0
    attempts: int = 0
    fallback_rows: int = 0
    qpu_seconds: float = 0.0
    figures: list[_Figures] = field(default_factory=list)

    def as_info(self) -> dict[str, Any]:
        strengths, scales, bits, breaks = (np.array(column) for column in zip(*self.figures, strict=True))
        return {
            "submissions": self.submissions,
            "attempts": self.attempts,
            "fallback_rows": self.fallback_rows,
            "chain_strength": strengths.mean(axis=0),
            "scale": scales.min(axis=0),
            "effective_bits": bits.min(axis=0),
            "chain_break_fraction": breaks.mean(axis=0),
        }


def solve_rounds(session: Session, problem: IsingProblem, plan: Plan, seed: int) -> Rounds:
    """Make the jobs of a batch, round by round, and at the end its solutions.

    The plan's seconds are reserved in the session's ledger already; what no job uses of them is given back.

    Parameters
    ----------
    session : Session
        Device, options, ledger, and what to do about failures.
    problem : IsingProblem
        The batch.
    plan : Plan
        How it is cut into submissions.
    seed : int
        Of the random signs and blocks.
    """
    begin = time.perf_counter_ns()
    batch = _Batch(session, plan, np.random.default_rng(seed), seed)
    try:
        W = _pair_couplings(problem)
        prepared = time.perf_counter_ns()
        if plan.num_blocks == 1:
            spins = yield from batch.one_round(problem.h, W)
        else:
            spins = yield from _block_rounds(batch, problem, W)
    finally:
        batch.release()
    sampled = time.perf_counter_ns()
    info: dict[str, Any] = {"method": "qpu", "sweeps": None, "qpu": batch.record.as_info()}
    solutions = Solutions.of(problem, spins, info=info)
    info["timing"] = timing(begin, prepared, sampled)
    info["timing"]["qpu_access_ns"] = round(batch.record.qpu_seconds * 1e9)
    return solutions


def fallback_rounds(session: Session, problem: IsingProblem, error: QPUError, seed: int) -> Rounds:
    """Answer a batch natively, since no QPU could be opened; rows never end above their initial states."""
    begin = time.perf_counter_ns()
    session.failure(error, 1)  # warns once
    session.healthy = False
    session.report.fallback_rows += problem.num_problems
    spins = _native_spins(problem, seed)
    sampled = time.perf_counter_ns()
    unknown = np.full(problem.num_problems, np.nan)
    info: dict[str, Any] = {
        "method": "qpu",
        "sweeps": None,
        "qpu": {
            "submissions": 0,
            "attempts": 0,
            "fallback_rows": problem.num_problems,
            "chain_strength": unknown,
            "scale": unknown,
            "effective_bits": unknown,
            "chain_break_fraction": np.zeros(problem.num_problems),
        },
    }
    reads = session.options.num_reads
    solutions = Solutions.of(problem, np.repeat(spins, reads, axis=1), info=info)
    info["timing"] = timing(begin, begin, sampled)
    info["timing"]["qpu_access_ns"] = 0
    yield from ()  # no job, but rounds all the same
    return solutions


def _native_spins(problem: IsingProblem, seed: int) -> Spins:
    """Spins (b, 1, n) of the native solver, or the best initial states where those are better."""
    plain = replace(problem, binary=False, initial_states=None)
    spins = NativeSolver().solve(plain, seed=seed).samples
    if problem.initial_states is not None:
        spins = np.concatenate([spins, problem.initial_states], axis=1)
        best = np.argmin(problem.energies(spins), axis=1)
        spins = np.take_along_axis(spins, best[:, None, None], axis=1)
    return spins


def _block_rounds(batch: _Batch, problem: IsingProblem, W: Doubles) -> Generator[list[Job], None, Spins]:
    """Visit one block after the other, in all rows together; spins change where their energy falls."""
    state = _starts(problem, batch.rng)
    for block in _blocks(batch.plan, batch.rng):
        rest = np.setdiff1d(np.arange(problem.num_spins), block)
        outside = W[..., rest[:, None], block]
        pull = state[:, rest].astype(np.float64)
        fields = problem.h[:, block] + (
            pull @ outside if W.ndim == 2 else np.einsum("br,brk->bk", pull, outside)
        )
        inside = W[..., block[:, None], block]
        found = yield from batch.one_round(fields, inside)
        part = _part(fields, inside)
        energies = part.energies(found)
        best = np.argmin(energies, axis=1)
        rows = np.arange(len(best))
        better = energies[rows, best] < part.energies(state[:, None, block])[:, 0]
        chosen = found[rows, best]
        state[:, block] = np.where(better[:, None], chosen, state[:, block])
    return state[:, None, :]


class _Batch:
    """What the rounds of one batch share."""

    def __init__(self, session: Session, plan: Plan, rng: np.random.Generator, seed: int) -> None:
        self.session = session
        self.plan = plan
        self.rng = rng
        self.seed = seed
        self.record = _Record(sum(plan.parts))
        self._reserved = plan.seconds

    def release(self) -> None:
        """Give back what is reserved for jobs that were never made."""
        self.session.ledger.settle(self._reserved, 0.0)
        self._reserved = 0.0

    def one_round(self, h: Doubles, W: Doubles) -> Generator[list[Job], None, Spins]:
        """Solve rows of fields h (b, n) and symmetric couplings W; return spins (b, reads, n)."""
        options = self.session.options
        part = _part(h, W)
        bounded = bounded_fields(h, W)
        strengths = chain_strengths(options.chain_strength, bounded, W, part.to_bqm)
        figures = _Figures(strengths, np.full(len(h), np.inf), np.full(len(h), np.inf), np.zeros(len(h)))
        submissions = [
            self._submission(bounded, W, rows, reads, figures)
            for reads in self.plan.reads
            for rows in _slices(self.plan.parts)
        ]
        yield [submission.job for submission in submissions]
        spins = np.concatenate(
            [
                np.concatenate([self._read(submission, bounded, part, figures) for submission in transform])
                for transform in _chunks(submissions, len(self.plan.parts))
            ],
            axis=1,
        )
        self.record.figures.append(figures)
        if options.postprocess == "descent":
            start = replace(part, initial_states=np.ascontiguousarray(spins))
            descent = NativeSolver(method="descent", num_reads=spins.shape[1])
            spins = descent.solve(start, seed=self.seed).samples
        return spins

    def _submission(self, h: Doubles, W: Doubles, rows: slice, reads: int, figures: _Figures) -> _Submission:
        session, device = self.session, self.session.device
        options = session.options
        n = h.shape[1]
        layout = device.layout(n, rows.stop - rows.start, self.plan.clique_size)
        if options.num_spin_reversal_transforms:
            signs = self.rng.choice(np.array([-1, 1], dtype=np.int8), size=(layout.rows, n))
        else:
            signs = np.ones((layout.rows, n), dtype=np.int8)
        couplings = (W if W.ndim == 2 else W[rows]) * (signs[:, :, None] * signs[:, None, :])
        fields, pairs = layout.embed(h[rows] * signs, couplings, figures.chain_strength[rows])
        scales = row_scales(layout, fields, pairs, device.limits, device.groups_of(layout))
        bits = effective_bits(layout, pairs, scales, options.control_error)
        figures.scale[rows] = np.minimum(figures.scale[rows], scales)
        figures.effective_bits[rows] = np.minimum(figures.effective_bits[rows], bits)
        send = partial(
            device.sample,
            layout,
            fields * scales[layout.qubit_row],
            pairs * scales[layout.coupler_row],
            **self._parameters(reads),
        )
        estimate = device.timing.seconds(len(layout.qubits), reads, options.annealing_time)
        self._reserved = max(0.0, self._reserved - estimate)
        policy = options.retry if session.healthy else replace(options.retry, max_retries=0)
        job = Job(send, estimate, session.ledger, policy, options.timeout)
        return _Submission(job, layout, rows, signs, reads)

    def _parameters(self, reads: int) -> dict[str, Any]:
        """Arguments of the sampler; the scale is ours, and every read is wanted, not a histogram."""
        accepted, options = self.session.device.accepted, self.session.options
        parameters: dict[str, Any] = {"num_reads": reads}
        if options.annealing_time is not None:
            parameters["annealing_time"] = options.annealing_time
        if "auto_scale" in accepted:
            parameters["auto_scale"] = False
        if "answer_mode" in accepted:
            parameters["answer_mode"] = "raw"
        if "seed" in accepted:
            parameters["seed"] = int(self.rng.integers(2**31))
        return parameters

    def _read(self, submission: _Submission, h: Doubles, part: IsingProblem, figures: _Figures) -> Spins:
        """Spins (rows, reads, n) of one submission: from its answer, or from the fallback."""
        session, job, rows = self.session, submission.job, submission.rows
        num_rows = rows.stop - rows.start
        self.record.attempts += job.attempts
        self.record.qpu_seconds += job.qpu_seconds
        session.report.attempts += job.attempts
        if job.answer is None:
            assert job.error is not None
            failure = session.failure(job.error, job.attempts)
            if failure is not None:
                raise failure
            session.healthy = False
            self.record.fallback_rows += num_rows
            session.report.fallback_rows += num_rows
            answer = NativeSolver().solve(part.rows(rows), seed=self.seed)
            return np.repeat(answer.samples, submission.reads, axis=1)
        session.healthy = True
        samples = read_samples(job.answer, submission.layout.qubits.tolist(), submission.reads)
        preferred = np.where(h[rows] * submission.signs > 0, -1, 1).astype(np.int8)
        found = submission.layout.unembed(samples, preferred)
        figures.chain_break_fraction[rows] += found.break_fractions / len(self.plan.reads)
        self.record.submissions += 1
        session.report.add(num_rows, submission.reads, found.break_fractions, figures.effective_bits[rows])
        return found.spins * submission.signs[:, None, :]


def _slices(parts: tuple[int, ...]) -> Iterator[slice]:
    begin = 0
    for rows in parts:
        yield slice(begin, begin + rows)
        begin += rows


def _chunks(items: list[_Submission], size: int) -> Iterator[list[_Submission]]:
    for begin in range(0, len(items), size):
        yield items[begin : begin + size]


def _part(h: Doubles, W: Doubles) -> IsingProblem:
    """Rows of symmetric couplings as a batch: each pair stands twice in J, so with half its coupling."""
    return IsingProblem(np.ascontiguousarray(h), np.ascontiguousarray(0.5 * W), np.zeros(len(h)))


def _pair_couplings(problem: IsingProblem) -> Doubles:
    """Symmetric W (n, n) or (b, n, n) with zero diagonal: each pair's coupling, in both places."""
    n = problem.num_spins
    if isinstance(problem.J, CSRCouplings):
        J = np.zeros((n, n))
        rows, columns, values = problem.J.triplets()
        np.add.at(J, (rows, columns), values)
    else:
        J = problem.J.astype(np.float64)
    W: Doubles = problem.coupling_scale * (J + J.swapaxes(-1, -2))
    W[..., np.arange(n), np.arange(n)] = 0.0
    return W


def _starts(problem: IsingProblem, rng: np.random.Generator) -> Spins:
    """Return the best initial state of each row, or random spins, (b, n)."""
    starts = problem.initial_states
    if starts is None:
        shape = (problem.num_problems, problem.num_spins)
        return rng.choice(np.array([-1, 1], dtype=np.int8), size=shape)
    best = np.argmin(problem.energies(starts), axis=1)
    chosen: Spins = starts[np.arange(len(starts)), best]
    return chosen.copy()


def _blocks(plan: Plan, rng: np.random.Generator) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the spins of every block to visit; each pass cuts a row anew."""
    for _ in range(plan.num_visits // plan.num_blocks):
        for block in np.array_split(rng.permutation(plan.num_spins), plan.num_blocks):
            yield np.sort(block)
