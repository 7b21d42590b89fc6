"""PyTorch Geometric: a graph network with binary weights on the karate club, which comes with PyG.

    pip install torch_geometric
    python examples/graph_network.py

`BinaryGCNConv` takes the arguments of `torch_geometric.nn.GCNConv`, so it stands in any PyG model.
"""

from typing import Any

import torch
from torch import nn
from torch_geometric import transforms
from torch_geometric.datasets import KarateClub
from torch_geometric.nn import GCNConv

from qpsbgd import QPSBGD
from qpsbgd.nn import BinaryGCNConv, Scale


class Network(nn.Module):
    """Two graph convolutions."""

    def __init__(self, convolution: type[nn.Module], inputs: int, classes: int) -> None:
        super().__init__()
        self.first, self.second = convolution(inputs, 32), convolution(32, classes)
        self.norm, self.scale = nn.BatchNorm1d(32), Scale()

    def forward(self, data: Any) -> Any:
        hidden = torch.tanh(self.norm(self.first(data.x, data.edge_index)))
        return self.scale(self.second(hidden, data.edge_index))


data = KarateClub(transform=transforms.ToUndirected())[0]
for convolution in (GCNConv, BinaryGCNConv):
    torch.manual_seed(0)
    model = Network(convolution, data.num_features, 4)
    optimizer: torch.optim.Optimizer
    if convolution is GCNConv:
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    else:
        optimizer = QPSBGD(model.parameters(), lr=0.01)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(data)[data.train_mask], data.y[data.train_mask]).backward()
        optimizer.step()
    found = model.eval()(data).argmax(1)
    accuracy = (found == data.y)[~data.train_mask].float().mean().item()
    print(f"{convolution.__name__}: test accuracy {accuracy:.4f}")
