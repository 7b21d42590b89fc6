"""What holds for every solver: shapes of problems, info, executors."""

from concurrent.futures import Executor, Future, ThreadPoolExecutor

import dimod
import numpy as np
import pytest

from qpsbgd import NativeSampler, solve_ising, solve_qubo
from qpsbgd.problem import ising_problem, qubo_problem
from qpsbgd.solvers import DimodSolver, NativeSolver, NoisySolver, QPUSolver, native, workers
from qpu_samplers import mock

EXACT = NativeSolver(method="exact")


def random_batch(b=3, n=5, seed=0, **options):
    rng = np.random.default_rng(seed)
    return ising_problem(rng.normal(size=(b, n)), rng.normal(size=(b, n, n)), **options)


def one_matrix_in_a_stack(make):
    rng = np.random.default_rng(1)
    h, J = rng.normal(size=(3, 5)), rng.normal(size=(1, 5, 5))
    return (
        (ising_problem(h, J), ising_problem(h, J[0]))
        if make == "ising"
        else (qubo_problem(J, h), qubo_problem(J[0], h))
    )


@pytest.mark.parametrize("make", ["ising", "qubo"])
@pytest.mark.parametrize(
    "solver",
    [
        EXACT,
        DimodSolver(dimod.ExactSolver()),
        NoisySolver(EXACT, num_spin_reversal_transforms=1),
        QPUSolver(mock(), num_reads=20),
        QPUSolver(mock(), num_reads=20, block_size=3),
    ],
    ids=["native", "dimod", "noisy", "qpu", "qpu in blocks"],
)
def test_every_solver_takes_one_matrix_in_a_stack(make, solver):
    stacked, plain = one_matrix_in_a_stack(make)
    answer, expected = solver.solve(stacked, seed=3), solver.solve(plain, seed=3)
    np.testing.assert_array_equal(answer.samples, expected.samples)
    np.testing.assert_array_equal(answer.energies, expected.energies)


def test_executor_takes_one_matrix_in_a_stack():
    rng = np.random.default_rng(1)
    h, J = rng.normal(size=(5, 4)), rng.normal(size=(1, 4, 4))
    with ThreadPoolExecutor(2) as executor:
        split = solve_ising(h, J, seed=1, executor=executor)
        split_bits = solve_qubo(J, h, seed=1, executor=executor)
    np.testing.assert_array_equal(split.energies, solve_ising(h, J[0], seed=1).energies)
    np.testing.assert_array_equal(split_bits.energies, solve_qubo(J[0], h, seed=1).energies)


SOLVERS = {
    "native": NativeSolver(num_reads=2),
    "dimod": DimodSolver(dimod.ExactSolver()),
    "noisy": NoisySolver(NativeSolver(num_reads=2)),
    "descended noisy": NoisySolver(NativeSolver(num_reads=2), postprocess="descent"),
    "qpu": QPUSolver(mock(), num_reads=2),
    "qpu in blocks": QPUSolver(mock(), num_reads=2, block_size=3),
}


@pytest.mark.parametrize("name", SOLVERS)
def test_timing_has_one_shape_in_every_solver(name):
    info = SOLVERS[name].solve(random_batch(), seed=0).info
    names = ["preprocessing_ns", "sampling_ns", "postprocessing_ns"]
    assert list(info["timing"]) == ([*names, "qpu_access_ns"] if name.startswith("qpu") else names)
    assert all(isinstance(value, int) and value >= 0 for value in info["timing"].values())
    assert info["timing"]["sampling_ns"] > 0
    assert isinstance(info["method"], str)
    assert "sweeps" in info
    sampleset = NativeSampler().sample(dimod.BinaryQuadraticModel({0: 1.0}, {}, 0.0, "SPIN"))
    assert list(sampleset.info["timing"]) == names


# --- executors


class Threads:
    """Notes the threads that the native core is asked to use."""

    def __init__(self, monkeypatch, processors):
        self.used = []
        options = native._core.SolveOptions

        def noting(**settings):
            self.used.append(settings["num_threads"])
            return options(**settings)

        monkeypatch.setattr(native, "default_num_threads", lambda: processors)
        monkeypatch.setattr(workers, "default_num_threads", lambda: processors)
        monkeypatch.setattr(native._core, "SolveOptions", noting)


class Elsewhere(Executor):
    """Stands for workers on other machines; works at once."""

    _max_workers = 4

    def submit(self, function, /, *arguments):
        future = Future()
        future.set_result(function(*arguments))
        return future


@pytest.mark.parametrize(("workers", "problems", "share"), [(4, 20, 2), (3, 20, 2), (4, 2, 4), (20, 20, 1)])
def test_workers_on_this_machine_share_its_processors(monkeypatch, workers, problems, share):
    threads = Threads(monkeypatch, processors=8)
    with ThreadPoolExecutor(workers) as executor:
        solve_ising(np.ones((problems, 2)), np.zeros((2, 2)), seed=0, executor=executor)
    assert threads.used == [share] * min(workers, problems)


def test_workers_elsewhere_use_their_machine_and_given_threads_are_kept(monkeypatch):
    threads = Threads(monkeypatch, processors=8)
    solve_ising(np.ones((8, 2)), np.zeros((2, 2)), seed=0, executor=Elsewhere())
    assert threads.used == [8] * 4
    threads.used.clear()
    with ThreadPoolExecutor(2) as executor:
        solve_ising(np.ones((8, 2)), np.zeros((2, 2)), seed=0, executor=executor, num_threads=3)
    assert threads.used == [3, 3]
