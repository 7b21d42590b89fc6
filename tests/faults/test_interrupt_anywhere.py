"""SIGINT at every moment at which Python looks for signals, in a step and in what a tuning writes.

A moment at random finds a window of a microsecond in some thousand attempts. Here each place in the code has
its turn. `make soak` takes every moment, also of places that are passed many times.
"""

import contextlib
import gc
import json
import os
import sys
import weakref
from pathlib import Path

import pytest
import torch
from torch import nn

import qpsbgd
from interrupting import Moments, interrupts_raise
from qpsbgd import QPSBGD
from qpsbgd.experiments.core.runner import run, tune
from qpsbgd.experiments.core.store import Store
from qpsbgd.nn import Activated, BinaryConv2d, BinaryLinear, to_recorded
from qpsbgd.residual import ResidualQPSBGD
from qpsbgd.solvers import NativeSolver
from same import same
from toy_tasks import counted

EVERY = int(os.environ.get("QPSBGD_INTERRUPTS", "12")) >= 100
OWN = os.path.dirname(qpsbgd.__file__)

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="where exceptions are handled is known from Python 3.11 on"
)


@pytest.fixture(autouse=True)
def _interrupts_raise():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with interrupts_raise():
        yield
    torch.set_num_threads(threads)


# --- steps


def two_layers():
    return nn.Sequential(BinaryLinear(6, 5, bias=True), nn.Hardtanh(), BinaryLinear(5, 3))


def channel_groups():
    return nn.Sequential(
        nn.Unflatten(1, (2, 3, 1)),
        BinaryConv2d(2, 4, (2, 1), groups=2),
        nn.Tanh(),
        nn.Flatten(),
        BinaryLinear(8, 3),
    )


def real():
    return to_recorded(nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)))


def slopes():
    return nn.Sequential(Activated(BinaryLinear(6, 5), nn.Tanh()), BinaryLinear(5, 3))


ANNEAL = NativeSolver(method="anneal", num_reads=2, num_sweeps=4, num_threads=1)
CASES = {
    "error feedback": (two_layers, {}),
    "momentum": (two_layers, {"memory": "momentum"}),
    "no memory": (two_layers, {"memory": None}),
    "mask": (two_layers, {"domain": "mask"}),
    "kept matrices": (two_layers, {"gram_every": 3}),
    "projected": (two_layers, {"variant": "projected"}),
    "projected, momentum": (two_layers, {"variant": "projected", "memory": "momentum"}),
    "projected, softmax": (two_layers, {"variant": "projected", "majorizer": "softmax"}),
    "channel groups": (channel_groups, {}),
    "projected channel groups": (channel_groups, {"variant": "projected"}),
    "real weights": (real, {}),
    "post-activation": (slopes, {"jacobian": "post-activation"}),
    "random solver": (two_layers, {"solver": ANNEAL}),
    "skips": (two_layers, {"nonfinite": "skip"}),
    "device": (two_layers, {"solver": "device"}),
}


class Loop:
    """A training whose batch is drawn by the number of the step, so that it may go on from any step."""

    def __init__(self, case):
        torch.manual_seed(0)
        make, options = CASES[case]
        self.model = make()
        self.optimizer = QPSBGD(self.model.parameters(), **options)

    @property
    def steps(self):
        return self.optimizer.param_groups[0]["step"]

    def step(self):
        x = torch.randn(16, 6, generator=torch.Generator().manual_seed(self.steps))
        self.optimizer.zero_grad()
        self.model(x).square().mean().backward()
        self.optimizer.step()

    def state(self):
        return dict(self.model.state_dict()), self.optimizer.state_dict()


@pytest.fixture(scope="module")
def moments_of_steps():
    """Places that had their turn in one case need none in the next."""
    folder = os.path.dirname(torch.__file__)
    torchs = tuple(
        os.path.join(folder, name) for name in ("autograd", "optim", "utils", "_compile", "_tensor")
    )
    return Moments((OWN, *torchs, contextlib.__file__, weakref.__file__), every=EVERY)


@pytest.mark.parametrize("case", CASES)
def test_step_is_whole_and_the_next_one_right(case, moments_of_steps):
    interrupted, plain = Loop(case), Loop(case)
    for where in moments_of_steps.interrupts(interrupted.step):
        assert torch.is_grad_enabled(), where
        assert torch._C._is_torch_function_enabled(), where
        while plain.steps < interrupted.steps:
            plain.step()
        assert same(interrupted.state(), plain.state()), where
    interrupted.step()
    while plain.steps < interrupted.steps:
        plain.step()
    assert same(interrupted.state(), plain.state())


def test_step_of_residuals_is_whole(moments_of_steps):
    def made():
        parameters = [nn.Parameter(torch.linspace(-1.0, 1.0, 4)) for _ in range(2)]
        return parameters, ResidualQPSBGD(parameters)

    (parameters, optimizer), (others, plain) = made(), made()
    for where in moments_of_steps.interrupts(lambda: optimizer.step(lambda *xs: torch.cat(xs) - 0.3)):
        assert torch.is_grad_enabled(), where
        while plain.param_groups[0]["step"] < optimizer.param_groups[0]["step"]:
            plain.step(lambda *xs: torch.cat(xs) - 0.3)
        assert all(map(torch.equal, parameters, others)), where
        assert same(optimizer.state_dict(), plain.state_dict()), where


# --- tuning

TASK = counted(grids={"a": ({"lr": 1}, {"lr": 4})}, tuning_seeds=1)


def tune_and_run(folder):
    store = Store(folder, keep_weights=True)
    return run(TASK, tune(TASK, ["a"], store), store, seeds=1)


def contents(folder):
    """All records and weights, which are whole; there is no other file."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and path.name != ".lock":
            assert path.suffix in (".json", ".pt"), path
            read = path.read_text() if path.suffix == ".json" else ""
            found[path.name] = json.loads(read) if read else torch.load(path, weights_only=True)
    return found


def num_open_files():
    return len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0


# Between `open` and the block that closes the file, an interrupt leaves that to the file's own end.
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_tuning_leaves_whole_records_and_nothing_else(tmp_path):
    tune_and_run(tmp_path / "whole")
    expected = contents(tmp_path / "whole")
    assert len(expected) == 4
    own = (os.path.join(OWN, "experiments", "core"), os.path.join(OWN, "data"))
    moments = Moments((*own, contextlib.__file__), every=EVERY)
    gc.collect()
    before = num_open_files()
    folders = [tmp_path / "0"]
    for where in moments.interrupts(lambda: tune_and_run(folders[-1])):
        assert num_open_files() <= before, where
        found = contents(folders[-1])
        assert same(found, {name: expected[name] for name in found}), where
        tune_and_run(folders[-1])
        assert same(contents(folders[-1]), expected), where
        folders.append(tmp_path / str(len(folders)))
