"""A step is all or nothing, wherever an interrupt comes."""

import contextlib
import os
import signal
import threading
import time

import pytest
import torch
from torch import nn

from qpsbgd.baselines import BinaryConnect, Bop, ProxQuant, SignSGD
from qpsbgd.nn import BinaryLinear
from qpsbgd.optim import QPSBGD
from qpsbgd.optim.commit import Uninterrupted
from qpsbgd.residual import ResidualQPSBGD

OPTIMIZERS = {
    "continuous": lambda params: QPSBGD(params),
    "momentum": lambda params: QPSBGD(params, memory="momentum"),
    "projected": lambda params: QPSBGD(params, variant="projected", majorizer="softmax"),
    "binaryconnect": lambda params: BinaryConnect(params, base="sign"),
    "signsgd": lambda params: SignSGD(params),
    "bop": lambda params: Bop(params, lr=0.5, threshold=0.0),
    "proxquant": lambda params: ProxQuant(params, total_steps=100, base="sgd", lr=0.5),
}


class Trained:
    """24 binary layers and their biases, with gradients."""

    def __init__(self, make):
        torch.manual_seed(0)
        self.layers = nn.ModuleList([BinaryLinear(8, 8, bias=True) for _ in range(24)])
        self.optimizer = make(self.layers.parameters())
        self.backward()
        self.optimizer.step()  # weights of Bop are signs from now on

    def backward(self):
        self.optimizer.zero_grad()
        for layer in self.layers:
            layer(torch.randn(16, 8)).square().sum().backward()

    def counts(self):
        group = self.optimizer.param_groups[0]
        states = [self.optimizer.state[layer.bias]["step"] for layer in self.layers]
        return {group["step"], *states}

    def changed(self, before):
        return sum(not torch.equal(p, old) for p, old in zip(self.layers.parameters(), before, strict=True))


def assert_all_or_nothing(trained, before, steps):
    moved = trained.changed(before)
    if trained.counts() == {steps}:
        assert moved == 0
        return False
    assert trained.counts() == {steps + 1}
    assert moved >= 24  # each bias, and weights whose step is not zero
    return True


@pytest.fixture
def interrupts_handled():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("name", ["clamp_", "copy_", "addcdiv_", "add_", "lerp_"])
def test_interrupt_in_the_commit_waits_for_its_end(kind, name, monkeypatch, interrupts_handled):
    trained = Trained(OPTIMIZERS[kind])
    trained.backward()
    before = [parameter.detach().clone() for parameter in trained.layers.parameters()]
    plain = getattr(torch.Tensor, name)
    calls = []

    def interrupted(self, *args, **kwargs):
        result = plain(self, *args, **kwargs)
        calls.append(1)
        if len(calls) == 5:
            signal.raise_signal(signal.SIGINT)
        return result

    monkeypatch.setattr(torch.Tensor, name, interrupted)
    try:
        trained.optimizer.step()
    except KeyboardInterrupt:
        assert len(calls) >= 5
    else:
        assert len(calls) < 5
    monkeypatch.undo()
    assert_all_or_nothing(trained, before, 1)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_interrupts_at_any_moment_leave_whole_steps(kind, interrupts_handled):
    trained = Trained(OPTIMIZERS[kind])
    steps = 1
    for attempt in range(40):
        trained.backward()
        before = [parameter.detach().clone() for parameter in trained.layers.parameters()]
        delay = 1e-4 * attempt

        def kill(delay=delay):
            time.sleep(delay)
            os.kill(os.getpid(), signal.SIGINT)

        killer = threading.Thread(target=kill)
        with contextlib.suppress(KeyboardInterrupt):
            killer.start()
            trained.optimizer.step()
            killer.join()
            time.sleep(1e-3)
        while killer.is_alive():
            with contextlib.suppress(KeyboardInterrupt):
                killer.join()
        steps += assert_all_or_nothing(trained, before, steps)


def test_interrupt_in_the_commit_of_real_parameters_waits(monkeypatch, interrupts_handled):
    parameters = [nn.Parameter(torch.ones(3)) for _ in range(6)]
    optimizer = ResidualQPSBGD(parameters)
    plain = torch.Tensor.add_
    calls = []

    def interrupted(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "add_", interrupted)
    with pytest.raises(KeyboardInterrupt):
        optimizer.step(lambda *xs: torch.cat(xs))
    assert not any(torch.equal(p, torch.ones(3)) for p in parameters)
    assert optimizer.param_groups[0]["step"] == 1


def test_handlers_are_restored_and_others_threads_are_left_alone(interrupts_handled):
    def raise_lookup(number, frame):
        raise LookupError

    before = signal.signal(signal.SIGUSR1, raise_lookup)
    try:
        with pytest.raises(LookupError), Uninterrupted():
            signal.raise_signal(signal.SIGUSR1)
        assert signal.getsignal(signal.SIGUSR1) is raise_lookup
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGUSR1, before)
    entered = []

    def elsewhere():
        with Uninterrupted():
            entered.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert entered == [signal.default_int_handler]
