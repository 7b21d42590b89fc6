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

from networks.transformer import CharacterTransformer
from qpsbgd.data.datasets import Dataset, digits, mnist, validation_split

__all__ = ["TASKS", "Task", "image_task", "text_task"]

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
    """

    steps: int
    network: Callable[[], nn.Module]
    batch: Callable[[], tuple[Tensor, Tensor]]
    measure: Callable[[nn.Module], dict[str, float]]


def image_task(data: Dataset, batch: int, steps: int, width: int = 512) -> Task:
    """Train inputs-width-width-10 with ReLU on pictures of digits."""
    x, y = torch.from_numpy(data.x_train), torch.from_numpy(data.y_train)
    x_test, y_test = torch.from_numpy(data.x_test), torch.from_numpy(data.y_test)

    def network() -> nn.Module:
        return nn.Sequential(
            nn.Linear(x.shape[1], width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, 10),
        )

    def draw() -> tuple[Tensor, Tensor]:
        rows = torch.randint(len(x), (batch,))
        return x[rows], y[rows]

    def measure(model: nn.Module) -> dict[str, float]:
        outputs: Tensor = model(x_test)
        return {
            "train_loss": F.cross_entropy(model(x), y).item(),
            "test_loss": F.cross_entropy(outputs, y_test).item(),
            "accuracy": (outputs.argmax(1) == y_test).float().mean().item(),
        }

    return Task(steps, network, draw, measure)


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


TASKS: dict[str, Callable[[bool], Task]] = {
    "mlp-2048": lambda held_out: image_task(_mnist(held_out), 2048, 60),
    "mlp-256": lambda held_out: image_task(_mnist(held_out), 256, 200),
    "mlp-256-long": lambda held_out: image_task(_mnist(held_out), 256, 1000),
    "digits": lambda held_out: image_task(_digits(held_out), 512, 40, 128),
    "mlp-2048-narrow": lambda held_out: image_task(_mnist(held_out), 2048, 60, 128),
    "characters": lambda held_out: text_task(held_out, 200),
    "characters-330": lambda held_out: text_task(held_out, 330),
    "characters-800": lambda held_out: text_task(held_out, 800),
}
"""Makers of the tasks, with data held out for a search or with the test data."""
