"""A small network, its data, a training loop, and solvers that show what reaches them."""

import numpy as np
import torch
from torch import nn

from qpsbgd.nn import BinaryActivation, BinaryLinear, Scale
from qpsbgd.problem import Solutions


def small_net(dtype=torch.float32):
    torch.manual_seed(1)
    return nn.Sequential(
        BinaryLinear(6, 8, dtype=dtype),
        nn.BatchNorm1d(8, dtype=dtype),
        BinaryActivation(),
        BinaryLinear(8, 3, dtype=dtype),
        Scale(2.0).to(dtype),
    )


def batches(count, size=16, dtype=torch.float32):
    generator = torch.Generator().manual_seed(2)
    for _ in range(count):
        x = torch.randn(size, 6, generator=generator).to(dtype)
        yield x, (x[:, :3] + 0.3 * x[:, 3:]).argmax(dim=1)


def train(model, optimizer, data):
    for x, y in data:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()


def whole(count=6):
    """The samples of all batches as one batch."""
    xs, ys = zip(*batches(count), strict=True)
    return torch.cat(xs), torch.cat(ys)


def net_with_dropout():
    model = small_net()
    return nn.Sequential(model[:3], nn.Dropout(0.4), model[3:])


def states_equal(one, other):
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(name == same and torch.equal(a, b) for (name, a), (same, b) in pairs)


def loss_on(layer, x, target):
    return (layer(x) - target).square().sum(dim=1).mean() / 2


class Shuffler:
    """Answers with spins drawn by its seed alone."""

    def solve(self, problem, *, seed):
        shape = (problem.num_problems, 1, problem.num_spins)
        spins = np.random.default_rng(seed).choice(np.array([-1, 1], dtype=np.int8), size=shape)
        return Solutions(spins, problem.energies(spins))


class Spy:
    """Records its problems and answers with their starts."""

    def __init__(self):
        self.problems = []

    def solve(self, problem, *, seed):
        self.problems.append(problem)
        return Solutions(problem.initial_states, problem.energies(problem.initial_states))
