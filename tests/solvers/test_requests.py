"""Work that asks for solutions: order of answers, budget before submission, cancelling, checks of answers."""

import numpy as np
import pytest

from qpsbgd.problem import Solutions, ising_problem
from qpsbgd.solvers import NativeSolver, QPUSolver
from qpsbgd.solvers.qpu import QPUBudgetError
from qpsbgd.solvers.requests import Request, answer_requests, together
from qpu_samplers import FakeQPU

EXACT = NativeSolver(method="exact")


def request(*fields, rounds=1):
    """A batch without couplings, whose answer is minus the signs of its fields."""
    n = len(fields[0])
    return Request(ising_problem(np.array(fields), np.zeros((n, n))), seed=0, rounds=rounds)


def work(*lists):
    """Ask for one list after the other; return the best samples of everything, in order."""
    found = []
    for requests in lists:
        solutions = yield list(requests)
        assert len(solutions) == len(requests)
        found.append([answer.best_samples.tolist() for answer in solutions])
    return found


class FakeAnswer:
    def __init__(self, solver, problem, seed):
        self.solver, self.problem, self.seed = solver, problem, seed
        self.is_cancelled = False

    def result(self):
        self.solver.log.append(("result", self.problem.num_problems))
        return self.solver.answer(self.problem, self.seed)

    def cancel(self):
        self.is_cancelled = True


class FakeAsync:
    """An AsyncQuboSolver that notes in which order it is asked what."""

    def __init__(self):
        self.log, self.budget, self.answers = [], [], []

    def solve(self, problem, *, seed):
        raise AssertionError("an asynchronous solver is never asked to solve and wait")

    def answer(self, problem, seed):
        return EXACT.solve(problem, seed=seed)

    def check_budget(self, problems):
        self.log.append(("budget", len(problems)))
        self.budget.append([problem.num_problems for problem in problems])

    def submit(self, problem, *, seed):
        self.log.append(("submit", problem.num_problems))
        self.answers.append(FakeAnswer(self, problem, seed))
        return self.answers[-1]


ONE = [request([1.0, -2.0]), request([-1.0], [3.0])]
TWO = [request([5.0], [5.0], [-5.0])]
EXPECTED = [[[-1, 1]], [[1], [-1]]], [[[-1], [-1], [1]]]


@pytest.mark.parametrize("solver", [EXACT, FakeAsync()])
def test_answers_come_in_the_order_of_the_requests(solver):
    found = answer_requests([work(ONE, TWO), work(TWO), work(), work([], ONE)], solver)
    assert found == [list(EXPECTED), [EXPECTED[1]], [], [[], EXPECTED[0]]]


def test_budget_sees_every_problem_of_every_work_before_anything_is_submitted():
    solver = FakeAsync()
    again = [request([1.0, 1.0], rounds=2), request([1.0], [1.0], [1.0], rounds=2)]
    answer_requests([work(again, again), work(ONE)], solver)
    assert solver.budget == [[1, 1, 3, 3, 1, 2]]
    assert [what for what, _ in solver.log[:5]] == ["budget"] + 4 * ["submit"]
    assert [what for what, _ in solver.log].count("submit") == 6


def test_whole_list_is_submitted_before_its_first_answer_is_awaited():
    solver = FakeAsync()
    answer_requests([work(ONE), work(TWO)], solver)
    assert [what for what, _ in solver.log] == ["budget"] + 3 * ["submit"] + 3 * ["result"]


def test_work_that_is_answered_asks_again_before_the_others_are_awaited():
    solver = FakeAsync()
    answer_requests([work([request([1.0])], [request([1.0])]), work([request([1.0], [1.0])])], solver)
    assert solver.log[1:] == [
        ("submit", 1),
        ("submit", 2),
        ("result", 1),
        ("submit", 1),
        ("result", 2),
        ("result", 1),
    ]


def test_budget_that_refuses_leaves_nothing_submitted_and_works_closed():
    class Poor(FakeAsync):
        def check_budget(self, problems):
            raise QPUBudgetError(f"{len(problems)} problems are too many")

    solver, works = Poor(), [work(ONE), work(TWO)]
    with pytest.raises(QPUBudgetError, match="3 problems"):
        answer_requests(works, solver)
    assert solver.answers == []
    assert all(one.gi_frame is None for one in works)


def test_one_list_beyond_the_budget_of_a_qpu_submits_nothing():
    qpu = FakeQPU()
    solver = QPUSolver(qpu, num_reads=10, max_qpu_seconds=0.03)
    parts = [request(np.ones(6)) for _ in range(4)]  # four channel groups; each alone would fit
    assert solver.estimate(parts[0].problem) < 0.03
    with pytest.raises(QPUBudgetError, match="a step of 4 rows"):
        answer_requests([work(parts)], solver)
    assert qpu.models == []


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_answers_still_awaited_are_cancelled_when_one_fails(failing):
    class Failing(FakeAsync):
        def answer(self, problem, seed):
            if len([1 for what, _ in self.log if what == "result"]) == failing + 1:
                raise ConnectionError("gone")
            return super().answer(problem, seed)

    solver, works = Failing(), [work(ONE), work(TWO)]
    with pytest.raises(ConnectionError):
        answer_requests(works, solver)
    assert all(answer.is_cancelled for answer in solver.answers[failing:])
    assert all(one.gi_frame is None for one in works)


def test_what_was_submitted_is_cancelled_when_a_later_submission_fails():
    class Full(FakeAsync):
        def submit(self, problem, *, seed):
            if len(self.answers) == 2:
                raise ConnectionError("full")
            return super().submit(problem, seed=seed)

    solver = Full()
    with pytest.raises(ConnectionError):
        answer_requests([work(ONE), work(TWO)], solver)
    assert [answer.is_cancelled for answer in solver.answers] == [True, True]


def test_work_that_fails_cancels_the_answers_of_the_others():
    def careless():
        yield ONE
        raise ZeroDivisionError

    solver = FakeAsync()
    with pytest.raises(ZeroDivisionError):
        answer_requests([careless(), work(TWO)], solver)
    assert solver.answers[2].is_cancelled


def test_native_projection_answers_nothing():
    assert answer_requests([work()], "native") == [[]]
    with pytest.raises(TypeError, match="the native projection asks no solver"):
        answer_requests([work(ONE)], "native")


def test_several_works_together_ask_for_everything_in_one_list():
    solver = FakeAsync()
    lists = []

    def watched(inner):
        answers = None
        try:
            while True:
                requests = inner.send(answers)
                lists.append(len(requests))
                answers = yield requests
        except StopIteration as end:
            return end.value

    one = watched(together([work(ONE, TWO), work(TWO), work()]))
    assert answer_requests([one], solver) == [[list(EXPECTED), [EXPECTED[1]], []]]
    assert lists == [3, 1]
    assert answer_requests([together([])], solver) == [[]]


class Replying:
    """Answers with the same samples, and energies, whatever is asked."""

    def __init__(self, samples, energies=None):
        self.samples, self.energies = np.asarray(samples), energies

    def solve(self, problem, *, seed):
        energies = np.zeros(self.samples.shape[:2]) if self.energies is None else np.asarray(self.energies)
        return Solutions(self.samples, energies)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (
            [[[0, 1]]],
            r"solver Replying returned .* the value 0 at \(0, 0, 0\), expected only -1 and 1",
        ),
        ([[[-1, 1], [1, 3]]], r"the value 3 at \(0, 1, 1\)"),
        ([[[-1.0, np.nan]]], r"the value nan at \(0, 0, 1\)"),
        ([[[-1, 1, 1]]], r"solver Replying returned samples of shape \(1, 1, 3\), expected \(1, reads, 2\)"),
        ([[[-1, 1]], [[-1, 1]]], r"samples of shape \(2, 1, 2\)"),
        ([[-1, 1]], r"samples of shape \(1, 2\)"),
        (np.empty((1, 0, 2)), r"samples of shape \(1, 0, 2\)"),
    ],
)
def test_answers_that_are_no_spins_of_the_problem_are_refused(samples, message):
    with pytest.raises(ValueError, match=message):
        answer_requests([work([request([1.0, -1.0])])], Replying(samples))


def test_answer_that_is_no_solutions_is_refused():
    class Bare:
        def solve(self, problem, *, seed):
            return -np.sign(problem.h)

    with pytest.raises(TypeError, match="solver Bare returned ndarray, expected Solutions"):
        answer_requests([work(TWO)], Bare())


@pytest.mark.parametrize(
    ("energies", "message"),
    [
        (
            [[2.0, 2.0]],
            r"solver Replying returned the energy 2\.0 for the first .*, expected -2\.0 \(Solu",
        ),
        ([[-1.99, 2.0]], r"the energy -1\.99 for the first problem"),
        ([[-2.0]], r"solver Replying returned energies of shape \(1, 1\), expected \(1, 2\)"),
        ([-2.0, 2.0], r"energies of shape \(2,\)"),
        ([[-2.0, np.nan]], "energies that are not finite"),
        ([[-2.0, -3.0]], "reads not sorted by energy"),
    ],
)
def test_energies_that_are_not_those_of_the_samples_are_refused(energies, message):
    with pytest.raises(ValueError, match=message):
        answer_requests([work([request([1.0, -1.0])])], Replying([[[-1, 1], [1, -1]]], energies))


@pytest.mark.parametrize("energies", [[[-2.0, 2.0]], [[-2.0001, 2.0]], np.array([[-2.0, 2.0]], np.float32)])
def test_energies_may_be_rounded(energies):
    solver = Replying([[[-1, 1], [1, -1]]], energies)
    assert answer_requests([work([request([1.0, -1.0])])], solver) == [[[[[-1, 1]]]]]


def test_spins_as_floats_become_int8():
    def best():
        [solutions] = yield [request([1.0, -1.0])]
        return solutions.best_samples

    [found] = answer_requests([best()], Replying([[[-1.0, 1.0]]], [[-2.0]]))
    assert found.dtype == np.int8
