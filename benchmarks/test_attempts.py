"""The same algorithm for the same sweeps, temperatures and reads: seconds per attempted flip."""

import dimod
import numpy as np
import pytest
import scipy.sparse

from harness import bqm_of_edges, need, record, torus
from qpsbgd import solve_ising


class Attempts:
    """A problem, its temperatures, and both ways to hold it."""

    def __init__(self, workload, h, J, bqm, beta_range, sweeps, reads):
        self.workload, self.h, self.J, self.bqm = workload, h, J, bqm
        self.arguments = {"beta_range": beta_range, "num_sweeps": sweeps, "num_reads": reads}

    @property
    def count(self) -> int:
        return len(self.h) * self.arguments["num_sweeps"] * self.arguments["num_reads"]


def dense(mode) -> Attempts:
    random = np.random.default_rng(0)
    n = 128
    h, J = random.normal(size=n), np.triu(random.normal(size=(n, n)), 1)
    row, column = np.nonzero(J)
    bqm = bqm_of_edges(h, row, column, J[row, column])
    return Attempts("attempts, dense 128", h, J, bqm, (0.02, 2.0), 1000, mode.choose(100, 1000))


def sparse_torus(mode) -> Attempts:
    values, row, column = torus(40, 50)
    n = 2000
    J = scipy.sparse.csr_matrix((values, (row, column)), shape=(n, n))
    bqm = bqm_of_edges(np.zeros(n), row, column, values)
    return Attempts("attempts, torus 2000", np.zeros(n), J, bqm, (0.1, 3.0), mode.choose(200, 1000), 64)


PROBLEMS = pytest.mark.parametrize("make", [dense, sparse_torus], ids=["dense-128", "torus-2000"])


def native_energies(problem: Attempts, seed: int) -> np.ndarray:
    return solve_ising(
        problem.h, problem.J, method="anneal", seed=seed, num_threads=1, **problem.arguments
    ).energies[0]


def peer_energies(problem: Attempts, seed: int) -> np.ndarray:
    from dwave.samplers import SimulatedAnnealingSampler

    answer = SimulatedAnnealingSampler().sample(problem.bqm, seed=seed, **problem.arguments)
    assert answer.vartype is dimod.SPIN
    return np.sort(answer.record.energy)


def note(benchmark, problem: Attempts, solver: str, energies: np.ndarray, peer: bool) -> None:
    sweeps, reads = problem.arguments["num_sweeps"], problem.arguments["num_reads"]
    record(
        benchmark,
        workload=problem.workload,
        solver=solver,
        budget=f"{sweeps}x{reads}",
        peer=peer,
        unit="attempt",
        rows=problem.count,
        energies=[energies.mean()],
        equal_energy=False,
    )


@pytest.mark.benchmark(group="attempts")
@PROBLEMS
def test_qpsbgd(benchmark, mode, make):
    need("dwave.samplers")
    problem = make(mode)
    energies = benchmark.pedantic(native_energies, args=(problem, 0), rounds=3, warmup_rounds=1)
    # Sequential Metropolis either way: the reads end at the same mean energy, but for chance.
    peer = peer_energies(problem, 0)
    error = np.hypot(energies.std(), peer.std()) / np.sqrt(energies.size)
    assert energies.mean() <= peer.mean() + 5 * error
    note(benchmark, problem, "qpsbgd anneal", energies, peer=False)


@pytest.mark.benchmark(group="attempts")
@PROBLEMS
def test_dwave_annealing(benchmark, mode, make):
    need("dwave.samplers")
    problem = make(mode)
    energies = benchmark.pedantic(peer_energies, args=(problem, 0), rounds=mode.choose(1, 3))
    assert (energies < 0).all()
    note(benchmark, problem, "dwave SA", energies, peer=True)
