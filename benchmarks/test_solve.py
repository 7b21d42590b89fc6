"""Native solver and dwave.samplers on the same problems: time, and the energy reached in that time.

A time says nothing without the energy beside it, so each benchmark records both, and the native
solver has to reach the peer's mean energy.
"""

import dimod
import numpy as np
import pytest
from dwave.samplers import SimulatedAnnealingSampler

from qpsbgd import solve_ising

SPINS = 128
PROBLEMS = 8
READS = 10
SWEEPS = 100


def layer_problems() -> tuple[np.ndarray, np.ndarray]:
    """Fields (problems, spins) and shared couplings (spins, spins) of a layer on Gaussian data."""
    random = np.random.default_rng(0)
    X, W = random.normal(size=(64, SPINS)), random.normal(size=(PROBLEMS, SPINS))
    A = X.T @ X / X.shape[0]
    np.fill_diagonal(A, 0.0)  # adds a constant only
    return -2.0 * W @ (X.T @ X) / X.shape[0], A


@pytest.fixture(scope="module")
def problems() -> tuple[np.ndarray, np.ndarray]:
    return layer_problems()


def native_energies(h: np.ndarray, J: np.ndarray) -> np.ndarray:
    solutions = solve_ising(h, J, method="anneal", num_reads=READS, num_sweeps=SWEEPS, seed=0, num_threads=1)
    return solutions.best_energies


def peer_energies(h: np.ndarray, J: np.ndarray) -> np.ndarray:
    """Best energies of dwave.samplers with its default beta range, one model per problem."""
    sampler = SimulatedAnnealingSampler()
    models = (dimod.BinaryQuadraticModel(fields, J, "SPIN") for fields in h)
    samples = (sampler.sample(model, num_reads=READS, num_sweeps=SWEEPS, seed=0) for model in models)
    return np.array([result.first.energy for result in samples])


@pytest.mark.benchmark(group=f"layer: {PROBLEMS} problems of {SPINS} spins, {READS} reads, {SWEEPS} sweeps")
def test_native(benchmark, problems):
    energies = benchmark(native_energies, *problems)
    benchmark.extra_info["energy"] = energies.mean()
    assert energies.mean() <= peer_energies(*problems).mean()


@pytest.mark.benchmark(group=f"layer: {PROBLEMS} problems of {SPINS} spins, {READS} reads, {SWEEPS} sweeps")
def test_dwave_simulated_annealing(benchmark, problems):
    energies = benchmark.pedantic(peer_energies, args=problems, rounds=3)
    benchmark.extra_info["energy"] = energies.mean()
    assert energies.shape == (PROBLEMS,)
