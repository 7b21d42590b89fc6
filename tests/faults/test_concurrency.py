"""Solves and steps beside each other: threads, forks, other processes, loaders, event loops, nested calls."""

import asyncio
import multiprocessing as mp
import os
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from qpsbgd import NativeSampler, solve_ising
from qpsbgd.problem import ising_problem
from qpsbgd.solvers import NativeSolver
from same import same
from small_work import problem, solve, train


def test_32_threads_solve_and_train_beside_each_other():
    expected = [(solve(number), train(number)) for number in range(32)]
    found = {}
    gate = threading.Barrier(32)

    def work(number):
        gate.wait()
        found[number] = [(solve(k % 32, threads=1 + k % 3), train(k % 32)) for k in range(number, number + 4)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(32):
        assert same(found[number], [expected[k % 32] for k in range(number, number + 4)])


FORKS = """
import os
import torch
import small_work as here
from same import same

torch.set_num_threads(1)
stages = (lambda: None, lambda: here.solve(5), lambda: (here.solve(6, threads=3), here.train(5)))
for before in stages:  # before any solve, after one, after several threads'
    before()
    for _ in range(2):
        child = os.fork()
        if child == 0:
            right = same(here.solve(3, threads=2), here.solve(3)) and here.train(3).shape == (8, 16)
            os._exit(0 if right else 1)
        assert os.waitpid(child, 0)[1] == 0, before
        assert same(here.solve(4, threads=2), here.solve(4)) if before is not stages[0] else True
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_forked_processes_solve_and_train():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKS],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr


def test_spawned_process_gives_the_same_answers():
    with ProcessPoolExecutor(1, mp_context=mp.get_context("spawn")) as pool:
        assert same(list(pool.map(solve, range(4))), [solve(number) for number in range(4)])


class Solved(Dataset):
    """Its items are solutions: solved in the workers of a loader."""

    def __len__(self):
        return 8

    def __getitem__(self, number):
        _samples, energies = solve(number)
        return float(energies[0, 0])


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_workers_of_a_loader_solve():
    solve(0, threads=2)
    expected = [float(solve(number)[1][0, 0]) for number in range(8)]
    loader = DataLoader(Solved(), batch_size=2, num_workers=2)
    assert torch.cat(list(loader)).tolist() == expected


def test_event_loop_goes_on_while_its_executor_solves():
    expected = [solve(number) for number in range(8)]

    async def everything():
        loop = asyncio.get_running_loop()
        ticks, end = 0, asyncio.Event()

        async def tick():
            nonlocal ticks
            while not end.is_set():
                ticks += 1
                await asyncio.sleep(0.001)

        ticking = asyncio.create_task(tick())
        slow = loop.run_in_executor(
            pool, lambda: solve_ising(*problem(0), num_reads=4, time_limit=0.2, seed=0)
        )
        found = await asyncio.gather(*(loop.run_in_executor(pool, solve, number) for number in range(8)))
        await slow
        end.set()
        await ticking
        return ticks, found

    with ThreadPoolExecutor(3) as pool:
        ticks, found = asyncio.run(everything())
    assert ticks >= 5
    assert same(found, expected)


# --- interrupt_function


def test_interrupt_function_may_solve_again():
    expected, inside, plain = solve(2), [], NativeSolver(method="anneal", num_sweeps=400, num_reads=4)
    one = ising_problem(*problem(1))
    answer = plain.solve(one, seed=3)

    def nested():
        inside.append(solve(2, threads=2))
        inside.append(
            NativeSolver(num_sweeps=20).solve(one, seed=3, interrupt_function=lambda: False).energies
        )
        return False

    big = ising_problem(np.zeros(300), np.random.default_rng(0).normal(size=(300, 300)))
    long = NativeSolver(method="anneal", num_sweeps=100_000, num_reads=4)  # it is asked on the way
    undisturbed = long.solve(big, seed=1)
    disturbed = long.solve(big, seed=1, interrupt_function=nested)
    assert same(disturbed.samples, undisturbed.samples)
    assert inside
    assert all(same(found, expected) for found in inside[::2])
    assert same(plain.solve(one, seed=3).samples, answer.samples)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("threads", [1, 3])
def test_what_an_interrupt_function_raises_ends_the_solve(error, threads):
    big = ising_problem(np.zeros(300), np.random.default_rng(0).normal(size=(300, 300)))
    solver = NativeSolver(method="anneal", num_sweeps=10**7, num_threads=threads)

    def broken():
        solve(3)
        raise error("by the interrupt function")

    with pytest.raises(error, match="by the interrupt function"):
        solver.solve(big, seed=0, interrupt_function=broken)
    assert same(solve(3), solve(3, threads=2))


def test_interrupt_function_of_one_call_is_not_that_of_another():
    """Two samplers in two threads: each asks its own function."""
    asked = {"one": 0, "two": 0}

    def ask(name):
        def count():
            assert threading.current_thread().name == name
            asked[name] += 1
            return asked[name] > 3

        return count

    def sample(name):
        rng = np.random.default_rng(0)
        h, J = (
            dict(enumerate(rng.normal(size=80))),
            {(i, j): rng.normal() for i in range(80) for j in range(i)},
        )
        NativeSampler().sample_ising(h, J, num_sweeps=10**8, interrupt_function=ask(name), seed=1)

    threads = [threading.Thread(target=sample, args=(name,), name=name) for name in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asked == {"one": 4, "two": 4}
