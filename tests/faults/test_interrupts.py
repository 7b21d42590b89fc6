"""SIGINT at random moments of solving, training and tuning: KeyboardInterrupt each time, nothing half done.

`make soak` asks for 100 moments of each by QPSBGD_INTERRUPTS.
"""

import copy
import itertools
import json
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import scipy.sparse
import torch
from torch import nn

from interrupting import interrupt, interrupts_raise, num_threads
from qpsbgd import QPSBGD, project, solve_ising, solve_stream
from qpsbgd.experiments import TASKS
from qpsbgd.experiments.core.runner import run, tune
from qpsbgd.experiments.core.store import Store
from qpsbgd.nn import BinaryLinear
from qpsbgd.problem import ising_problem
from qpsbgd.solvers import NativeSolver
from same import same

MOMENTS = int(os.environ.get("QPSBGD_INTERRUPTS", "12"))


@pytest.fixture(autouse=True)
def _interrupts_raise():
    with interrupts_raise():
        yield


def settled_threads(before):
    """Wait for threads that end, then return the number of those that are left."""
    end = time.perf_counter() + 2.0
    while num_threads() > before and time.perf_counter() < end:
        time.sleep(0.005)
    return num_threads()


def seconds_of(activity):
    begin = time.perf_counter()
    activity()
    return time.perf_counter() - begin


# --- solving


def solves():
    """Calls of every kind, each of some milliseconds, with answers that the seed fixes."""
    rng = np.random.default_rng(0)
    h, J = rng.normal(size=(6, 90)), rng.normal(size=(6, 90, 90))
    sparse = scipy.sparse.random_array((800, 800), density=0.004, random_state=1).tocsr()
    small = [ising_problem(rng.normal(size=14), rng.normal(size=(14, 14))) for _ in range(60)]
    V, X = rng.normal(size=(64, 32)), rng.normal(size=(64, 300))
    answers = {"seed": 1, "num_threads": 2}

    def stream(executor):
        return [one.energies for one in solve_stream(small, solver=NativeSolver(), seed=1, executor=executor)]

    return {
        "anneal": lambda: solve_ising(h, J, method="anneal", num_sweeps=60, **answers).energies,
        "tabu": lambda: solve_ising(h, J, method="tabu", num_reads=4, num_sweeps=20, **answers).energies,
        "exact": lambda: solve_ising(h[0, :18], J[0, :18, :18], method="exact", **answers).energies,
        "descent": lambda: solve_ising(h, J[0], method="descent", num_reads=40, **answers).energies,
        "sparse": lambda: solve_ising(None, sparse, num_reads=4, num_sweeps=40, **answers).energies,
        "best states": lambda: solve_ising(h, J, num_best=5, num_sweeps=20, **answers).energies,
        "stream": lambda: stream(None),
        "stream on threads": lambda: stream(partial(ThreadPoolExecutor, 2)),
        "project": lambda: project(V, X),
    }


def test_solving():
    calls = solves()
    expected = {name: call() for name, call in calls.items()}
    durations = {name: seconds_of(call) for name, call in calls.items()}
    time.sleep(0.1)  # the stream's threads end
    moments = random.Random(0)
    before = num_threads()
    for number in range(MOMENTS):
        name = list(calls)[number % len(calls)]
        interrupt(calls[name], moments.uniform(0, 2 * durations[name]))
        assert settled_threads(before) <= before, name
        again = list(calls)[(number + 1) % len(calls)]
        assert same(calls[again](), expected[again]), again
        assert same(calls[name](), expected[name]), name


# --- training


class Loop:
    """A training whose batch is drawn by the number of the step, so that it may go on from any step."""

    def __init__(self, **options):
        torch.manual_seed(0)
        layers = [BinaryLinear(24, 24, bias=True) for _ in range(6)]
        self.model = nn.Sequential(*itertools.chain(*((layer, nn.Hardtanh()) for layer in layers)))
        self.optimizer = QPSBGD(self.model.parameters(), **options)

    @property
    def steps(self):
        return self.optimizer.param_groups[0]["step"]

    def step(self):
        x = torch.randn(16, 24, generator=torch.Generator().manual_seed(self.steps))
        self.optimizer.zero_grad()
        self.model(x).square().mean().backward()
        self.optimizer.step()

    def state(self):
        return copy.deepcopy((dict(self.model.state_dict()), self.optimizer.state_dict()))


@pytest.mark.parametrize("options", [{}, {"memory": "momentum"}, {"variant": "projected"}], ids=str)
def test_training(options):
    trained, plain = Loop(**options), Loop(**options)
    duration = min(seconds_of(trained.step) for _ in range(3))
    for _ in range(3):
        plain.step()
    moments = random.Random(1)
    before = num_threads()
    for _ in range(max(MOMENTS // 3, 4)):
        interrupt(trained.step, moments.uniform(0, 3 * duration))
        assert settled_threads(before) <= before
        while plain.steps < trained.steps:
            plain.step()
        assert same(trained.state(), plain.state())
    assert plain.steps > 3


# --- tuning

GRID = ({"lr": 0.01}, {"lr": 0.03})
TASK = TASKS["digits"].replaced(steps=3, tuning_seeds=1, grids={"signsgd": GRID, "qpsbgd": GRID})


def tune_and_repeat(folder):
    store = Store(folder, keep_weights=True)
    settings = tune(TASK, ["signsgd", "qpsbgd"], store)
    return run(TASK, settings, store, seeds=2)


def contents(folder):
    """All that the records and their weights say, their times aside."""
    found = {}
    for path in sorted(folder.rglob("*.json")):
        record = json.loads(path.read_text())
        for name in [name for name in record["run"]["metrics"] if name.endswith(("seconds", "second"))]:
            del record["run"]["metrics"][name]
        found[path.name] = record
    for path in sorted(folder.rglob("*.pt")):
        found[path.name] = torch.load(path, weights_only=True)
    return found


# Between `open` and the block that closes the file, an interrupt leaves that to the garbage collector.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <_io.FileIO:pytest.PytestUnraisableExceptionWarning"
)
def test_tuning(tmp_path):
    tune_and_repeat(tmp_path / "warm")
    expected = contents(tmp_path / "warm")
    duration = seconds_of(lambda: tune_and_repeat(tmp_path / "timed"))
    assert len(expected) == 8 + 4
    moments = random.Random(2)
    before = num_threads()
    folders = (tmp_path / f"run{number}" for number in itertools.count())
    folder = next(folders)
    for _ in range(MOMENTS):

        def go_on():
            nonlocal folder
            tune_and_repeat(folder)
            assert same(contents(folder), expected)
            folder = next(folders)

        interrupt(go_on, moments.uniform(0, 0.5 * duration))
        assert settled_threads(before) <= before
    tune_and_repeat(folder)
    assert same(contents(folder), expected)
    assert [path for path in tmp_path.rglob(".*") if path.name != ".lock"] == []
