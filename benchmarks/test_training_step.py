"""A whole training step, forward, backward and optimizer: QPSBGD beside BinaryConnect.

After the other benchmarks the C library keeps what is freed. In a process of its own it gives the temporaries
of Adam back to the system in every step, which makes BinaryConnect-Adam slower by a third, unless it is told
otherwise: MALLOC_MMAP_THRESHOLD_=1000000000 MALLOC_TRIM_THRESHOLD_=4000000000.

A layer that QPSBGD is attached to computes its weight's gradient by the package's kernel, one of
BinaryConnect by torch's product. The ratio depends on how fast that is: MKL uses no AVX-512 on AMD
processors.
"""

import itertools

import pytest
import torch
from torch import nn

from harness import record
from qpsbgd import QPSBGD
from qpsbgd.baselines import BinaryConnect
from qpsbgd.nn import Scale, to_binary

OPTIMIZERS = {
    "qpsbgd QPSBGD": lambda parameters: QPSBGD(parameters, lr=0.01),
    "BinaryConnect, Adam": lambda parameters: BinaryConnect(parameters, lr=0.01, base="adam"),
    "BinaryConnect, SGD": lambda parameters: BinaryConnect(parameters, lr=0.01, base="sgd"),
}
SHAPES = {"784-512-512-10, batch 128": ((784, 512, 512, 10), 128), "64-128-10, batch 64": ((64, 128, 10), 64)}


def network(widths: tuple[int, ...]) -> nn.Module:
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths[:-1]):
        layers += [nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU()]
    return to_binary(nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1], bias=False), Scale()))


@pytest.mark.benchmark(group="training step")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("solver", OPTIMIZERS)
def test_training_step(benchmark, mode, solver, shape):
    widths, batch = SHAPES[shape]
    torch.manual_seed(0)
    net = network(widths)
    optimizer = OPTIMIZERS[solver](net.parameters())
    # Batches come again, so that the loss falls, but never twice in turn: A of an input that stays is kept.
    batches = [(torch.randn(batch, widths[0]), torch.randint(widths[-1], (batch,))) for _ in range(4)]
    turns = itertools.cycle(batches)
    losses: list[float] = []

    def step() -> None:
        X, y = next(turns)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(X), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    benchmark.pedantic(step, rounds=mode.choose(60, 300), warmup_rounds=10)
    assert sum(losses[-4:]) < sum(losses[:4])
    assert all(torch.isfinite(parameter).all() for parameter in net.parameters())
    record(
        benchmark,
        workload=f"training step, {shape}",
        solver=solver,
        peer=not solver.startswith("qpsbgd"),
        unit="step",
        equal_energy=False,
        last_loss=losses[-1],
    )
