"""Trains a small binary network on a mock of a D-Wave chip: no account, no cost, the same code as on a QPU.

    pip install dwave-system
    python examples/qpu_mock.py

On a real chip, leave `sampler` out: `QPUSolver(max_qpu_seconds=60)` reads the token of `dwave config create`.
"""

import sys

import torch
from dwave.system.testing import MockDWaveSampler
from torch import nn

from qpsbgd import QPSBGD
from qpsbgd.nn import Scale, to_binary
from qpsbgd.solvers import QPUSolver

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 30
torch.manual_seed(0)
X = torch.randn(256, 12)
y = (X[:, :6].sum(1) > X[:, 6:].sum(1)).long()
net = nn.Sequential(nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2), Scale())
sampler = MockDWaveSampler(topology_type="zephyr", topology_shape=[2, 4], parameter_warnings=False)
solver = QPUSolver(sampler, num_reads=10, max_qpu_seconds=60)
optimizer = QPSBGD(to_binary(net).parameters(), lr=0.03, solver=solver)
for _ in range(steps):
    batch = torch.randint(len(X), (64,))
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(X[batch]), y[batch]).backward()
    optimizer.step()
print(f"{optimizer.num_qubos} QUBOs, about {optimizer.qpu_seconds:.2f} s of QPU time, had it been a QPU")
print("accuracy:", (net.eval()(X).argmax(1) == y).float().mean().item())
