"""A small transformer that predicts characters: pre-norm, with one packed projection for its attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Block", "CharacterTransformer"]

_HEADS = 4


class Block(nn.Module):
    """Attention, causal or not, and a network of two layers, both added to their input."""

    def __init__(self, width: int, causal: bool = True) -> None:
        super().__init__()
        self._causal = causal
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.query_key_value = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Compute (batch, time, width) of the same."""
        heads = self.query_key_value(self.norms[0](x)).unflatten(-1, (3, _HEADS, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(heads[0], heads[1], heads[2], is_causal=self._causal)
        x = x + self.projection(seen.transpose(1, 2).flatten(2))
        hidden: Tensor = x + self.narrow(F.gelu(self.wide(self.norms[1](x))))
        return hidden


class CharacterTransformer(nn.Module):
    """Scores (batch, characters, time) of the next character, as `cross_entropy` takes them."""

    def __init__(self, characters: int, context: int, width: int, layers: int) -> None:
        super().__init__()
        self.embedding, self.places = nn.Embedding(characters, width), nn.Embedding(context, width)
        for table in (self.embedding, self.places):
            nn.init.normal_(table.weight, std=0.1)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, characters)

    def forward(self, numbers: Tensor) -> Tensor:
        """Compute scores of numbers (batch, time)."""
        x = self.embedding(numbers) + self.places(torch.arange(numbers.shape[1], device=numbers.device))
        scores: Tensor = self.head(self.norm(self.blocks(x)))
        return scores.transpose(1, 2)
