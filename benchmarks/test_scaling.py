"""Two threads against one on the layer problems, end to end.

With the default number of annealing sweeps, and with the tabu sweeps that reach a peer's 100x10 on W1.
Calls of a millisecond gain less: starting a thread takes about 50 µs, as do the parts that one thread does.
"""

import time

import numpy as np
import pytest

from harness import LAYERS, Rung, record_facts, solve_layer
from qpsbgd.solvers.native import default_num_threads

RUNGS = [Rung("anneal", 1000), Rung("tabu", 5)]


def seconds_with(layer, rung: Rung, num_threads: int, rounds: int) -> float:
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        solve_layer(layer, rung, 0, num_threads)
        times.append(time.perf_counter() - begin)
    return float(np.median(times))


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
    one, two = (seconds_with(layer, rung, threads, rounds) for threads in (1, 2))
    record_facts(benchmark, f"threads, {name}, {rung}", speedup_of_two_threads=one / two)
