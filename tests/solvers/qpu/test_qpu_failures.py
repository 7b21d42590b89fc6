"""QPUSolver when something fails or is missing: retries, fallback, configuration, secrecy, bad options."""

import copy
import logging
import pickle
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

from qpsbgd.projection import resolve_solver
from qpsbgd.solvers import NativeSolver, QPUSolver
from qpsbgd.solvers.dimod import DimodSolver
from qpsbgd.solvers.qpu import (
    QPUBudgetError,
    QPUConfigError,
    QPUError,
    QPUFallbackWarning,
)
from qpu_samplers import QUICK, FakeQPU, ScriptedQPU, SlowQPU, layer, mock

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
    with pytest.raises(ImportError, match=r"pip install 'qpsbgd\[qpu\]'"):
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
