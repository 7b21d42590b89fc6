"""The networks that the comparison trains, their batches and their losses.

A task is made of a seed's network, batches drawn by torch's generator, and what is measured in the end.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from networks.small_networks import GraphNetwork, RowReader, VisionTransformer, convolutional
from networks.transformer import CharacterTransformer
from qpsbgd.data.datasets import Dataset, digits, mnist, validation_split
from qpsbgd.data.graphs import load_graph

__all__ = ["TASKS", "Task", "graph_task", "image_task", "mlp", "regression_task", "text_task"]

CONTEXT = 32
_LONGEST_READ = 2**22
_MEASURED_WINDOWS = 2048


@dataclass(frozen=True)
class Task:
    """What one run trains.

    Attributes
    ----------
    steps : int
        Number of steps, over which the rate falls to 0 as a cosine.
    network : function
        Makes the network; draws from torch's generator.
    batch : function
        Draws inputs and targets of one step.
    measure : function
        Gives the losses of a trained network: ``test_loss`` on held-out data, and others.
    loss : function
        Of outputs and targets; cross entropy where nothing else is said.
    """

    steps: int
    network: Callable[[], nn.Module]
    batch: Callable[[], tuple[Tensor, Tensor]]
    measure: Callable[[nn.Module], dict[str, float]]
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy


def mlp(inputs: int, width: int, outputs: int = 10) -> nn.Module:
    """Make inputs-width-width-outputs with ReLU."""
    return nn.Sequential(
        nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs)
    )


def image_task(
    data: Dataset, batch: int, steps: int, network: Callable[[], nn.Module], measured: int | None = None
) -> Task:
    """Train a network on pictures of digits; its training loss is that of the first `measured` of them."""
    x, y = torch.from_numpy(data.x_train), torch.from_numpy(data.y_train)
    x_test, y_test = torch.from_numpy(data.x_test), torch.from_numpy(data.y_test)

    def draw() -> tuple[Tensor, Tensor]:
        rows = torch.randint(len(x), (batch,))
        return x[rows], y[rows]

    def measure(model: nn.Module) -> dict[str, float]:
        outputs: Tensor = model(x_test)
        return {
            "train_loss": F.cross_entropy(model(x[:measured]), y[:measured]).item(),
            "test_loss": F.cross_entropy(outputs, y_test).item(),
            "accuracy": (outputs.argmax(1) == y_test).float().mean().item(),
        }

    return Task(steps, network, draw, measure)


def regression_task(held_out: bool, batch: int, steps: int) -> Task:
    """Train 32-256-256-32 to complete the lower half of a picture of 8 x 8 pixels from the upper half."""
    data = _digits(held_out)
    halves = [torch.from_numpy(pixels).split(32, dim=1) for pixels in (data.x_train, data.x_test)]
    (x, y), (x_test, y_test) = halves

    def draw() -> tuple[Tensor, Tensor]:
        rows = torch.randint(len(x), (batch,))
        return x[rows], y[rows]

    def measure(model: nn.Module) -> dict[str, float]:
        return {
            "train_loss": F.mse_loss(model(x), y).item(),
            "test_loss": F.mse_loss(model(x_test), y_test).item(),
        }

    return Task(steps, lambda: mlp(32, 256, 32), draw, measure, F.mse_loss)


def graph_task(held_out: bool, steps: int) -> Task:
    """Train two graph convolutions on all nodes of Cora, from the labels of 140."""
    graph = load_graph("cora")
    x, y = torch.from_numpy(graph.row_normalised()), torch.from_numpy(graph.labels)
    train = torch.from_numpy(graph.train_mask)
    test = torch.from_numpy(graph.val_mask if held_out else graph.test_mask)
    adjacency = _normalised_adjacency(torch.from_numpy(graph.edge_index), len(y))

    def loss(scores: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(scores[train], labels[train])

    def measure(model: nn.Module) -> dict[str, float]:
        scores: Tensor = model.eval()(x)
        return {
            "train_loss": loss(scores, y).item(),
            "test_loss": F.cross_entropy(scores[test], y[test]).item(),
            "accuracy": (scores[test].argmax(1) == y[test]).float().mean().item(),
        }

    return Task(steps, lambda: GraphNetwork(adjacency, (x.shape[1], 64, 7)), lambda: (x, y), measure, loss)


def _normalised_adjacency(edges: Tensor, nodes: int) -> Tensor:
    """Build ``D^-1/2 (A + I) D^-1/2``."""
    edges = torch.cat([edges, torch.arange(nodes).expand(2, -1)], dim=1)
    roots = edges[0].bincount(minlength=nodes).rsqrt()
    values = roots[edges[0]] * roots[edges[1]]
    return torch.sparse_coo_tensor(edges, values, (nodes, nodes), check_invariants=True).coalesce()


def text_task(held_out: bool, steps: int, batch: int = 32, width: int = 64, layers: int = 2) -> Task:
    """Train a transformer that predicts the next character of Python's own sources.

    Held out for the search: every tenth file of the standard library. For the last test: another tenth.
    """
    train, test = _library()["train"], _library()["validation" if held_out else "test"]

    def windows(text: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
        rows = text[starts[:, None] + torch.arange(CONTEXT + 1)]
        return rows[:, :-1], rows[:, 1:]

    def measure(model: nn.Module) -> dict[str, float]:
        generator = torch.Generator().manual_seed(0)
        found = {}
        for name, text in (("train_loss", train), ("test_loss", test)):
            starts = torch.randint(len(text) - CONTEXT, (_MEASURED_WINDOWS,), generator=generator)
            x, y = windows(text, starts)
            parts = zip(x.split(256), y.split(256), strict=True)
            losses = [F.cross_entropy(model(a), b) for a, b in parts]
            found[name] = torch.stack(losses).mean().item()
        return found

    return Task(
        steps,
        lambda: CharacterTransformer(_CHARACTERS, CONTEXT, width, layers),
        lambda: windows(train, torch.randint(len(train) - CONTEXT, (batch,))),
        measure,
    )


_CHARACTERS = 97
"""Newline, 95 printable characters of ASCII, and one for all others."""


@cache
def _library() -> dict[str, Tensor]:
    """Read the top-level modules of the standard library as numbers of characters."""
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    texts: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for number, file in enumerate(files):
        part = {0: "validation", 5: "test"}.get(number % 10, "train")
        texts[part].append(file.read_text(encoding="utf-8", errors="replace"))
    return {part: _numbers("\n".join(parts)) for part, parts in texts.items()}


def _numbers(text: str) -> Tensor:
    codes = torch.tensor([ord(character) for character in text[:_LONGEST_READ]])
    printable = (codes >= 32) & (codes < 127)
    return torch.where(printable, codes - 31, torch.where(codes == 10, 0, _CHARACTERS - 1))


@cache
def _mnist(held_out: bool) -> Dataset:
    return validation_split(mnist()) if held_out else mnist()


@cache
def _digits(held_out: bool) -> Dataset:
    return validation_split(digits()) if held_out else digits()


def _mnist_task(
    batch: int,
    steps: int,
    network: Callable[[], nn.Module] = lambda: mlp(784, 512),
    measured: int | None = None,
) -> Callable[[bool], Task]:
    return lambda held_out: image_task(_mnist(held_out), batch, steps, network, measured)


TASKS: dict[str, Callable[[bool], Task]] = {
    "mlp-2048": _mnist_task(2048, 60),
    "mlp-256": _mnist_task(256, 200),
    "mlp-256-1000": _mnist_task(256, 1000),
    "digits": lambda held_out: image_task(_digits(held_out), 512, 40, lambda: mlp(64, 128)),
    "mlp-2048-narrow": _mnist_task(2048, 60, lambda: mlp(784, 128)),
    "characters": lambda held_out: text_task(held_out, 200),
    "characters-wide": lambda held_out: text_task(held_out, 200, width=128),
    **{
        f"characters-{steps}": lambda held_out, steps=steps: text_task(held_out, steps)
        for steps in (300, 370, 800, 1000, 3000)
    },
    "convolutions": _mnist_task(128, 200, convolutional, 10_000),
    "patches": _mnist_task(64, 200, VisionTransformer, 10_000),
    "rows": lambda held_out: image_task(_digits(held_out), 128, 200, RowReader),
    "halves": lambda held_out: regression_task(held_out, 128, 200),
    "cora": lambda held_out: graph_task(held_out, 60),
}
"""Makers of the tasks, with data held out for a search or with the test data."""
