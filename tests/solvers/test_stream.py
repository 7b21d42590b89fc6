"""Streams give the answers of one batch, in order and in bounded memory, whoever solves them or dies."""

import itertools
import os
import signal
import tracemalloc
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import scipy.sparse

from dying_pool import DyingPool
from qpsbgd import solve_ising, solve_stream
from qpsbgd.problem import IsingProblem, ising_problem, qubo_problem
from qpsbgd.solvers import NativeSolver, stream

OPTIONS = {"num_sweeps": 5, "num_reads": 2}


def batch(count, n=25):
    rng = np.random.default_rng(count)
    return rng.normal(size=(count, n)), rng.normal(size=(count, n, n))


def one_by_one(h, J):
    return (ising_problem(*pair) for pair in zip(h, J, strict=True))


@pytest.mark.parametrize("count", [1, 2, 255, 256, 257, 600])
@pytest.mark.parametrize("executor", [None, partial(ThreadPoolExecutor, 3)])
def test_answers_are_those_of_one_batch(count, executor):
    h, J = batch(count)
    expected = solve_ising(h, J, seed=7, **OPTIONS)
    found = list(solve_stream(one_by_one(h, J), solver=NativeSolver(**OPTIONS), seed=7, executor=executor))
    assert len(found) == count
    assert np.array_equal(np.concatenate([one.samples for one in found]), expected.samples)
    assert np.array_equal(np.concatenate([one.energies for one in found]), expected.energies)
    assert not found[0].binary


def test_problems_of_any_shape_keep_their_order():
    rng = np.random.default_rng(0)
    problems = []
    for n in (3, 3, 30, 30, 25, 3):
        J = rng.normal(size=(n, n))
        problems += [
            ising_problem(rng.normal(size=n), J),
            qubo_problem(J),
            qubo_problem(J.astype(np.float32)),
        ]
        problems.append(ising_problem(None, scipy.sparse.csr_matrix(np.triu(J, 1))))
        problems.append(ising_problem(rng.normal(size=(4, n)), J))
        problems.append(ising_problem(None, J, initial_states=np.ones(n)))
    found = list(solve_stream(problems, seed=1))
    for problem, solutions in zip(problems, found, strict=True):
        assert solutions.samples.shape == (problem.num_problems, 1, problem.num_spins)
        assert solutions.binary == problem.binary
        spins = 2 * solutions.samples - 1 if problem.binary else solutions.samples
        assert np.allclose(problem.energies(spins), solutions.energies)
    assert [len(one.samples) for one in found[4::6]] == [4] * 6


def test_problems_are_read_a_few_parts_ahead_only():
    read = []

    def endless():
        h, J = batch(1, n=200)
        for number in itertools.count():
            read.append(number)
            yield ising_problem(h[0], J[0])

    with ThreadPoolExecutor(2) as executor:
        answers = solve_stream(endless(), solver=NativeSolver(method="descent"), seed=0, executor=executor)
        for _ in range(30):
            next(answers)
        answers.close()
    # 26 problems of 200 spins are a part. Two parts are answered, and two workers have three parts each; one
    # problem is that which did not fit into the last part.
    assert len(read) <= 26 * 8 + 1


def test_memory_does_not_grow_with_the_stream():
    problem = ising_problem(*(array[0] for array in batch(1, n=6)))

    def peak(count):
        tracemalloc.start()
        for _ in solve_stream(itertools.repeat(problem, count), seed=0):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(600)
    assert peak(6000) < 1.3 * peak(1200)


def broken_problem(n=5):
    """One that its checks would have refused: made without them."""
    return IsingProblem(np.full((1, n), np.nan), np.zeros((n, n)), np.zeros(1))


@pytest.mark.parametrize("executor", [None, partial(ThreadPoolExecutor, 2)])
def test_problem_that_fails_is_named_and_fails_alone(executor):
    h, J = batch(6, n=5)
    problems = list(one_by_one(h, J))
    problems[4] = broken_problem()
    found = list(solve_stream(problems, seed=0, errors="yield", executor=executor))
    expected = list(solve_stream(one_by_one(h, J), seed=0))
    assert isinstance(found[4], stream.ProblemError)
    assert found[4].number == 4
    for number in (0, 1, 2, 3, 5):
        assert np.array_equal(found[number].samples, expected[number].samples)
    with pytest.raises(stream.ProblemError, match="problem 4: "):
        list(solve_stream(problems, seed=0, executor=executor))


def test_what_is_no_problem_is_named():
    with pytest.raises(TypeError, match="problem 1 is ndarray"):
        list(solve_stream([ising_problem([1.0], [[0.0]]), np.zeros((2, 2))], seed=0))
    with pytest.raises(ValueError, match="errors"):
        solve_stream([], errors="ignore")


def test_part_of_a_worker_that_dies_is_sent_again(tmp_path):
    h, J = batch(900, n=12)
    made = []

    def pool():
        made.append(DyingPool(str(tmp_path / "died")))
        return made[-1]

    found = list(solve_stream(one_by_one(h, J), solver=NativeSolver(**OPTIONS), seed=3, executor=pool))
    assert len(made) == 2
    assert (tmp_path / "died").exists()
    expected = solve_ising(h, J, seed=3, **OPTIONS)
    assert np.array_equal(np.concatenate([one.samples for one in found]), expected.samples)


def test_workers_that_die_again_and_again_end_the_stream(tmp_path):
    numbers = itertools.count()
    h, J = batch(10, n=5)
    pool = partial(DyingPool, lambda: str(tmp_path / f"died{next(numbers)}"))
    with pytest.raises(BrokenExecutor):
        list(solve_stream(one_by_one(h, J), seed=3, executor=pool))


def test_broken_executor_of_the_caller_is_an_error_at_once(tmp_path):
    h, J = batch(10, n=5)
    with DyingPool(str(tmp_path / "died")) as pool, pytest.raises(BrokenExecutor):
        list(solve_stream(one_by_one(h, J), seed=3, executor=pool))


def test_killed_worker_of_a_dask_cluster_loses_nothing(tmp_path):
    distributed = pytest.importorskip("distributed")
    h, J = batch(600, n=20)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=str(tmp_path)
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        executor = client.get_executor(retries=3)
        answers = solve_stream(
            one_by_one(h, J), solver=NativeSolver(num_sweeps=200, num_threads=1), seed=3, executor=executor
        )
        found = [next(answers)]
        workers = list(client.run(os.getpid).values())
        os.kill(workers[0], signal.SIGKILL)
        found += answers
    expected = solve_ising(h, J, seed=3, num_sweeps=200)
    assert np.array_equal(np.concatenate([one.samples for one in found]), expected.samples)


@pytest.mark.parametrize("executor", [None, partial(ThreadPoolExecutor, 2)], ids=["here", "threads"])
@pytest.mark.parametrize("wrong", [ZeroDivisionError, "no problem"])
def test_problems_before_an_error_of_their_iterator_have_their_solutions(executor, wrong):
    given = list(one_by_one(*batch(300, n=8)))

    def broken():
        yield from given
        if wrong == "no problem":
            yield wrong
        raise ZeroDivisionError

    found = []

    def take():
        for one in solve_stream(broken(), seed=1, executor=executor):
            found.append(one.samples)

    with pytest.raises(TypeError if wrong == "no problem" else wrong):
        take()
    expected = [one.samples for one in solve_stream(given, seed=1)]
    assert len(found) == 300
    assert np.array_equal(np.concatenate(found), np.concatenate(expected))
