"""Workers of executors: parts of equal cost, a full machine, poisoned problems, and cancellation."""

import contextlib
import gc
import itertools
import os
import signal
import sys
import tempfile
import threading
import time
from concurrent.futures import BrokenExecutor, CancelledError, Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np
import pytest

from dying_pool import DyingPool, PoisonedPool
from interrupting import interrupts_raise, num_threads
from qpsbgd import solve_ising, solve_stream
from qpsbgd.problem import IsingProblem, ising_problem
from qpsbgd.solvers import NativeSolver, stream, workers
from qpsbgd.solvers.costs import problem_seconds
from qpsbgd.solvers.workers import Workers, in_order
from same import same


def problems(count, n=12, seed=0):
    rng = np.random.default_rng(seed)
    return [ising_problem(rng.normal(size=n), rng.normal(size=(n, n))) for _ in range(count)]


# --- costs


@pytest.mark.parametrize("method", ["anneal", "tabu", "descent"])
def test_estimated_costs_are_in_proportion_to_measured_ones(method):
    def seconds(problem):
        solver = NativeSolver(method=method, num_threads=1)
        times = []
        for _ in range(7):
            begin = time.process_time()
            solver.solve(problem, seed=0)
            times.append(time.process_time() - begin)
        return min(times)

    small, large = problems(1, 60)[0], problems(1, 700)[0]
    measured = seconds(large) / seconds(small)
    estimated = problem_seconds(large, method) / problem_seconds(small, method)
    assert 1 / 6 < measured / estimated < 6


def test_parts_of_a_stream_are_of_about_equal_cost():
    mixed = [
        problem for k in range(40) for problem in (*problems(30, 10), *problems(1, 500 if k % 2 else 40))
    ]
    solver = NativeSolver(num_reads=3)
    parts = list(stream._parts(mixed, solver, 0))
    costs = [sum(problem_seconds(one, num_reads=3) for one in part.problems) for part in parts]
    most = problem_seconds(problems(1, 500)[0], num_reads=3)
    assert max(costs) <= max(stream._MOST_SECONDS, most)
    assert min(costs[:-1]) >= 0.25 * max(costs)
    assert [one for part in parts for one in part.problems] == mixed


def test_later_parts_are_worked_on_while_the_first_takes_long():
    """Two workers, one of which is busy with the first part: the other does not wait for it."""
    gate, done = threading.Event(), []

    class One:
        def __init__(self, number):
            self.number = number

        def call(self, _workers, _cancellation):
            return self.work, self.number

        def work(self, number):
            if number == 0:
                gate.wait(30)
            done.append(number)
            if len(done) == 5:
                gate.set()
            return number

    with ThreadPoolExecutor(2) as executor:
        assert list(in_order(map(One, range(20)), executor)) == list(range(20))
    assert done[:5] == [1, 2, 3, 4, 5]


# --- threads


@pytest.mark.parametrize(
    ("beside", "processors", "machine", "ranks", "expected"),
    [
        (1, 8, 8, None, 8),
        (3, 8, 8, None, 2),
        (16, 8, 8, None, 1),
        (None, 8, 8, None, 8),
        (None, 8, 8, "4", 2),  # MPI has started four processes here
        (None, 2, 8, "4", 2),  # and has bound each to two processors
    ],
)
def test_machine_is_full_once(beside, processors, machine, ranks, expected, monkeypatch):
    monkeypatch.setattr(workers, "default_num_threads", lambda: processors)
    monkeypatch.setattr(os, "cpu_count", lambda: machine)
    monkeypatch.delenv("MPI_LOCALNRANKS", raising=False)
    monkeypatch.delenv("OMPI_COMM_WORLD_LOCAL_SIZE", raising=False)
    if ranks:
        monkeypatch.setenv("OMPI_COMM_WORLD_LOCAL_SIZE", ranks)
    assert Workers(4, beside).num_threads() == expected


class ClusterExecutor:
    """What `Workers.of` looks at of Dask's executor."""

    class _client:
        @staticmethod
        def nthreads():
            return {"tcp://10.0.0.1:33": 2, "tcp://10.0.0.1:34": 2, "tcp://10.0.0.2:33": 3}


ClusterExecutor.__module__ = "distributed.cfexecutor"


def test_workers_of_a_cluster_are_counted_by_machine():
    assert Workers.of(ClusterExecutor()) == Workers(7, 4)
    with ThreadPoolExecutor(3) as executor:
        assert Workers.of(executor) == Workers(3, 3)
    assert Workers.of(Future()).beside is None


# --- problems that kill


@pytest.mark.parametrize("number", [0, 37])
def test_problem_that_kills_its_workers_fails_alone_with_its_number(number):
    given = problems(60)
    poison = 1e6 + number
    given[number] = IsingProblem(given[number].h, given[number].J, np.array([poison]))
    expected = list(solve_stream(given, seed=3))
    found = list(solve_stream(given, seed=3, errors="yield", executor=partial(PoisonedPool, poison)))
    assert len(found) == 60
    assert isinstance(found[number], stream.ProblemError)
    assert found[number].number == number
    assert "each worker that got it died" in str(found[number])
    for index, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert index == number or same(one.samples, other.samples)


def test_batch_is_sent_again_when_a_worker_dies(tmp_path):
    rng = np.random.default_rng(0)
    h, J = rng.normal(size=(50, 12)), rng.normal(size=(12, 12))
    found = solve_ising(h, J, seed=1, executor=partial(DyingPool, str(tmp_path / "died")))
    assert (tmp_path / "died").exists()
    assert same(found.samples, solve_ising(h, J, seed=1).samples)
    with DyingPool(str(tmp_path / "again")) as pool, pytest.raises(BrokenExecutor):
        solve_ising(h, J, seed=1, executor=pool)


# --- executors that refuse


class RefusingPool(ThreadPoolExecutor):
    """Takes some parts; then its `submit` raises."""

    def __init__(self, error, taken):
        super().__init__(2)
        self.error, self.left = error, taken

    def submit(self, *arguments):
        self.left -= 1
        if self.left < 0:
            raise self.error
        return super().submit(*arguments)


REFUSALS = [
    RuntimeError("cannot schedule new futures after shutdown"),
    TypeError("cannot pickle this"),
    BlockingIOError("no process can be started"),
    BrokenExecutor("workers have died"),
]


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: type(error).__name__)
def test_answers_before_a_refused_part_are_given(error, monkeypatch):
    """The caller's executor takes three parts of ten problems each, then none."""
    monkeypatch.setattr(stream, "_MOST_PROBLEMS", 10)
    given, found = problems(60), []

    def take(executor):
        for one in solve_stream(given, seed=3, executor=executor):
            found.append(one.samples)

    with RefusingPool(error, 3) as executor, pytest.raises(type(error), match=str(error)):
        take(executor)
    assert same(found, [one.samples for one in solve_stream(given[:30], seed=3)])


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: type(error).__name__)
def test_refused_parts_go_to_another_executor_that_can_be_made(error, monkeypatch):
    monkeypatch.setattr(stream, "_MOST_PROBLEMS", 10)
    given = problems(60)
    found = list(solve_stream(given, seed=3, executor=lambda: RefusingPool(error, 4)))
    expected = list(solve_stream(given, seed=3))
    assert same([one.samples for one in found], [one.samples for one in expected])
    made = []

    def refusing():
        made.append(RefusingPool(error, 0))
        return made[-1]

    with pytest.raises(type(error), match=str(error)):
        list(solve_stream(given, seed=3, executor=refusing))
    assert len(made) < 20


class CancellingPool(ThreadPoolExecutor):
    """Some of its futures are cancelled by others, as Dask cancels those of a cluster that starts again."""

    def __init__(self, cancelled):
        super().__init__(2)
        self.cancelled, self.number = cancelled, -1

    def submit(self, *arguments):
        self.number += 1
        if self.number not in self.cancelled:
            return super().submit(*arguments)
        future = Future()
        future.cancel()
        future.set_running_or_notify_cancel()
        return future


def test_parts_that_others_cancel_are_sent_again_a_few_times(monkeypatch):
    monkeypatch.setattr(stream, "_MOST_PROBLEMS", 10)
    given = problems(60)
    with CancellingPool({0, 3, 4}) as executor:
        found = list(solve_stream(given, seed=3, executor=executor))
    assert same([one.samples for one in found], [one.samples for one in solve_stream(given, seed=3)])
    with CancellingPool(range(10**9)) as executor, pytest.raises(CancelledError):
        list(solve_stream(given, seed=3, executor=executor))
    assert executor.number < 20


class PoolLikeLoky(ThreadPoolExecutor):
    """Its `shutdown` does not know of `cancel_futures`, as that of loky and of Dask."""

    ended = 0

    def shutdown(self, wait=True):
        type(self).ended += 1
        super().shutdown(wait)


def test_executor_that_cannot_cancel_is_shut_down_all_the_same():
    given = problems(6)
    found = [one.samples for one in solve_stream(given, seed=3, executor=partial(PoolLikeLoky, 2))]
    assert same(found, [one.samples for one in solve_stream(given, seed=3)])
    assert PoolLikeLoky.ended


@pytest.mark.parametrize("solve", ["stream", "batch"])
def test_what_is_no_executor_is_named(solve):
    def run(executor):
        if solve == "stream":
            return list(solve_stream(problems(2), seed=0, executor=executor))
        return solve_ising(np.zeros((2, 3)), np.zeros((3, 3)), seed=0, executor=executor)

    with pytest.raises(TypeError, match=r"executor must be .* but got str"):
        run("dask")
    with pytest.raises(TypeError, match=r"given as executor must return .* but it returned int"):
        run(lambda: 3)

    class Foreign(ThreadPoolExecutor):
        def submit(self, *_arguments):
            return 3

    with Foreign(1) as executor, pytest.raises(TypeError, match="Foreign returned int"):
        run(executor)


# --- cancellation


def endless(count=8):
    return NativeSolver(method="anneal", num_sweeps=10**9, num_threads=1), problems(count, 100)


def is_idle(executor):
    """Whether the pool does something new at once."""
    return executor.submit(os.getpid).result(timeout=20) > 0


@pytest.mark.parametrize(
    "make", [ThreadPoolExecutor, partial(ProcessPoolExecutor, mp_context=get_context("forkserver"))]
)
def test_cancellation_reaches_workers(make, monkeypatch):
    """The caller is interrupted while both workers solve what would take hours."""
    solver, given = endless()
    monkeypatch.setattr(stream, "_MOST_PROBLEMS", 1)
    with make(2) as executor:
        assert is_idle(executor)
        answers = solve_stream(given, solver=solver, seed=0, executor=executor)
        waiting = threading.Thread(target=lambda: None)
        waiting.start()

        def interrupted(*_arguments):
            time.sleep(0.3)  # the workers have begun
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(workers, "wait", interrupted)
            with pytest.raises(KeyboardInterrupt):
                next(answers)
        assert is_idle(executor)


def test_cancellation_reaches_workers_of_a_batch(monkeypatch):
    solver, _ = endless()
    with ThreadPoolExecutor(2) as executor:

        def interrupted(*_arguments):
            time.sleep(0.2)
            raise KeyboardInterrupt

        monkeypatch.setattr(workers, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            solve_ising(
                np.zeros((4, 100)), np.ones((100, 100)), num_sweeps=10**9, method="anneal", executor=executor
            )
        assert is_idle(executor)
    assert solver.num_sweeps == 10**9


def test_cancellation_leaves_no_folder_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with ThreadPoolExecutor(2) as executor:
        list(solve_stream(problems(20), seed=0, executor=executor))
        with contextlib.closing(solve_stream(problems(20), seed=0, executor=executor)) as answers:
            next(answers)
    assert list(tmp_path.iterdir()) == []


def test_cancellation_reaches_a_dask_cluster(tmp_path):
    """By Dask itself: the workers look at another temporary folder, as those of another machine do."""
    distributed = pytest.importorskip("distributed")
    solver, given = endless(2)
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=None, local_directory=str(tmp_path)
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        executor = client.get_executor()
        assert Workers.of(executor) == Workers(1, 1)
        monkey = pytest.MonkeyPatch()
        monkey.setattr(workers, "_identity", lambda _path: (0, 0, 0))
        answers = solve_stream(given, solver=solver, seed=0, executor=executor)
        with monkey.context() as patch:

            def interrupted(*_arguments):
                time.sleep(1.0)
                raise KeyboardInterrupt

            patch.setattr(workers, "wait", interrupted)
            with pytest.raises(KeyboardInterrupt):
                next(answers)
        monkey.undo()
        assert client.submit(os.getpid, pure=False).result(timeout=60) > 0


# --- interrupts


class LineInterrupter:
    """Raise SIGINT before the given line that is run of the module, counted from 0."""

    def __init__(self, module, number):
        self.file, self.left = module.__file__, number

    def __call__(self, frame, event, _argument):
        if frame.f_code.co_filename != self.file:
            return None
        if event == "line":
            self.left -= 1
            if self.left == -1:
                signal.raise_signal(signal.SIGINT)
        return self


@pytest.fixture
def no_traces():
    before = sys.gettrace()
    gc.disable()  # what an interrupt leaves behind must not wait for a collection of garbage
    with interrupts_raise():
        yield
    gc.enable()
    sys.settrace(before)


def assert_nothing_is_left(before, name):
    end = time.perf_counter() + 5.0
    while num_threads() > before and time.perf_counter() < end:
        time.sleep(0.001)
    assert num_threads() <= before, name


@pytest.mark.parametrize("kind", ["stream", "batch"])
def test_interrupt_at_any_line_leaves_no_thread_and_no_folder(kind, no_traces, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    rng = np.random.default_rng(0)
    few, h, J = problems(3), rng.normal(size=(3, 8)), rng.normal(size=(3, 8, 8))

    def solve():
        pool = partial(ThreadPoolExecutor, 2)
        if kind == "stream":
            return [one.energies for one in solve_stream(few, seed=1, executor=pool)]
        return solve_ising(h, J, seed=1, executor=pool).energies

    expected = solve()
    before = num_threads()
    for number in itertools.count():
        trace = LineInterrupter(workers, number)
        interrupted = False
        sys.settrace(trace)
        try:
            solve()
        except KeyboardInterrupt:
            interrupted = True
        finally:
            sys.settrace(None)
        assert_nothing_is_left(before, number)
        assert list(tmp_path.iterdir()) == [], number
        assert interrupted == (trace.left < 0), number
        if not interrupted:
            break
    assert number > 40
    assert same(solve(), expected)
