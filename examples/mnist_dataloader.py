"""MNIST with a DataLoader, a schedule and checkpoints to go on from; digits where MNIST cannot be had."""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from qpsbgd import QPSBGD
from qpsbgd.data.datasets import load
from qpsbgd.nn import Scale, to_binary

epochs, file = int(sys.argv[1]) if len(sys.argv) > 1 else 5, Path("checkpoint.pt")
torch.manual_seed(0)
try:
    data = load("mnist")  # from $QPSBGD_DATA, or downloaded
except OSError:
    data = load("digits")
X, y, X_test, y_test = map(torch.tensor, (data.x_train, data.y_train, data.x_test, data.y_test))
net = nn.Sequential(nn.Linear(X.shape[1], 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 10), Scale())
optimizer = QPSBGD(to_binary(net).parameters(), lr=0.01)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
parts: dict[str, Any] = {"net": net, "optimizer": optimizer, "schedule": schedule}
if file.exists():
    for name, state in torch.load(file, weights_only=True).items():
        parts[name].load_state_dict(state)
loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, y), batch_size=100, shuffle=True)
for epoch in range(schedule.last_epoch, epochs):
    for inputs, labels in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net.train()(inputs), labels).backward()
        optimizer.step()
    schedule.step()
    torch.save({name: part.state_dict() for name, part in parts.items()}, file)
    accuracy = (net.eval()(X_test).argmax(1) == y_test).float().mean().item()
    print(f"{data.name}, epoch {epoch + 1}: test accuracy {accuracy:.4f}")
