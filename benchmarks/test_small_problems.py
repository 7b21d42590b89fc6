"""10,000 problems of 16 variables: ours proves every answer; a peer answers the first ones."""

from functools import cache

import numpy as np
import pytest

from harness import Model, best_spins, need, record
from qpsbgd import solve_ising

PROBLEMS = 10_000
SPINS = 16
WORKLOAD = f"{PROBLEMS:,} problems of {SPINS}"


@cache
def problems() -> tuple[np.ndarray, np.ndarray]:
    """Fields (problems, spins) and couplings (problems, spins, spins)."""
    random = np.random.default_rng(0)
    J = np.triu(random.normal(size=(PROBLEMS, SPINS, SPINS)), 1)
    return random.normal(size=(PROBLEMS, SPINS)), J


@cache
def optima() -> np.ndarray:
    h, J = problems()
    return solve_ising(h, J, method="exact").best_energies


def energies_of(spins: np.ndarray) -> np.ndarray:
    h, J = (array[: len(spins)] for array in problems())
    return np.einsum("bi,bij,bj->b", spins, J, spins) + (spins * h).sum(axis=1)


def lowest_energy(h: np.ndarray, J: np.ndarray) -> float:
    """By trying all states."""
    states = 1.0 - 2.0 * ((np.arange(2**SPINS)[:, None] >> np.arange(SPINS)) & 1)
    return float(((states @ J + h) * states).sum(axis=1).min())


@pytest.mark.benchmark(group="small problems")
def test_qpsbgd_exact(benchmark, mode):
    h, J = problems()
    solution = benchmark.pedantic(
        solve_ising,
        args=(h, J),
        kwargs={"method": "exact", "num_threads": 1},
        rounds=mode.choose(3, 10),
        warmup_rounds=1,
    )
    assert solution.info["proven_optimal"]
    energies = energies_of(solution.best_samples)
    np.testing.assert_allclose(energies, solution.best_energies, rtol=1e-9)
    for index in range(5):
        assert energies[index] == pytest.approx(lowest_energy(h[index], J[index]))
    record(
        benchmark,
        workload=WORKLOAD,
        solver="qpsbgd exact",
        budget="proven",
        unit="problem",
        rows=PROBLEMS,
        energies=energies,
    )


def anneal(models: list[Model], sweeps: int, reads: int) -> np.ndarray:
    from dwave.samplers import SimulatedAnnealingSampler

    sampler = SimulatedAnnealingSampler()
    return np.array(
        [
            best_spins(sampler.sample(model.bqm, num_sweeps=sweeps, num_reads=reads, seed=0))
            for model in models
        ]
    )


@pytest.mark.benchmark(group="small problems")
@pytest.mark.parametrize(("sweeps", "reads"), [(100, 10), (1000, 1), (100, 1)])
def test_dwave_annealing(benchmark, mode, sweeps, reads):
    need("dwave.samplers")
    count = mode.choose(200, 2000)
    models = [Model(h, J, (0.1, 10.0)) for h, J in zip(*(part[:count] for part in problems()), strict=True)]
    assert all(len(model.bqm) == SPINS for model in models)  # made here, not timed
    energies = energies_of(benchmark.pedantic(anneal, args=(models, sweeps, reads)))
    found = float(np.isclose(energies, optima()[:count], rtol=1e-9).mean())
    assert (energies >= optima()[:count] - 1e-9).all()
    record(
        benchmark,
        workload=WORKLOAD,
        solver="dwave SA",
        budget=f"{sweeps}x{reads}, {found:.1%} optimal",
        peer=True,
        unit="problem",
        rows=count,
        energies=energies,
        optima_found=found,
    )
