"""QPUSolver: rows per submission on an ideal chip, and what it adds to the sampler's own time."""

import concurrent.futures
import threading
import time

import dimod
import numpy as np
import pytest

pytest.importorskip("dwave.system", reason="needs dwave-system: pip install qpsbgd[qpu]")

from dwave.system.testing import MockDWaveSampler

from qpsbgd.problem import ising_problem
from qpsbgd.solvers import QPUSolver
from qpsbgd.solvers.qpu.chip.graph import working_graph
from qpsbgd.solvers.qpu.chip.packing import pack_cliques


class Leap(dimod.Sampler, dimod.Structured):
    """A chip behind a network: random answers after QPU and network time, one job after the other."""

    nodelist = edgelist = properties = parameters = None

    def __init__(self, network=0.1):
        inner = MockDWaveSampler(topology_type="zephyr", topology_shape=[12, 4])
        self.nodelist, self.edgelist = inner.nodelist, inner.edgelist
        self.properties, self.parameters = inner.properties, {**inner.parameters, "auto_scale": []}
        self.network, self.free_at, self.processor_seconds = network, 0.0, 0.0

    def sample(self, bqm, num_reads, **_):
        begin, now = time.process_time(), time.perf_counter()
        # 15 ms of programming and about 0.28 ms a read, as on an Advantage system.
        self.free_at = max(now, self.free_at) + 0.015 + 0.28e-3 * num_reads
        future = concurrent.futures.Future()
        rng = np.random.default_rng(0)
        spins = rng.choice(np.array([-1, 1], dtype=np.int8), size=(num_reads, bqm.num_variables))
        answer = dimod.SampleSet.from_samples((spins, bqm.variables), "SPIN", energy=np.zeros(num_reads))
        threading.Timer(self.free_at + self.network - now, future.set_result, [answer]).start()
        self.processor_seconds += time.process_time() - begin
        return dimod.SampleSet.from_future(future)


@pytest.mark.parametrize(("size", "floor"), [(20, 37), (40, 15), (60, 8)])
def test_rows_per_submission(benchmark, size, floor):
    graph = working_graph(MockDWaveSampler(topology_type="zephyr", topology_shape=[12, 4]))
    benchmark.group = "qpu: search of a packing, Zephyr Z12"
    cliques = benchmark.pedantic(pack_cliques, args=(graph, size), rounds=1)
    benchmark.extra_info["rows per submission"] = len(cliques)
    assert len(cliques) >= floor


def test_time_beyond_the_sampler(benchmark):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(64, 20))
    problem = ising_problem(rng.normal(size=(128, 20)), X.T @ X / 64)
    leap = Leap()
    solver = QPUSolver(leap, num_reads=100)
    estimate = solver.estimate(problem)  # the packing is searched here, once
    solver.solve(problem, seed=0)
    submissions = -(-128 // solver.rows_per_submission(20))
    own = submissions * (0.015 + 0.28e-3 * 100) + leap.network
    # Processor time, so that other work on the machine does not count; waiting costs next to none.
    begin, leap.processor_seconds = time.process_time(), 0.0
    benchmark.group = "qpu: 128 rows of 20 spins"
    benchmark.pedantic(solver.solve, args=(problem,), kwargs={"seed": 0}, rounds=5)
    beyond = (time.process_time() - begin - leap.processor_seconds) / 5 / own
    alone = 128 * solver.estimate(ising_problem(problem.h[:1], X.T @ X / 64))
    benchmark.extra_info.update(
        {
            "beyond the sampler": beyond,
            "QPU seconds": estimate,
            "QPU seconds, one row a submission": alone,
        }
    )
    print(f"beyond the sampler {beyond:.3f}; QPU seconds {estimate:.4f} packed, {alone:.3f} one row each")
    assert beyond < 0.2
    assert alone >= 20 * estimate
