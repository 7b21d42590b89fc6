"""Trains a 64-256-256-10 network with real weights for 40 steps, by AdamW and by binary steps of QPSBGD.

AdamW has the best of 27 settings of lr and betas, QPSBGD its defaults.
"""

import torch
from torch import nn

from qpsbgd import QPSBGD
from qpsbgd.data.datasets import digits
from qpsbgd.nn import to_recorded

data = digits()
X, y, X_test, y_test = map(torch.tensor, (data.x_train, data.y_train, data.x_test, data.y_test))
for name in ("AdamW", "QPSBGD"):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
    if name == "AdamW":
        optimizer: torch.optim.Optimizer = torch.optim.AdamW(net.parameters(), lr=0.02, betas=(0.7, 0.9))
    else:
        optimizer = QPSBGD(to_recorded(net).parameters())
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=40)
    for _ in range(40):
        batch = torch.randint(len(X), (512,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(X[batch]), y[batch]).backward()
        optimizer.step()
        schedule.step()
    loss = nn.functional.cross_entropy(net(X), y).item()
    accuracy = (net(X_test).argmax(1) == y_test).float().mean().item()
    print(f"{name:6} training loss {loss:.4f}, test accuracy {accuracy:.4f}")
