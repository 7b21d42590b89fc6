"""Random sequences of what a training loop may do to an optimizer, against a model of what must hold.

The model is plain: for each weight its gradient, the samples behind it, what the last step left behind, and
the number of steps. Inputs and gradients are small integers, so that sums are exact in any order. A
projection itself is tested elsewhere: here the model takes G from the hook, after it has checked what G was
made from. A second optimizer without the hook, which takes other paths through the code, has to stay equal
bit for bit.
"""

import copy
import io
import os
import pickle

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from torch import nn

from oracles import row_objective, signs
from qpsbgd.nn import BinaryLinear
from qpsbgd.optim import QPSBGD
from qpsbgd.optim.adam import adam_step
from same import same

EXAMPLES = int(os.environ.get("QPSBGD_SEQUENCES", "25"))
WIDTHS = (4, 16, 4, 16)
"""Of the inputs: squares, so that 1/sqrt(d) is exact."""


def new_net(count):
    """Make layers side by side, each with inputs of its own."""
    torch.manual_seed(count)
    return nn.ModuleList([BinaryLinear(width, 3, bias=True, dtype=torch.float64) for width in WIDTHS[:count]])


class Expected:
    """What must hold of one layer."""

    def __init__(self, layer, lr):
        self.W = layer.weight.detach().clone()
        self.bias = layer.bias.detach().clone()
        self.adam = {}
        self.lr = self.base_lr = lr
        self.residual = torch.zeros_like(self.W)
        self.drop()

    def drop(self):
        self.gradient = self.bias_gradient = None
        self.samples = []

    def backward(self, x, v):
        a = x.shape[1] ** -0.5
        gradient, bias_gradient = a * (v.T @ x), v.sum(0)
        self.gradient = gradient if self.gradient is None else self.gradient + gradient
        self.bias_gradient = (
            bias_gradient if self.bias_gradient is None else self.bias_gradient + bias_gradient
        )
        self.samples.append(x)

    @property
    def count(self):
        return sum(map(len, self.samples))

    def step(self, projection):
        x = torch.cat(self.samples)
        A = (x.T @ x).numpy() / (len(x) * x.shape[1])
        p = self.gradient + self.residual
        assert projection.options["num_samples"] == len(x)
        np.testing.assert_allclose(projection.A, A, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(projection.p, p, rtol=1e-12, atol=1e-12)
        G = projection.G.double()
        for row, of_p in zip(G.numpy(), p.numpy(), strict=True):
            start = signs(of_p)
            against = start @ A @ start
            scale = np.abs(of_p).sum() / against if against > 0 else 0.0
            most = row_objective(start, of_p, A, scale)
            assert row_objective(np.where(row == 0, start, row), of_p, A, scale) <= most + 1e-9 * (
                1 + abs(most)
            )
        self.W = (self.W - self.lr * G).clamp(-1, 1)
        length = (p * G).mean(1, keepdim=True).clamp(min=0)
        self.residual = p - length * G


class Training(RuleBasedStateMachine):
    """Two equal models with their optimizers; the first one's projections are looked at."""

    @initialize(count=st.integers(1, 3), lr=st.sampled_from([0.25, 0.0625]))
    def begin(self, count, lr):
        self.lr = lr
        self.nets = [new_net(count), new_net(count)]
        self.optimizers = [QPSBGD(net.parameters(), lr=lr, other_lr=0.5) for net in self.nets]
        self.expected = [Expected(layer, lr) for layer in self.nets[0]]
        self.steps = self.qubos = 0
        self.watch()

    def watch(self):
        self.seen = []
        self.optimizers[0].register_projection_hook(self.seen.append)

    def layers(self, number):
        return [net[number % len(net)] for net in self.nets]

    def data(self, number, samples, seed):
        rng = np.random.default_rng(seed)
        width = WIDTHS[number % len(self.nets[0])]
        x = torch.from_numpy(rng.integers(-3, 4, size=(samples, width)).astype(np.float64))
        return x, torch.from_numpy(rng.integers(-2, 3, size=(samples, 3)).astype(np.float64))

    @rule(number=st.integers(0, 9), samples=st.integers(1, 5), seed=st.integers(0, 99))
    def backward(self, number, samples, seed):
        x, v = self.data(number, samples, seed)
        for layer in self.layers(number):
            (layer(x) * v).sum().backward()
        self.expected[number % len(self.expected)].backward(x, v)

    @rule(number=st.integers(0, 9), seed=st.integers(0, 99))
    def look_without_gradients(self, number, seed):
        x, v = self.data(number, 3, seed)
        for layer in self.layers(number):
            layer(x)  # its backward pass never comes
            layer.eval()
            layer(x)
            layer.train()
            with torch.no_grad():
                layer(x)
            leaf = x.clone().requires_grad_()
            torch.autograd.grad((layer(leaf) * v).sum(), leaf)

    @rule(how=st.sampled_from(["optimizer", "model", "zeros"]))
    def zero_grad(self, how):
        for net, optimizer in zip(self.nets, self.optimizers, strict=True):
            owner = net if how == "model" else optimizer
            owner.zero_grad(set_to_none=how != "zeros")
        for one in self.expected:
            had_bias = one.bias_gradient is not None
            one.drop()
            if how == "zeros" and had_bias:  # Adam steps by a gradient of zeros
                one.bias_gradient = torch.zeros_like(one.bias)

    @rule(number=st.integers(0, 9))
    def drop_one(self, number):
        for layer in self.layers(number):
            layer.weight.grad = None
            layer.bias.grad = None
        self.expected[number % len(self.expected)].drop()

    @rule()
    def step(self):
        self.seen.clear()
        for optimizer in self.optimizers:
            optimizer.step()
        shown = {id(projection.weight): projection for projection in self.seen}
        for layer, one in zip(self.nets[0], self.expected, strict=True):
            if one.gradient is not None and one.count:
                one.step(shown.pop(id(layer.weight)))
                self.qubos += 3
            if one.bias_gradient is not None:
                adam_step(one.bias, one.bias_gradient, one.adam, 0.5 * one.lr / one.base_lr)
        assert not shown
        self.steps += 1

    @rule(number=st.integers(0, 9), value=st.sampled_from([float("nan"), float("inf")]))
    def step_that_is_not_finite(self, number, value):
        before = [(copy.deepcopy(dict(net.state_dict())), self.state(k)) for k, net in enumerate(self.nets)]
        layers = self.layers(number)
        if layers[0].weight.grad is None or self.expected[number % len(self.expected)].count == 0:
            return
        kept = [layer.weight.grad.clone() for layer in layers]
        for layer, optimizer in zip(layers, self.optimizers, strict=True):
            layer.weight.grad[0, 0] = value
            with pytest.raises(ValueError, match="is not finite in step"):
                optimizer.step()
        assert same(before, [(dict(net.state_dict()), self.state(k)) for k, net in enumerate(self.nets)])
        for layer, gradient in zip(layers, kept, strict=True):
            layer.weight.grad.copy_(gradient)

    def state(self, index):
        return copy.deepcopy(self.optimizers[index].state_dict())

    @rule(through_file=st.booleans())
    def save_and_load(self, through_file):
        for index, (net, optimizer) in enumerate(zip(self.nets, self.optimizers, strict=True)):
            saved = {"net": net.state_dict(), "optimizer": optimizer.state_dict()}
            if through_file:
                file = io.BytesIO()
                torch.save(saved, file)
                file.seek(0)
                saved = torch.load(file, weights_only=True)
            fresh = new_net(len(net))
            fresh.load_state_dict(saved["net"])
            other = self.regrouped(fresh, optimizer)
            other.load_state_dict(saved["optimizer"])
            self.nets[index], self.optimizers[index] = fresh, other
        self.forget_gradients()

    @staticmethod
    def regrouped(fresh, optimizer):
        """Give an optimizer whose groups have as many parameters as those of another one."""
        parameters = iter(fresh.parameters())
        sizes = [len(group["params"]) for group in optimizer.param_groups]
        groups = [[next(parameters) for _ in range(size)] for size in sizes]
        other = QPSBGD(groups[0], lr=1.0, other_lr=0.5)  # what later groups have
        for group in groups[1:]:
            other.add_param_group({"params": group})
        return other

    def forget_gradients(self):
        for one in self.expected:
            one.drop()
        self.watch()

    @rule(how=st.sampled_from(["deepcopy", "pickle"]))
    def copy_both(self, how):
        self.optimizers[0]._projection_hooks.clear()  # hooks are not copied; the list that one fills would be
        for index, pair in enumerate(zip(self.nets, self.optimizers, strict=True)):
            other = copy.deepcopy(pair) if how == "deepcopy" else pickle.loads(pickle.dumps(pair))
            net, optimizer = other
            net.zero_grad()
            optimizer.zero_grad()
            self.nets[index], self.optimizers[index] = net, optimizer
        self.forget_gradients()

    @precondition(lambda self: len(self.nets[0]) < len(WIDTHS))
    @rule(lr=st.sampled_from([0.5, 0.125]))
    def add_param_group(self, lr):
        for net, optimizer in zip(self.nets, self.optimizers, strict=True):
            count = len(net) + 1
            layer = new_net(count)[-1]
            net.append(layer)
            optimizer.add_param_group({"params": layer.parameters(), "lr": lr})
        self.expected.append(Expected(self.nets[0][-1], lr))

    @rule(factor=st.sampled_from([0.5, 1.0, 2.0]))
    def schedule(self, factor):
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = min(group["lr"] * factor, 1.0)
        for one in self.expected:
            one.lr = min(one.lr * factor, 1.0)

    @invariant()
    def weights_are_expected(self):
        if not hasattr(self, "nets"):
            return
        for layer, twin, one in zip(*self.nets, self.expected, strict=True):
            assert torch.equal(layer.weight.detach(), one.W)
            torch.testing.assert_close(layer.bias.detach(), one.bias, rtol=1e-12, atol=1e-12)
            assert torch.equal(layer.weight, twin.weight)
            assert torch.equal(layer.bias, twin.bias)

    @invariant()
    def counters_are_expected(self):
        if not hasattr(self, "nets"):
            return
        for optimizer in self.optimizers:
            assert optimizer.param_groups[0]["step"] == self.steps
            assert optimizer.num_qubos == self.qubos


Training.TestCase.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=30, deadline=None, derandomize=EXAMPLES <= 25
)
TestTraining = Training.TestCase
