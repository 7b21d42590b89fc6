"""Trains a binary network, shows how its steps agree with the full gradient; keeps JSON and heat maps.

python examples/diagnostics.py digits
python examples/diagnostics.py mnist --memory none --every 20
"""

import argparse
from pathlib import Path

import torch
from torch import nn

from qpsbgd import QPSBGD
from qpsbgd.data.datasets import load
from qpsbgd.diagnostics import Diagnostics, QuboRecorder, draw_qubos
from qpsbgd.nn import BinaryActivation, Scale, to_binary

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("task", choices=["digits", "mnist"])
parser.add_argument("--steps", type=int, default=1200)
parser.add_argument("--every", type=int, default=20, help="observe every so many steps (default: 20)")
parser.add_argument("--memory", choices=["error-feedback", "momentum", "none"], default="error-feedback")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--out", type=Path, default=Path("diagnostics"))
arguments = parser.parse_args()

torch.manual_seed(arguments.seed)
torch.set_num_threads(1)
data = load(arguments.task)
mean, deviation = data.x_train.mean(axis=0), data.x_train.std()
X, X_test = (torch.from_numpy((x - mean) / deviation) for x in (data.x_train, data.x_test))
y, y_test = torch.from_numpy(data.y_train), torch.from_numpy(data.y_test)

last = nn.Linear(256, 10)
net = nn.Sequential(nn.Linear(X.shape[1], 256), nn.BatchNorm1d(256), BinaryActivation(), last, Scale())
optimizer = QPSBGD(
    to_binary(net).parameters(), lr=0.01, memory=None if arguments.memory == "none" else arguments.memory
)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=arguments.steps)
loss_fn = nn.functional.cross_entropy
shown = [1, max(1, arguments.steps // 10), arguments.steps]
with (
    Diagnostics(net, optimizer, loss_fn, (X, y), every=arguments.every, gap_rows=2) as diagnostics,
    QuboRecorder(optimizer, last.weight, rows=[0, 1], steps=shown) as recorder,
):
    for _ in range(arguments.steps):
        batch = torch.randint(len(X), (100,))
        optimizer.zero_grad()
        loss_fn(net(X[batch]), y[batch]).backward()
        optimizer.step()
        schedule.step()

diagnostics.write(arguments.out / "diagnostics.json")
draw_qubos(recorder.matrices, arguments.out / "qubos.png")
print(diagnostics.table())
print("test accuracy:", (net.eval()(X_test).argmax(1) == y_test).float().mean().item())
