"""What a call costs before the first sweep and after the last: wall time without the solver's own."""

import time

import numpy as np
import pytest

from harness import record_facts
from qpsbgd import solve_ising

PROBLEMS, SPINS = 128, 40


@pytest.mark.benchmark(group="overhead")
@pytest.mark.parametrize("num_sweeps", [1, 100, None], ids=str)
def test_overhead_of_a_call(benchmark, num_sweeps):
    random = np.random.default_rng(0)
    h, J = random.normal(size=(PROBLEMS, SPINS)), random.normal(size=(SPINS, SPINS))
    fractions: list[float] = []

    def call() -> None:
        begin = time.perf_counter_ns()
        solution = solve_ising(h, J, num_sweeps=num_sweeps, seed=0, num_threads=1)
        wall = time.perf_counter_ns() - begin
        assert 0 < solution.info["timing"]["sampling_ns"] <= wall
        assert np.isfinite(solution.energies).all()
        fractions.append(1.0 - solution.info["timing"]["sampling_ns"] / wall)

    benchmark.pedantic(call, rounds=50, warmup_rounds=5)
    sweeps = "default sweeps" if num_sweeps is None else f"{num_sweeps} sweeps"
    record_facts(
        benchmark,
        f"overhead, {PROBLEMS} problems of {SPINS}, {sweeps}",
        overhead_fraction=float(np.median(fractions)),
    )
