"""A batch solved on a device: the counterpart of what the native core does on the host."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from qpsbgd.problem.checks import seed_or_random
from qpsbgd.problem.ising import IsingProblem, Solutions
from qpsbgd.solvers.device.batch import TensorBatch, batch_of, checked_device, ising_batch, qubo_batch
from qpsbgd.solvers.device.exchange import RUNGS, exchange
from qpsbgd.solvers.device.finish import finished
from qpsbgd.solvers.device.fixed import FixedCouplings, fixed_couplings, fixed_fields
from qpsbgd.solvers.device.search import Search, search
from qpsbgd.solvers.protocol import timing

__all__ = ["solve_arrays", "solve_tensors"]

_MOST_SPINS = 2**25
"""Of the reads that go in step: some 50 bytes each."""
_MOST_COUPLINGS = 2**25
"""Of their own matrices."""


def solve_tensors(
    settings: Any,
    device: Any,
    values: tuple[Any, Any],
    seed: Any,
    begin: int,
    *,
    initial_states: Any,
    bits: bool,
) -> Solutions:
    """Check and solve what `solve_ising` (h, J) or `solve_qubo` (Q, linear) got; the answer holds tensors.

    Examples
    --------
    >>> from qpsbgd.solvers import NativeSolver
    >>> given = [1.0, 0.0], torch.tensor([[0.0, -1.0], [0.0, 0.0]])
    >>> solve_tensors(NativeSolver(), "cpu", given, 0, 0, initial_states=None, bits=False).best_samples
    tensor([[-1, -1]], dtype=torch.int8)
    """
    make = qubo_batch if bits else ising_batch
    batch = make(*values, checked_device(device), initial_states=initial_states, num_reads=settings.num_reads)
    return _solved(batch, settings, seed_or_random(seed), 0, begin, None)


def solve_arrays(
    settings: Any,
    problem: IsingProblem,
    seed: int,
    first_problem: int,
    begin: int,
    interrupt_function: Callable[[], object] | None,
) -> Solutions:
    """Solve a batch of the host on the device of the settings; the answer holds arrays."""
    batch = batch_of(problem, checked_device(settings.device))
    return _solved(batch, settings, seed, first_problem, begin, interrupt_function).to_host()


def _solved(
    batch: TensorBatch,
    settings: Any,
    seed: int,
    first_problem: int,
    begin: int,
    interrupt_function: Callable[[], object] | None,
) -> Solutions:
    prepared = time.perf_counter_ns()
    b, n = batch.h.shape
    reads, device = settings.num_reads, batch.h.device
    samples = torch.empty((b, reads, n), dtype=torch.int8, device=device)
    energies = torch.empty((b, reads), dtype=torch.float64, device=device)
    method = settings.method
    if method == "auto":
        method = "tabu" if settings.beta_range is None else "anneal"
    info: dict[str, Any] = {"method": method, "sweeps": 0, "beta_range": None, "proven_optimal": False}
    doubles: Tensor | None = None
    replicas = RUNGS if method == "exchange" else 1
    parts = list(_parts(b, reads, n, replicas, own=batch.J.dim() == 3))
    for number, (problems, chosen) in enumerate(parts):
        part = batch.rows(problems)
        if doubles is None or batch.J.dim() == 3:
            doubles = part.couplings()
            couplings = fixed_couplings(doubles)
        how = _search(settings, method, seed, begin, len(parts) - number, interrupt_function)
        numbers = torch.arange(first_problem + problems.start, first_problem + problems.stop, device=device)
        spins, least, sweeps, betas = _solve_part(part, doubles, couplings, numbers, chosen, how)
        samples[problems, chosen], energies[problems, chosen] = spins, least
        info["sweeps"] += sweeps * len(numbers) * (chosen.stop - chosen.start)
        info["beta_range"] = info["beta_range"] or betas
    if device.type != "cpu":
        energies[0, 0].item()  # until all is there
    sampled = time.perf_counter_ns()
    energies, order = energies.sort(dim=1, stable=True)
    samples = samples.gather(1, order[..., None].expand(b, reads, n))
    if batch.binary:
        samples = (samples > 0).to(torch.int8)
    info |= {"seed": seed, "num_reads": reads, "reads_left_out": 0, "presolve": None, "device": str(device)}
    info["timing"] = timing(begin, prepared, sampled)
    return Solutions(samples, energies, info, batch.binary)  # type: ignore[arg-type]  # tensors


def _parts(b: int, reads: int, n: int, replicas: int, *, own: bool) -> Iterator[tuple[slice, slice]]:
    """Cut a batch into problems and reads that go in step."""
    together = max(1, _MOST_SPINS // (n * replicas))
    problems = max(1, together // reads)
    if own:
        problems = max(1, min(problems, _MOST_COUPLINGS // n**2))
    for first in range(0, b, problems):
        for read in range(0, reads, together):
            yield slice(first, min(b, first + problems)), slice(read, min(reads, read + together))


def _search(
    settings: Any,
    method: str,
    seed: int,
    begin: int,
    parts_left: int,
    interrupt_function: Callable[[], object] | None,
) -> Search:
    """How to search a part, with its share of the time that is left."""
    limit = settings.time_limit
    deadline = None
    if limit is not None:
        now = time.perf_counter_ns()
        deadline = now + (begin + int(limit * 1e9) - now) // parts_left

    def is_over() -> bool:
        if deadline is not None and time.perf_counter_ns() >= deadline:
            return True
        return interrupt_function is not None and bool(interrupt_function())

    watched = deadline is not None or interrupt_function is not None
    return Search(
        method,
        settings.num_sweeps,
        settings.beta_range,
        seed,
        is_over if watched else None,
        has_deadline=deadline is not None,
    )


def _solve_part(
    batch: TensorBatch,
    doubles: Tensor,
    couplings: FixedCouplings,
    problems: Tensor,
    chosen: slice,
    how: Search,
) -> tuple[Tensor, Tensor, int, tuple[float, float] | None]:
    """Search the chosen reads of all problems of a batch, and end them in float64."""
    b, n = batch.h.shape
    m, reads = len(doubles), chosen.stop - chosen.start

    def by_matrix(values: Tensor) -> Tensor:
        """(b, reads, ...) as (m, r, ...)."""
        return values.expand(b, reads, *values.shape[2:]).reshape(m, b * reads // m, *values.shape[2:])

    starts = batch.initial_states
    if starts is not None:
        starts = by_matrix(starts if starts.shape[1] == 1 else starts[:, chosen])
    own = fixed_fields(by_matrix(batch.h[:, None]), couplings.shifts)
    numbers = torch.arange(chosen.start, chosen.stop, device=own.device)[None]
    searched = exchange if how.method == "exchange" else search
    found = searched(couplings, own, starts, by_matrix(problems[:, None]), by_matrix(numbers), how)
    spins, energies = finished(batch, doubles, found.spins, starts)
    return spins.reshape(b, reads, n), energies.reshape(b, reads), found.sweeps, found.beta_range
