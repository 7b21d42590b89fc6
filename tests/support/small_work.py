"""Small solves and trainings whose answers a number fixes, in a module that every process can import."""

import numpy as np
import torch

from qpsbgd import QPSBGD, solve_ising
from qpsbgd.nn import BinaryLinear

METHODS = ("anneal", "tabu", "exact", "descent")


def problem(number):
    rng = np.random.default_rng(number)
    n = 12 if METHODS[number % 4] == "exact" else int(rng.integers(10, 60))
    return rng.normal(size=n), rng.normal(size=(n, n))


def solve(number, threads=1):
    h, J = problem(number)
    found = solve_ising(
        h, J, method=METHODS[number % 4], num_sweeps=10, num_reads=2, seed=number, num_threads=threads
    )
    return found.samples, found.energies


def train(number, steps=3):
    generator = torch.Generator().manual_seed(number)
    layer = BinaryLinear(16, 8)
    with torch.no_grad():
        layer.weight.copy_(torch.rand(8, 16, generator=generator) - 0.5)
    optimizer = QPSBGD(layer.parameters())
    for _ in range(steps):
        optimizer.zero_grad()
        layer(torch.randn(10, 16, generator=generator)).square().mean().backward()
        optimizer.step()
    return layer.weight.detach().numpy().copy()
