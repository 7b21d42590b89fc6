"""Small networks of other kinds: convolutions, a vision transformer, a recurrent net, a graph net."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from networks.transformer import Block

__all__ = ["GraphNetwork", "RowReader", "VisionTransformer", "convolutional"]


def convolutional() -> nn.Module:
    """Make two convolutions and a linear layer for flat pictures of 28 x 28 pixels."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 28, 28)),
        nn.Conv2d(1, 16, 5, stride=2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 5, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 10),
    )


class VisionTransformer(nn.Module):
    """Scores of flat pictures of 28 x 28 pixels, read as 16 patches of 7 x 7."""

    def __init__(self, width: int = 64, layers: int = 2) -> None:
        super().__init__()
        self.patches, self.places = nn.Linear(49, width), nn.Parameter(0.1 * torch.randn(16, width))
        self.blocks = nn.Sequential(*(Block(width, causal=False) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Compute scores (batch, 10) of pixels (batch, 784)."""
        patches = x.unflatten(1, (4, 7, 4, 7)).transpose(2, 3).reshape(-1, 16, 49)
        scores: Tensor = self.head(self.norm(self.blocks(self.patches(patches) + self.places).mean(1)))
        return scores


class RowReader(nn.Module):
    """Scores of flat pictures of 8 x 8 pixels, whose rows a GRU reads from top to bottom."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.reader, self.head = nn.GRU(8, width, batch_first=True), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Compute scores (batch, 10) of pixels (batch, 64)."""
        scores: Tensor = self.head(self.reader(x.unflatten(1, (8, 8)))[0][:, -1])
        return scores


class GraphNetwork(nn.Module):
    """Two graph convolutions (arXiv 1609.02907) with dropout: scores of every node."""

    def __init__(self, adjacency: Tensor, sizes: tuple[int, int, int]) -> None:
        super().__init__()
        self._adjacency = adjacency
        self.first, self.second = nn.Linear(sizes[0], sizes[1]), nn.Linear(sizes[1], sizes[2])

    def forward(self, x: Tensor) -> Tensor:
        """Compute scores (nodes, classes) of features (nodes, d)."""
        dropped = F.dropout(x, 0.5, self.training)
        hidden = F.relu(torch.sparse.mm(self._adjacency, self.first(dropped)))
        scores: Tensor = torch.sparse.mm(self._adjacency, self.second(F.dropout(hidden, 0.5, self.training)))
        return scores
