"""Trains a 64-256-10 network with weights in {-1, +1} on handwritten digits; prints its test accuracy."""

import torch
from torch import nn

from qpsbgd import QPSBGD
from qpsbgd.data.datasets import digits
from qpsbgd.nn import Scale, to_binary

torch.manual_seed(0)
data = digits()
X, y, X_test, y_test = map(torch.tensor, (data.x_train, data.y_train, data.x_test, data.y_test))
net = nn.Sequential(nn.Linear(64, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 10), Scale())
optimizer = QPSBGD(to_binary(net).parameters(), lr=0.01)
for _ in range(500):
    batch = torch.randint(len(X), (100,))
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(X[batch]), y[batch]).backward()
    optimizer.step()
print("test accuracy:", (net.eval()(X_test).argmax(1) == y_test).float().mean().item())
