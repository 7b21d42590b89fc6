"""Two threads against one on the layer problems, end to end.

With the default number of annealing sweeps, and with the tabu sweeps that reach a peer's 100x10 on W1.
Calls of a millisecond gain less: creating and joining a thread take about 45 µs, as do the parts that one
thread does.
"""

import time

import numpy as np
import pytest

from harness import LAYERS, Rung, median_seconds, record_facts, solve_layer
from qpsbgd.solvers.native import default_num_threads

RUNGS = [Rung("anneal", 1000), Rung("tabu", 5)]


def seconds_in_turn(layer, rung: Rung, rounds: int) -> tuple[float, float]:
    """Median seconds of a call with one thread and with two, which take turns."""
    times: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for num_threads, taken in times.items():
            begin = time.perf_counter()
            solve_layer(layer, rung, 0, num_threads)
            taken.append(time.perf_counter() - begin)
    return float(np.median(times[1])), float(np.median(times[2]))


@pytest.mark.skipif(default_num_threads() < 2, reason="this process may use one processor only")
@pytest.mark.benchmark(group="scaling")
@pytest.mark.parametrize("rung", RUNGS, ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_two_threads(benchmark, mode, name, rung):
    layer, rounds = LAYERS[name], mode.choose(3, 9)
    alone = solve_layer(layer, rung, 0)
    together = benchmark.pedantic(
        solve_layer, args=(layer, rung, 0), kwargs={"num_threads": 2}, rounds=rounds, warmup_rounds=1
    )
    np.testing.assert_array_equal(alone, together)  # threads change nothing but the time
    quick = median_seconds(benchmark) < 0.05  # calls of milliseconds scatter most
    one, two = seconds_in_turn(layer, rung, 30 * rounds if quick else rounds)
    record_facts(benchmark, f"threads, {name}, {rung}", speedup_of_two_threads=one / two)
