"""QPUSolver on mock chips: energies, packing, wide rows, overlap, budget, faults and secrecy."""

import copy
import logging
import pickle
import time
import warnings

import dimod
import numpy as np
import pytest
from dwave.cloud.exceptions import (
    PollingTimeout,
    ProblemUploadError,
    RequestTimeout,
    SolverAuthenticationError,
    SolverOfflineError,
)
from scipy.sparse import csr_matrix

from qpsbgd.problem import ising_problem, qubo_problem
from qpsbgd.projection import resolve_solver
from qpsbgd.solvers import AsyncQuboSolver, NativeSolver, QPUSolver, QuboSolver
from qpsbgd.solvers.dimod import DimodSolver
from qpsbgd.solvers.qpu import (
    QPUBudgetError,
    QPUConfigError,
    QPUError,
    QPUFallbackWarning,
)
from qpsbgd.solvers.qpu.cost import DEFAULT_TIMING_DATA, Ledger, TimingModel, access_time
from qpu_samplers import FakeQPU, RandomQPU, ScriptedQPU, SlowQPU, mock

QUICK = {"num_reads": 10, "retry_delay": 1e-3}


def layer(b=5, n=6, seed=0, starts=False):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(4 * n, n))
    states = rng.choice([-1, 1], size=(b, n)) if starts else None
    return ising_problem(0.3 * rng.normal(size=(b, n)), X.T @ X / (4 * n * n), initial_states=states)


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


# --- faults

FAULTS = [
    ConnectionError("reset"),
    RequestTimeout("slow"),
    ("later", PollingTimeout("lost")),
    ("later", ProblemUploadError("upload")),
    SolverOfflineError("maintenance"),
]


def test_a_sequence_of_transient_faults_is_ridden_out():
    qpu = ScriptedQPU(FAULTS)
    solver = QPUSolver(qpu, **QUICK, max_retries=5)
    solutions = solver.solve(layer(), seed=0)
    assert len(qpu.models) == len(FAULTS) + 1
    assert solutions.info["qpu"]["attempts"] == len(FAULTS) + 1
    assert solutions.info["qpu"]["fallback_rows"] == 0
    assert solver.qpu_seconds == pytest.approx(8550.28e-6)
    gaps = np.diff(qpu.asked_at)
    assert np.all(gaps >= 1e-3 * 2.0 ** np.arange(len(FAULTS)))


def test_the_same_submission_is_tried_again():
    qpu = ScriptedQPU(FAULTS[:2])
    QPUSolver(qpu, **QUICK).solve(layer(), seed=0)
    assert qpu.models[0] == qpu.models[1] == qpu.models[2]


def test_exhausted_retries_raise_one_clear_error():
    qpu = ScriptedQPU([ConnectionError("reset")] * 3)
    with pytest.raises(QPUError, match=r"the QPU failed after 3 tries \(ConnectionError: reset\)"):
        QPUSolver(qpu, **QUICK, max_retries=2).solve(layer(), seed=0)


def test_silence_counts_as_a_transient_fault():
    qpu = ScriptedQPU(["silence"])
    solver = QPUSolver(qpu, **QUICK, timeout=0.05)
    estimate = solver.estimate(layer())
    solver.solve(layer(), seed=0)
    assert len(qpu.models) == 2
    # The unanswered try may have run: it counts with its estimate.
    assert solver.qpu_seconds == pytest.approx(estimate + 8550.28e-6)


def test_retry_after_silence_respects_the_budget():
    qpu = ScriptedQPU(["silence"])
    solver = QPUSolver(qpu, **QUICK, timeout=0.05, max_qpu_seconds=0.03)
    with pytest.raises(QPUBudgetError, match="sending a submission again"):
        solver.solve(layer(), seed=0)
    assert len(qpu.models) == 1


def test_fallback_answers_natively_with_one_warning():
    qpu = ScriptedQPU([ConnectionError("reset")] * 20)
    solver = QPUSolver(qpu, **QUICK, max_retries=1, fallback="native")
    problem = layer()
    with pytest.warns(QPUFallbackWarning, match="the QPU failed after 2 tries"):
        first = solver.solve(problem, seed=0)
    solver.solve(problem, seed=1)  # a second warning would be an error here
    exact = NativeSolver(method="exact").solve(problem, seed=0)
    np.testing.assert_allclose(first.best_energies, exact.best_energies)
    assert first.info["qpu"]["fallback_rows"] == 5
    assert len(qpu.models) == 3  # after a fallback one try suffices
    assert solver.qpu_seconds == 0


def test_qpu_that_comes_back_is_used_again():
    qpu = ScriptedQPU([ConnectionError("reset")] * 2)
    solver = QPUSolver(qpu, **QUICK, max_retries=0, fallback="native")
    with pytest.warns(QPUFallbackWarning):
        answers = [solver.solve(layer(), seed=0) for _ in range(3)]
    assert [answer.info["qpu"]["fallback_rows"] for answer in answers] == [5, 5, 0]
    assert solver.healthy


def test_permanent_failures_are_not_tried_again():
    qpu = ScriptedQPU([SolverAuthenticationError("Invalid token or access denied")])
    with pytest.raises(QPUError, match="after 1 try"):
        QPUSolver(qpu, **QUICK).solve(layer(), seed=0)
    assert len(qpu.models) == 1


def test_mistakes_in_the_program_are_neither_retried_nor_covered_up():
    qpu = ScriptedQPU([ZeroDivisionError("bug")])
    with pytest.raises(ZeroDivisionError, match="bug"):
        QPUSolver(qpu, **QUICK, fallback="native").solve(layer(), seed=0)
    assert len(qpu.models) == 1


def test_wide_rows_survive_a_fallback_in_the_middle():
    qpu = ScriptedQPU([None, ConnectionError("reset")])
    solver = QPUSolver(qpu, **QUICK, max_retries=0, fallback="native")
    problem = layer(b=2, n=60, starts=True)
    with pytest.warns(QPUFallbackWarning):
        solutions = solver.solve(problem, seed=0)
    assert np.all(solutions.best_energies <= problem.energies(problem.initial_states)[:, 0])


def test_sampler_without_samples_is_an_error():
    class Empty(FakeQPU):
        def answer(self, bqm, arguments):
            return self.now(bqm, {"num_reads": 1}).slice(0, 0)

    with pytest.raises(QPUError, match="the sampler returned no samples"):
        QPUSolver(Empty(), **QUICK).solve(layer(), seed=0)


def test_interrupt_cancels_what_is_under_way(monkeypatch):
    solver = QPUSolver(SlowQPU(5.0), **QUICK)

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("qpsbgd.solvers.qpu.jobs.time.sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        solver.solve(layer(), seed=0)
    assert solver.ledger.reserved == pytest.approx(0.0, abs=1e-12)


def test_blocks_of_a_size_that_packs_worse_than_a_larger_one_are_solved():
    # On this chip with 8 broken qubits the search finds two cliques of 10 spins, but three of 11.
    full = mock("pegasus", (3,))
    broken = np.random.default_rng(1).choice(
        full.nodelist, size=int(0.06 * len(full.nodelist)), replace=False
    )
    qpu = mock("pegasus", (3,), broken_nodes=broken.tolist())
    solver = QPUSolver(qpu, num_reads=5, block_size=11)
    assert (solver.rows_per_submission(10), solver.rows_per_submission(11)) == (2, 3)
    problem = layer(b=3, n=21, starts=True)  # blocks of 11 and 10 spins
    solutions = solver.solve(problem, seed=0)
    assert solver.report.submissions == 2
    assert np.all(solutions.best_energies <= problem.energies(problem.initial_states)[:, 0])


def test_layout_of_more_rows_than_fit_is_refused():
    device = QPUSolver(mock()).device
    fitting = device.capacity(10)
    assert device.layout(10, fitting).rows == fitting
    with pytest.raises(ValueError, match=f"rows is {fitting + 1}, but {fitting} cliques of 10 spins fit"):
        device.layout(10, fitting + 1)


def test_earlier_name_of_the_transforms_still_works():
    with pytest.warns(DeprecationWarning, match="now num_spin_reversal_transforms, as in Ocean"):
        solver = QPUSolver(mock(), **QUICK, spin_reversal_transforms=3)
    assert solver.options.num_spin_reversal_transforms == 3


# --- configuration and secrecy

TOKEN = "DEV-0123456789abcdef"


def test_nothing_is_opened_before_the_first_problem(monkeypatch):
    opened = []
    monkeypatch.setenv("DWAVE_API_TOKEN", TOKEN)
    monkeypatch.setattr("dwave.system.DWaveSampler", lambda **config: opened.append(config) or mock())
    solver = resolve_solver("qpu")
    assert isinstance(solver, QPUSolver)
    assert opened == []
    solver.solve(layer(), seed=0)
    assert len(opened) == 1


@pytest.mark.parametrize("use", [lambda: resolve_solver("qpu"), lambda: QPUSolver().solve(layer(), seed=0)])
def test_missing_token_gives_one_line_that_says_what_to_do(use):
    with pytest.raises(
        QPUConfigError, match="no D-Wave API token is configured: run 'dwave config create'"
    ) as caught:
        use()
    assert "\n" not in str(caught.value)


def test_auto_is_native_unless_the_environment_asks(monkeypatch):
    monkeypatch.setenv("DWAVE_API_TOKEN", TOKEN)
    assert resolve_solver("auto") == "native"
    monkeypatch.setenv("QPSBGD_SOLVER", "qpu")
    assert isinstance(resolve_solver("auto"), QPUSolver)


def test_auto_without_a_token_is_native_and_says_so(monkeypatch):
    monkeypatch.setenv("QPSBGD_SOLVER", "qpu")
    with pytest.warns(UserWarning, match="no D-Wave API token is configured"):
        assert resolve_solver("auto") == "native"


def test_unknown_solver_in_the_environment_is_refused(monkeypatch):
    monkeypatch.setenv("QPSBGD_SOLVER", "abacus")
    with pytest.raises(ValueError, match="QPSBGD_SOLVER is 'abacus'"):
        resolve_solver("auto")


def test_sampler_with_a_topology_gets_rows_side_by_side():
    assert isinstance(resolve_solver(mock()), QPUSolver)
    assert isinstance(resolve_solver(dimod.ExactSolver()), DimodSolver)


def test_missing_ocean_names_the_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install qpsbgd\[qpu\]"):
        QPUSolver()


def test_token_shows_up_nowhere(monkeypatch, caplog):
    def refuse(**config):
        raise SolverAuthenticationError(f"token {config['token']} is invalid")

    monkeypatch.setattr("dwave.system.DWaveSampler", refuse)
    solver = QPUSolver(config={"token": TOKEN}, **QUICK)
    with caplog.at_level(logging.DEBUG), pytest.raises(QPUConfigError, match=r"\*\*\*") as caught:
        solver.solve(layer(), seed=0)
    seen = caught.value
    while seen is not None:
        assert TOKEN not in str(seen)
        seen = seen.__cause__ or seen.__context__
    assert TOKEN not in caplog.text
    assert TOKEN not in repr(solver)
    assert TOKEN.encode() not in pickle.dumps(solver)


def test_token_is_taken_out_of_later_failures(monkeypatch):
    qpu = ScriptedQPU([ConnectionError(f"proxy saw {TOKEN}")] * 2)
    monkeypatch.setattr("dwave.system.DWaveSampler", lambda **config: qpu)
    solver = QPUSolver(config={"token": TOKEN}, **QUICK, max_retries=1)
    with pytest.raises(QPUError, match=r"proxy saw \*\*\*") as caught:
        solver.solve(layer(), seed=0)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_copies_share_the_sampler_and_count_for_themselves():
    solver = QPUSolver(mock(), **QUICK)
    solver.solve(layer(), seed=0)
    twin = copy.deepcopy(solver)
    twin.solve(layer(), seed=0)
    assert twin.sampler is solver.sampler
    assert twin.qpu_seconds == pytest.approx(2 * solver.qpu_seconds)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_reads": 0}, ValueError, "num_reads must be at least 1"),
        ({"num_reads": 1.5}, TypeError, "num_reads must be an integer"),
        ({"annealing_time": -1}, ValueError, "annealing_time must be positive"),
        ({"chain_strength": 0}, ValueError, "chain_strength must be positive"),
        ({"chain_strength": "strong"}, TypeError, "chain_strength must be a number"),
        ({"postprocess": "anneal"}, ValueError, "postprocess must be one of"),
        ({"fallback": "guess"}, ValueError, "fallback must be one of"),
        ({"max_qpu_seconds": float("nan")}, ValueError, "max_qpu_seconds must be positive"),
        ({"max_retries": -1}, ValueError, "max_retries must be at least 0"),
        ({"config": {}}, ValueError, "either sampler or config"),
    ],
)
def test_bad_options_are_named(options, error, message):
    with pytest.raises(error, match=message):
        QPUSolver(mock(), **options)


def test_options_outside_the_samplers_ranges_are_refused():
    with pytest.raises(ValueError, match="annealing_time is 5000, but the sampler takes"):
        QPUSolver(mock(), annealing_time=5000).solve(layer(), seed=0)


def test_no_warning_on_an_ordinary_mock():
    from dwave.system.testing import MockDWaveSampler

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer = QPUSolver(MockDWaveSampler(topology_type="zephyr"), num_reads=5).solve(layer(), seed=0)
    np.testing.assert_allclose(answer.energies, layer().energies(answer.samples))
