"""Tasks that train a network to classify the samples of a data set."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from qpsbgd.data.datasets import Dataset, load, validation_split
from qpsbgd.experiments.core.results import Run
from qpsbgd.experiments.core.task import Settings, Split, Task
from qpsbgd.experiments.core.training import fit, shuffled_batches
from qpsbgd.experiments.networks import Network
from qpsbgd.experiments.optimizers import make_optimizer

__all__ = ["Classification", "Samples", "judge", "prepare"]

_EVALUATION_BATCH = 10_000

Inputs = Literal["centred", "binarised"]


@dataclass(frozen=True)
class Samples:
    """A split of a data set as tensors that networks take: x float32 (N, d), y int64 (N,).

    ``x_judged, y_judged`` are the validation or the test samples.
    """

    x_train: torch.Tensor
    y_train: torch.Tensor
    x_judged: torch.Tensor
    y_judged: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class Classification(Task):
    """A network trained on batches of a data set for a number of steps, by cross-entropy.

    Attributes
    ----------
    dataset : str
        Name for `qpsbgd.data.datasets.load`.
    network : Network
        What is trained.
    batch_size, steps : int
        Samples per step; steps, over which the learning rate decays to 0 along a cosine.
    inputs : {"centred", "binarised"}
        Every input centred, and all of them divided by their common standard deviation, both in the training
        set; or +1 where an input is above its mean in the training set, else -1.
    """

    dataset: str
    network: Network
    batch_size: int
    steps: int
    inputs: Inputs = "centred"

    version: ClassVar[int] = 1

    def run(
        self,
        optimizer: str,
        settings: Settings,
        seed: int,
        *,
        split: Split = "test",
        data_dir: str | os.PathLike[str] | None = None,
    ) -> Run:
        """Train once; `seed` fixes initial weights, batches and validation samples for all optimizers."""
        folder = None if data_dir is None else os.fspath(data_dir)
        samples = _samples(self.dataset, self.inputs, folder, seed if split == "validation" else None)
        return self.train(optimizer, settings, seed, samples, split=split)

    def train(
        self, optimizer: str, settings: Settings, seed: int, samples: Samples, *, split: Split = "test"
    ) -> Run:
        """Do the run on samples in memory.

        Raises
        ------
        ValueError
            If the samples do not fit the network or the batches.
        FloatingPointError
            If the training loss becomes infinite or NaN.
        """
        self._check(samples)
        model = self.network.build(torch.Generator().manual_seed(2 * seed))
        stepper = make_optimizer(optimizer, model, settings, seed=seed, steps=self.steps)
        return self._fit(model, stepper, optimizer, seed, samples, split)

    def _fit(
        self,
        model: nn.Module,
        stepper: torch.optim.Optimizer,
        optimizer: str,
        seed: int,
        samples: Samples,
        split: Split,
    ) -> Run:
        """Train a model with an optimizer of that name, and judge it."""
        generator = torch.Generator().manual_seed(2 * seed + 1)
        batches = shuffled_batches(len(samples.x_train), self.batch_size, generator)

        def loss_of_next_batch() -> torch.Tensor:
            batch = next(batches)
            loss: torch.Tensor = nn.functional.cross_entropy(
                model(samples.x_train[batch]), samples.y_train[batch]
            )
            return loss

        def evaluate() -> dict[str, float]:
            return {f"{split}_accuracy": judge(model, samples.x_judged, samples.y_judged)[0]}

        curve, metrics = fit(
            model,
            stepper,
            loss_of_next_batch,
            evaluate,
            steps=self.steps,
            label=f"{self.name} {optimizer}, seed {seed}",
        )
        _, metrics["train_loss"] = judge(model.eval(), samples.x_train, samples.y_train)
        return Run(seed, metrics, curve, model.state_dict())

    def _check(self, samples: Samples) -> None:
        features, classes = samples.x_train.shape[1], int(samples.y_train.max()) + 1
        if (features, classes) != (self.network.inputs, self.network.outputs):
            raise ValueError(
                f"data has {features} features and {classes} classes, but the network is {self.network}"
            )
        if len(samples.x_train) < self.batch_size:
            raise ValueError(
                f"data has {len(samples.x_train)} training samples, fewer than one batch of {self.batch_size}"
            )


@lru_cache(maxsize=1)  # runs of one seed on one data set come one after the other
def _samples(dataset: str, inputs: Inputs, data_dir: str | None, held_out: int | None) -> Samples:
    """Read a data set; `held_out` is the seed of a validation split, None for the test split."""
    data = load(dataset, data_dir)
    return prepare(data if held_out is None else validation_split(data, seed=held_out), inputs)


def prepare(data: Dataset, inputs: Inputs) -> Samples:
    """Turn a data set into tensors; statistics are those of its training samples."""
    mean, deviation = data.x_train.mean(axis=0), data.x_train.std()

    def tensor(x: npt.NDArray[np.float32]) -> torch.Tensor:
        if inputs == "binarised":
            return torch.from_numpy(np.where(x > mean, np.float32(1), np.float32(-1)))
        return torch.from_numpy((x - mean) / deviation)

    return Samples(
        tensor(data.x_train),
        torch.from_numpy(data.y_train),
        tensor(data.x_test),
        torch.from_numpy(data.y_test),
    )


def judge(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> tuple[float, float]:
    """Return accuracy and mean loss over all samples of a model in evaluation mode."""
    correct, loss = 0, 0.0
    with torch.no_grad():
        for inputs, labels in zip(x.split(_EVALUATION_BATCH), y.split(_EVALUATION_BATCH), strict=True):
            scores = model(inputs)
            correct += int((scores.argmax(dim=1) == labels).sum())
            loss += float(nn.functional.cross_entropy(scores, labels, reduction="sum"))
    return correct / len(y), loss / len(y)
