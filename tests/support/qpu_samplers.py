"""Structured samplers that are slow, fail, or never answer, all of them offline."""

import concurrent.futures
import threading
import time

import dimod
import numpy as np
from dwave.system.testing import MockDWaveSampler

from qpsbgd.problem import ising_problem

QUICK = {"num_reads": 10, "retry_delay": 1e-3}


def mock(topology="zephyr", shape=(2, 4), **options):
    """A QPU's graph and properties over steepest descent, from the same starts for every submission."""
    options.setdefault("exact_solver_cutoff", 0)
    options.setdefault("substitute_kwargs", {"seed": 1})
    return MockDWaveSampler(
        topology_type=topology, topology_shape=list(shape), parameter_warnings=False, **options
    )


class FakeQPU(dimod.Sampler, dimod.Structured):
    """A mock that notes when it was asked, and what; subclasses say how it answers."""

    nodelist = edgelist = properties = parameters = None

    def __init__(self, topology="zephyr", shape=(2, 4), **options):
        self.inner = mock(topology, shape, **options)
        self.nodelist, self.edgelist = self.inner.nodelist, self.inner.edgelist
        self.properties, self.parameters = self.inner.properties, self.inner.parameters
        self.models, self.arguments, self.asked_at, self.answered_at = [], [], [], []

    def sample(self, bqm, **arguments):
        self.models.append(bqm)
        self.arguments.append(arguments)
        self.asked_at.append(time.monotonic())
        return self.answer(bqm, arguments)

    def answer(self, bqm, arguments):
        return self.now(bqm, arguments)

    def now(self, bqm, arguments):
        answer = self.inner.sample(bqm, num_reads=arguments["num_reads"], answer_mode="raw")
        self.answered_at.append(time.monotonic())
        return answer


class SlowQPU(FakeQPU):
    """Answers each submission `delay` seconds after it was asked, as a cloud client does."""

    def __init__(self, delay, **options):
        super().__init__(**options)
        self.delay = delay

    def answer(self, bqm, arguments):
        future = concurrent.futures.Future()
        timer = threading.Timer(self.delay, self.resolve, (future, bqm, arguments))
        timer.daemon = True
        timer.start()
        return dimod.SampleSet.from_future(future)

    def resolve(self, future, bqm, arguments):
        if future.set_running_or_notify_cancel():
            future.set_result(self.now(bqm, arguments))


class ScriptedQPU(FakeQPU):
    """Follows a script: an exception is raised at once, ("later", exception) when the answer is read.

    "silence" never answers, anything else and the end of the script answer at once.
    """

    def __init__(self, script, **options):
        super().__init__(**options)
        self.script = list(script)

    def answer(self, bqm, arguments):
        line = self.script.pop(0) if self.script else None
        if isinstance(line, BaseException):
            raise line
        if line == "silence":
            return dimod.SampleSet.from_future(concurrent.futures.Future())
        if isinstance(line, tuple):
            future = concurrent.futures.Future()
            future.set_exception(line[1])
            return dimod.SampleSet.from_future(future)
        return self.now(bqm, arguments)


class RandomQPU(FakeQPU):
    """Answers with random qubits, all chains broken."""

    def answer(self, bqm, arguments):
        rng = np.random.default_rng(len(self.models))
        spins = rng.choice(np.array([-1, 1], dtype=np.int8), size=(arguments["num_reads"], bqm.num_variables))
        return dimod.SampleSet.from_samples_bqm((spins, list(bqm.variables)[::-1]), bqm)


def layer(b=5, n=6, seed=0, starts=False):
    """A batch as a layer's step makes it: b rows of n spins that share a Gram matrix."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(4 * n, n))
    states = rng.choice([-1, 1], size=(b, n)) if starts else None
    return ising_problem(0.3 * rng.normal(size=(b, n)), X.T @ X / (4 * n * n), initial_states=states)
