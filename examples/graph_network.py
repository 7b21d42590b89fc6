"""PyTorch Geometric: a graph network with binary weights on the karate club, which comes with PyG.

    pip install torch_geometric
    python examples/graph_network.py

`BinaryGCNConv` takes the arguments of `torch_geometric.nn.GCNConv`, so it stands in any PyG model.
"""

import torch
from torch import nn
from torch_geometric import transforms
from torch_geometric.datasets import KarateClub
from torch_geometric.nn import GCNConv, Sequential

from qpsbgd import QPSBGD
from qpsbgd.nn import BinaryGCNConv, Scale


def network(convolution: type[nn.Module], inputs: int, classes: int) -> nn.Module:
    model: nn.Module = Sequential(
        "x, edge_index",
        [
            (convolution(inputs, 32), "x, edge_index -> x"),
            nn.BatchNorm1d(32),
            nn.Tanh(),
            (convolution(32, classes), "x, edge_index -> x"),
            Scale(),
        ],
    )
    return model


data = KarateClub(transform=transforms.ToUndirected())[0]
for convolution in (GCNConv, BinaryGCNConv):
    torch.manual_seed(0)
    model = network(convolution, data.num_features, 4)
    optimizer: torch.optim.Optimizer
    if convolution is GCNConv:
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    else:
        optimizer = QPSBGD(model.parameters(), lr=0.01)
    for _ in range(100):
        optimizer.zero_grad()
        out = model(data.x, data.edge_index)[data.train_mask]
        nn.functional.cross_entropy(out, data.y[data.train_mask]).backward()
        optimizer.step()
    found = model.eval()(data.x, data.edge_index).argmax(1)
    accuracy = (found == data.y)[~data.train_mask].float().mean().item()
    print(f"{convolution.__name__}: test accuracy {accuracy:.4f}")
