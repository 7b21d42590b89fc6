"""dimod samplers behind the solver protocol."""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import dimod
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from qpsbgd import QPSBGD, NativeSampler, project
from qpsbgd.nn import BinaryActivation, BinaryLinear, Scale
from qpsbgd.problem import ising_problem, qubo_problem
from qpsbgd.solvers import DimodSolver


class Notebook(dimod.Sampler):
    """Answers with all spins up and notes its arguments."""

    def __init__(self, *names, rows=1):
        self.names, self.rows, self.calls = names, rows, []

    @property
    def parameters(self):
        return {name: [] for name in self.names}

    @property
    def properties(self):
        return {}

    def sample(self, bqm, **parameters):
        self.calls.append(parameters)
        # Variables in another order than the problem's.
        samples = np.ones((self.rows, bqm.num_variables), dtype=np.int8)
        return dimod.SampleSet.from_samples_bqm((samples, list(bqm.variables)[::-1]), bqm)


def problem(b=3, n=4, **options):
    rng = np.random.default_rng(0)
    return ising_problem(rng.normal(size=(b, n)), rng.normal(size=(n, n)), **options)


def test_energies_are_those_of_the_problem_best_first():
    batch = problem()
    solutions = DimodSolver(dimod.ExactSolver()).solve(batch, seed=0)
    assert solutions.samples.shape == (3, 16, 4)
    np.testing.assert_allclose(solutions.energies, batch.energies(solutions.samples))
    assert np.all(np.diff(solutions.energies, axis=1) >= 0)


def test_qubo_is_answered_in_bits():
    solutions = DimodSolver(dimod.ExactSolver()).solve(qubo_problem([[-1.0, 2.0], [0.0, -2.0]]), seed=0)
    assert solutions.best_samples.tolist() == [[0, 1]]
    assert solutions.best_energies.tolist() == [-2.0]


def test_columns_follow_the_labels():
    class Ranks(Notebook):
        def sample(self, bqm, **parameters):
            return dimod.SampleSet.from_samples_bqm({3: -1, 0: 1, 2: 1, 1: -1}, bqm)

    assert DimodSolver(Ranks()).solve(problem(b=1), seed=0).best_samples.tolist() == [[1, -1, 1, -1]]


def test_seed_and_starts_are_passed_where_the_sampler_takes_them():
    sampler = Notebook("seed", "initial_states")
    starts = np.array([[1, -1, 1, 1]] * 3)
    DimodSolver(sampler).solve(problem(initial_states=starts), seed=7)
    seeds = [call["seed"] for call in sampler.calls]
    assert len(set(seeds)) == 3
    assert all(0 <= seed < 2**31 for seed in seeds)
    states, labels = sampler.calls[0]["initial_states"]
    assert states.tolist() == [[1, -1, 1, 1]]
    assert labels == [0, 1, 2, 3]


def test_nothing_is_passed_that_the_sampler_does_not_take():
    sampler = Notebook()
    DimodSolver(sampler).solve(problem(initial_states=np.ones((3, 4))), seed=7)
    assert sampler.calls == [{}, {}, {}]


def test_own_parameters_win():
    sampler = Notebook("seed", "num_reads")
    DimodSolver(sampler, seed=1, num_reads=5).solve(problem(), seed=7)
    assert sampler.calls[0] == {"seed": 1, "num_reads": 5}


def test_sampler_without_samples_is_refused():
    with pytest.raises(ValueError, match="sampler Notebook returned no samples"):
        DimodSolver(Notebook(rows=0)).solve(problem(), seed=0)


def test_what_is_no_sampler_is_refused():
    with pytest.raises(TypeError, match=r"sampler must be a dimod\.Sampler, but is int"):
        DimodSolver(3)


# --- models and answers


@given(st.integers(0, 2**32 - 1), st.booleans(), st.booleans())
def test_models_of_a_batch_are_those_of_its_problems(seed, shared, qubo):
    rng = np.random.default_rng(seed)
    b, n = 3, 5
    couplings = rng.normal(size=(n, n) if shared else (b, n, n)) * (rng.random((n, n)) < 0.6)
    make = qubo_problem if qubo else (lambda J, h: ising_problem(h, J))
    batch = make(couplings, rng.normal(size=(b, n)))
    spins = rng.choice([-1, 1], size=(b, 2, n))
    for index, bqm in enumerate(batch.to_bqms()):
        assert bqm == batch.to_bqm(index)
        expected = batch.energies(spins)[index]
        np.testing.assert_allclose(bqm.energies((spins[index], range(n))), expected, atol=1e-9)


def test_models_of_sparse_couplings_are_those_of_its_problems():
    sparse = pytest.importorskip("scipy.sparse")
    matrix = sparse.random(8, 8, 0.4, random_state=1, format="csr")
    h = np.random.default_rng(0).normal(size=(2, 8))
    dense, other = (ising_problem(h, J).to_bqms() for J in (matrix.toarray(), matrix))
    for one, same in zip(dense, other, strict=True):
        spins = np.random.default_rng(1).choice([-1, 1], size=(4, 8))
        np.testing.assert_allclose(one.energies((spins, range(8))), same.energies((spins, range(8))))


def test_a_model_changed_by_the_sampler_does_not_reach_the_next():
    class Careless(dimod.ExactSolver):
        def sample(self, bqm, **parameters):
            answer = super().sample(bqm)
            bqm.scale(0.0)
            return answer

    batch = problem()
    expected = DimodSolver(dimod.ExactSolver()).solve(batch, seed=0)
    np.testing.assert_array_equal(DimodSolver(Careless()).solve(batch, seed=0).samples, expected.samples)


def answering(*answers):
    """A sampler with one answer a call."""

    class Scripted(Notebook):
        def sample(self, bqm, **parameters):
            self.calls.append(parameters)
            answer = answers[len(self.calls) - 1]
            return answer(bqm) if callable(answer) else answer

    return Scripted()


def test_aggregated_samples_count_as_reads():
    """The first row has 3 distinct samples, the second 1, both of 6 reads."""
    first = dimod.SampleSet.from_samples(
        [[1, 1], [1, -1], [-1, -1]], "SPIN", energy=[0, 0, 0], num_occurrences=[1, 3, 2]
    )
    second = dimod.SampleSet.from_samples([[-1, 1]], "SPIN", energy=[0], num_occurrences=[6])
    batch = ising_problem([[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 0.0]])
    solutions = DimodSolver(answering(first, second)).solve(batch, seed=0)
    assert solutions.samples.shape == (2, 6, 2)
    assert solutions.samples[0].tolist() == [[1, -1]] * 3 + [[-1, -1]] * 2 + [[1, 1]]
    assert solutions.samples[1].tolist() == [[-1, 1]] * 6
    np.testing.assert_allclose(solutions.energies, batch.energies(solutions.samples))


def test_rows_get_as_many_reads_as_all_have_and_the_best_stay():
    many = dimod.SampleSet.from_samples([[-1], [1], [1]], "SPIN", energy=[-1.0, 1.0, 1.0])
    few = dimod.SampleSet.from_samples([[-1]], "SPIN", energy=[-1.0])
    solutions = DimodSolver(answering(many, few)).solve(ising_problem([[1.0], [1.0]], [[0.0]]), seed=0)
    assert solutions.energies.tolist() == [[-1.0], [-1.0]]


def test_binary_answers_become_spins():
    answer = dimod.SampleSet.from_samples([{1: 0, 0: 1}], "BINARY", energy=[0.0])
    solutions = DimodSolver(answering(answer)).solve(problem(b=1, n=2), seed=0)
    assert solutions.best_samples.tolist() == [[1, -1]]


def test_answer_for_other_variables_is_refused():
    answer = dimod.SampleSet.from_samples([{"a": 1, 0: 1}], "SPIN", energy=[0.0])
    with pytest.raises(ValueError, match="sampler Scripted returned 2 variables, which are not the problem"):
        DimodSolver(answering(answer)).solve(problem(b=1, n=2), seed=0)


def test_answer_of_other_values_is_refused():
    answer = dimod.SampleSet.from_samples([{0: 1, 1: 3}], "SPIN", energy=[0.0])
    with pytest.raises(ValueError, match="sampler Scripted returned values that are not of vartype SPIN"):
        DimodSolver(answering(answer)).solve(problem(b=1, n=2), seed=0)


# --- samplers that answer with a future


class Pending:
    """A future that is done when it is told, and notes who cancels it."""

    def __init__(self, outcome):
        self.outcome, self.cancelled = outcome, False

    def done(self):
        return False

    def cancel(self):
        self.cancelled = True

    def result(self):
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


def all_up(bqm):
    return dimod.SampleSet.from_samples_bqm(dict.fromkeys(bqm.variables, 1), bqm)


def pending_answers(*outcomes):
    futures = [Pending(outcome) for outcome in outcomes]
    answers = [dimod.SampleSet.from_future(future, lambda f: f.result()) for future in futures]
    return futures, answers


def test_all_rows_are_submitted_before_the_first_answer_is_awaited():
    b = 5
    all_here = threading.Barrier(b)

    class Service(Notebook):
        def sample(self, bqm, **parameters):
            def work():
                all_here.wait(timeout=5)  # fails unless all rows are being worked on at once
                return all_up(bqm)

            return dimod.SampleSet.from_future(pool.submit(work), lambda future: future.result())

    with ThreadPoolExecutor(b) as pool:
        solutions = DimodSolver(Service()).solve(problem(b=b), seed=0)
    assert np.all(solutions.samples == 1)


def test_slow_answers_take_as_long_as_the_slowest():
    class Slow(Notebook):
        def sample(self, bqm, **parameters):
            return dimod.SampleSet.from_future(
                pool.submit(lambda: time.sleep(0.2) or all_up(bqm)), lambda future: future.result()
            )

    begin = time.perf_counter()
    with ThreadPoolExecutor(10) as pool:
        DimodSolver(Slow()).solve(problem(b=10), seed=0)
    assert 0.2 <= time.perf_counter() - begin < 1.0


@pytest.mark.parametrize(
    "failure", [RuntimeError("offline"), TimeoutError("60 s"), KeyboardInterrupt()], ids=repr
)
def test_failing_answer_cancels_the_others(failure):
    good = dimod.SampleSet.from_samples([[1]], "SPIN", energy=[0.0])
    futures, answers = pending_answers(good, failure, good, good)
    with pytest.raises(type(failure)):
        DimodSolver(answering(*answers)).solve(problem(b=4, n=1), seed=0)
    assert [future.cancelled for future in futures] == [False, True, True, True]


def test_failing_submission_cancels_what_is_under_way():
    def refuse(bqm):
        raise ConnectionError("no more problems")

    futures, answers = pending_answers(None, None)
    with pytest.raises(ConnectionError, match="no more problems"):
        DimodSolver(answering(*answers, refuse)).solve(problem(b=3, n=1), seed=0)
    assert [future.cancelled for future in futures] == [True, True]


def test_answers_under_a_composite_are_cancelled_too():
    """Composites hand on a sample set whose future is another sample set."""
    futures, answers = pending_answers(RuntimeError("offline"), None)
    wrapped = [dimod.SampleSet.from_future(answer, lambda inner: inner.resolve()) for answer in answers]
    with pytest.raises(RuntimeError, match="offline"):
        DimodSolver(answering(*wrapped)).solve(problem(b=2, n=1), seed=0)
    assert [future.cancelled for future in futures] == [True, True]


def test_malformed_answer_cancels_the_others():
    bad = dimod.SampleSet.from_samples([{"a": 1}], "SPIN", energy=[0.0])
    futures, answers = pending_answers(bad, None)
    with pytest.raises(ValueError, match="variables"):
        DimodSolver(answering(*answers)).solve(problem(b=2, n=1), seed=0)
    assert futures[1].cancelled


# --- training


def accuracy_on_digits(solver, steps=12, hidden=8):
    """Train on 256 zeros and ones of 8 x 8 pixels; accuracy on the 104 others. Guessing gives .5."""
    datasets = pytest.importorskip("sklearn.datasets")
    X, y = datasets.load_digits(n_class=2, return_X_y=True)
    X, y = torch.tensor(X / 8 - 1, dtype=torch.float32), torch.tensor(y)
    layers = (BinaryLinear(64, hidden), nn.BatchNorm1d(hidden, momentum=0.3), BinaryActivation())
    net = nn.Sequential(*layers, BinaryLinear(hidden, 2), Scale(2.0))
    optimizer = QPSBGD(net.parameters(), lr=0.03, solver=solver)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(X[:256]), y[:256]).backward()
        optimizer.step()
        schedule.step()
    net.eval()
    with torch.no_grad():
        return float((net(X[256:]).argmax(dim=1) == y[256:]).float().mean())


def test_neal_trains():
    neal = pytest.importorskip("neal")
    assert accuracy_on_digits(neal.SimulatedAnnealingSampler()) >= 0.95


def test_neal_by_name_trains():
    pytest.importorskip("dwave.samplers")
    assert accuracy_on_digits("neal", hidden=4) >= 0.9


def test_tabu_sampler_trains():
    samplers = pytest.importorskip("dwave.samplers")
    assert accuracy_on_digits(DimodSolver(samplers.TabuSampler(), timeout=3)) >= 0.9


def test_tabu_sampler_with_its_defaults_trains():
    """Up to 100 ms a row, so few rows and steps."""
    samplers = pytest.importorskip("dwave.samplers")
    assert accuracy_on_digits(samplers.TabuSampler(), steps=6, hidden=2) >= 0.75


def test_native_sampler_trains():
    assert accuracy_on_digits(NativeSampler()) >= 0.95


def test_steps_are_never_worse_than_the_signs_of_the_gradient():
    """Even with a sampler that answers with the worst state."""

    class Worst(dimod.ExactSolver):
        def sample(self, bqm, **parameters):
            answer = super().sample(bqm)
            return dimod.SampleSet.from_samples_bqm(answer.samples(sorted_by="energy")[-1], bqm)

    rng = np.random.default_rng(3)
    V, X = rng.normal(size=(12, 3)).astype(np.float32), rng.normal(size=(12, 6)).astype(np.float32)
    np.testing.assert_array_equal(project(V, X, solver=Worst()), np.where(V.T @ X >= 0, 1, -1))


def test_neal_that_is_not_installed_is_an_error_when_it_is_chosen(monkeypatch):
    monkeypatch.setitem(sys.modules, "dwave.samplers", None)
    weights = list(BinaryLinear(2, 2).parameters())
    QPSBGD(weights, solver="native")
    with pytest.raises(ImportError, match=r"'neal' needs dwave-samplers: pip install 'qpsbgd\[ocean\]'"):
        QPSBGD(weights, solver="neal")
