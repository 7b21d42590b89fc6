"""QPUSolver on mock chips: energies, packing, wide rows, overlap and budget."""

import time

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from qpsbgd.problem import ising_problem, qubo_problem
from qpsbgd.solvers import AsyncQuboSolver, NativeSolver, QPUSolver, QuboSolver
from qpsbgd.solvers.qpu import (
    QPUBudgetError,
    QPUError,
)
from qpsbgd.solvers.qpu.cost import DEFAULT_TIMING_DATA, Ledger, TimingModel, access_time
from qpu_samplers import QUICK, FakeQPU, RandomQPU, SlowQPU, layer, mock

# --- answers


@pytest.mark.parametrize(
    ("topology", "shape"), [("zephyr", (2, 4)), ("pegasus", (3,)), ("chimera", (3, 3, 4))]
)
def test_best_of_reads_is_the_optimum_of_small_rows(topology, shape):
    problem = layer()
    solutions = QPUSolver(mock(topology, shape), num_reads=50).solve(problem, seed=1)
    assert solutions.samples.shape == (5, 50, 6)
    np.testing.assert_allclose(solutions.energies, problem.energies(solutions.samples))
    assert np.all(np.diff(solutions.energies, axis=1) >= 0)
    exact = NativeSolver(method="exact").solve(problem, seed=0)
    np.testing.assert_allclose(solutions.best_energies, exact.best_energies)


@pytest.mark.parametrize("make", ["own couplings", "sparse", "qubo"])
def test_every_form_of_problem_is_solved(make):
    rng = np.random.default_rng(2)
    if make == "own couplings":
        problem = ising_problem(rng.normal(size=(3, 5)), rng.normal(size=(3, 5, 5)))
    elif make == "sparse":
        problem = ising_problem(rng.normal(size=(3, 5)), csr_matrix(np.triu(rng.normal(size=(5, 5)), 1)))
    else:
        problem = qubo_problem(rng.normal(size=(5, 5)), rng.normal(size=(3, 5)))
    exact = NativeSolver(method="exact").solve(problem, seed=0)
    solutions = QPUSolver(mock(), num_reads=50).solve(problem, seed=1)
    np.testing.assert_allclose(solutions.best_energies, exact.best_energies)
    np.testing.assert_array_equal(np.unique(solutions.samples), np.unique(exact.samples))


@pytest.mark.parametrize("transforms", [0, 1, 3])
def test_spin_reversal_transforms_are_undone(transforms):
    qpu = FakeQPU()
    solver = QPUSolver(qpu, num_reads=50, num_spin_reversal_transforms=transforms, postprocess=None)
    problem = layer()
    solutions = solver.solve(problem, seed=1)
    exact = NativeSolver(method="exact").solve(problem, seed=0)
    np.testing.assert_allclose(solutions.best_energies, exact.best_energies)
    assert len(qpu.models) == max(1, transforms)
    assert sum(arguments["num_reads"] for arguments in qpu.arguments) == 50
    fields = [tuple(np.sign(list(model.linear.values()))) for model in qpu.models]
    assert len(set(fields)) == len(fields)  # another programming each


def test_same_seed_programs_the_same_submission():
    models = []
    for seed in (1, 1, 2):
        qpu = FakeQPU()
        QPUSolver(qpu, **QUICK).solve(layer(), seed=seed)
        models.append(qpu.models[0])
    assert models[0] == models[1]
    assert models[0] != models[2]


def test_rows_share_a_submission_as_far_as_they_fit():
    qpu = FakeQPU()
    solver = QPUSolver(qpu, **QUICK)
    room = solver.rows_per_submission(6)
    assert room > 1
    solver.solve(layer(b=2 * room + 1), seed=0)
    assert len(qpu.models) == 3
    sizes = [model.num_variables for model in qpu.models]
    assert max(sizes) - min(sizes) <= max(sizes) // 4


def test_descent_leaves_no_single_flip_that_helps():
    problem = layer(b=3, n=10)
    solutions = QPUSolver(RandomQPU(), num_reads=4).solve(problem, seed=0)
    for k in range(10):
        flipped = solutions.samples.copy()
        flipped[:, :, k] *= -1
        assert np.all(problem.energies(flipped) >= solutions.energies - 1e-12)


def test_random_qubits_are_reported_as_broken_chains():
    solver = QPUSolver(RandomQPU(), num_reads=40)
    info = solver.solve(layer(n=8), seed=0).info["qpu"]
    assert np.all(info["chain_break_fraction"] > 0.2)
    assert solver.report.chain_break_fraction == pytest.approx(info["chain_break_fraction"].mean())
    assert (
        QPUSolver(mock()).solve(layer(n=4), seed=0).info["qpu"]["chain_break_fraction"].tolist() == [0.0] * 5
    )


def test_annealing_time_reaches_the_sampler_and_our_scale_is_kept():
    qpu = FakeQPU()
    QPUSolver(qpu, num_reads=7, annealing_time=50.0).solve(layer(), seed=0)
    assert qpu.arguments == [
        {"num_reads": 7, "annealing_time": 50.0, "auto_scale": False, "answer_mode": "raw"}
    ]


def test_histograms_are_unfolded_and_short_answers_repeated():
    class Histogram(FakeQPU):
        def answer(self, bqm, arguments):
            return self.now(bqm, {"num_reads": 3}).aggregate()

    assert QPUSolver(Histogram(), num_reads=10).solve(layer(n=3), seed=0).samples.shape == (5, 10, 3)


# --- wide rows


@pytest.mark.parametrize("qpu", [FakeQPU, RandomQPU])
@pytest.mark.parametrize("postprocess", ["descent", None])
def test_wide_rows_never_end_above_their_start(qpu, postprocess):
    problem = layer(b=4, n=60, starts=True)
    solver = QPUSolver(qpu(), num_reads=5, postprocess=postprocess)
    assert solver.device.store.largest < 60
    solutions = solver.solve(problem, seed=3)
    assert solutions.samples.shape == (4, 1, 60)
    assert np.all(solutions.best_energies <= problem.energies(problem.initial_states)[:, 0] + 1e-12)
    np.testing.assert_allclose(solutions.energies, problem.energies(solutions.samples))


def test_wide_rows_come_near_the_native_solver():
    problem = layer(b=4, n=60, starts=True)
    start = problem.energies(problem.initial_states)[:, 0]
    best = NativeSolver().solve(problem, seed=0).best_energies
    found = QPUSolver(mock(), num_reads=20, block_passes=3).solve(problem, seed=3).best_energies
    assert np.all(found - best < 0.05 * (start - best))


def test_block_size_cuts_rows_that_would_fit():
    qpu = FakeQPU()
    QPUSolver(qpu, **QUICK, block_size=4).solve(layer(b=1, n=10), seed=0)
    assert len(qpu.models) == 3


def test_block_size_beyond_the_largest_clique_is_refused():
    with pytest.raises(ValueError, match="block_size is 100, but the largest clique of the sampler has 24"):
        QPUSolver(mock(), block_size=100).solve(layer(), seed=0)


# --- overlap


def test_all_batches_are_submitted_before_the_first_answer():
    qpu = SlowQPU(0.2)
    solver = QPUSolver(qpu, **QUICK)
    pending = [solver.submit(layer(seed=seed), seed=seed) for seed in range(3)]
    assert len(qpu.asked_at) == 3
    assert not qpu.answered_at
    assert [answer.result().samples.shape for answer in pending] == [(5, 10, 6)] * 3


def test_blocks_of_one_batch_go_on_while_another_is_awaited():
    qpu = SlowQPU(0.05)
    solver = QPUSolver(qpu, **QUICK)
    wide = solver.submit(layer(b=2, n=60), seed=0)
    also_wide = solver.submit(layer(b=2, n=60, seed=1), seed=0)
    begin = time.monotonic()
    wide.result()
    also_wide.result()
    blocks = len(qpu.models) // 2
    assert blocks >= 3
    assert time.monotonic() - begin < 1.7 * blocks * 0.05 + 0.2


def test_cancelled_batches_free_their_reservation():
    solver = QPUSolver(SlowQPU(5.0), **QUICK)
    pending = solver.submit(layer(), seed=0)
    assert solver.ledger.reserved > 0
    pending.cancel()
    assert solver.ledger.reserved == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(QPUError, match="cancelled"):
        pending.result()


def test_solver_keeps_the_protocols():
    solver = QPUSolver(mock())
    assert isinstance(solver, QuboSolver)
    assert isinstance(solver, AsyncQuboSolver)
    assert not isinstance(NativeSolver(), AsyncQuboSolver)


# --- cost


def test_access_time_is_that_of_the_cloud_client():
    from dwave.cloud.solver import StructuredSolver
    from dwave.cloud.testing.mocks import qpu_clique_solver_data, qpu_problem_timing_data

    data = qpu_clique_solver_data(3)
    data["properties"]["problem_timing_data"] = timing = qpu_problem_timing_data()
    solver = StructuredSolver(client=None, data=data)
    for qubits, reads, annealing in ((1, 1, None), (60, 100, 5.0), (3000, 10, None)):
        theirs = solver.estimate_qpu_access_time(qubits, reads, annealing_time=annealing) * 1e-6
        assert access_time(timing, qubits, reads, annealing) == pytest.approx(theirs)
        assert access_time(DEFAULT_TIMING_DATA, qubits, reads, annealing) == pytest.approx(theirs)


def test_estimates_ask_the_data_given_then_the_solver_then_the_properties():
    class Estimator:
        def estimate_qpu_access_time(self, num_qubits, num_reads=1, annealing_time=None):
            return 1e6 * num_reads

    sampler = mock(
        properties={"problem_timing_data": {**DEFAULT_TIMING_DATA, "typical_programming_time": 0.0}}
    )
    of_properties = TimingModel(sampler).seconds(10, 3, None)
    assert of_properties == pytest.approx(access_time(DEFAULT_TIMING_DATA, 10, 3) - 0.01407288)
    sampler.solver = Estimator()
    assert TimingModel(sampler).seconds(10, 3, None) == 3.0
    assert TimingModel(sampler, DEFAULT_TIMING_DATA).seconds(10, 3, None) == access_time(
        DEFAULT_TIMING_DATA, 10, 3
    )


def test_timing_data_of_another_model_are_refused():
    with pytest.raises(ValueError, match=r"version '2\.0'"):
        access_time({"version": "2.0"}, 1, 1)


def test_batch_beyond_the_budget_is_refused_with_its_estimate_and_not_sent():
    qpu = FakeQPU()
    solver = QPUSolver(qpu, **QUICK, max_qpu_seconds=0.01)
    with pytest.raises(
        QPUBudgetError, match=r"would take about 0\.0\d+ s of QPU time; max_qpu_seconds is 0\.01"
    ):
        solver.submit(layer(), seed=0)
    assert qpu.models == []
    assert solver.qpu_seconds == 0


def test_reported_time_is_counted_until_the_budget_is_used():
    qpu = FakeQPU()
    solver = QPUSolver(qpu, **QUICK, max_qpu_seconds=0.06)
    for _ in range(5):
        solver.solve(layer(), seed=0)
    assert solver.qpu_seconds == pytest.approx(5 * 8550.28e-6)
    solver.qpu_seconds = 0.05
    with pytest.raises(QPUBudgetError, match=r"0\.05 s spent"):
        solver.solve(layer(), seed=0)


def test_batches_under_way_count_against_the_budget():
    solver = QPUSolver(SlowQPU(0.5), **QUICK, max_qpu_seconds=0.03)
    pending = solver.submit(layer(), seed=0)
    with pytest.raises(QPUBudgetError, match="under way"):
        solver.submit(layer(), seed=0)
    pending.cancel()


def test_wide_rows_are_estimated_with_all_their_blocks():
    solver = QPUSolver(mock(), num_reads=10)
    one, wide = layer(b=1, n=20), layer(b=1, n=60)
    assert solver.estimate(wide) == pytest.approx(3 * solver.estimate(one))


def test_estimate_without_reported_time_is_counted():
    qpu = RandomQPU()
    solver = QPUSolver(qpu, **QUICK)
    expected = solver.estimate(layer())
    solver.solve(layer(), seed=0)
    assert solver.qpu_seconds == pytest.approx(expected)
    assert solver.ledger.reserved == pytest.approx(0.0, abs=1e-12)


def test_ledger_refuses_and_then_takes_what_fits():
    ledger = Ledger(limit=1.0)
    with pytest.raises(QPUBudgetError, match="it would take about 2 s"):
        ledger.reserve(2.0, "it")
    ledger.reserve(1.0, "it")
