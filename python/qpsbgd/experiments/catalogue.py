"""The experiments: what is trained, on what, with which settings.

Learning rates were chosen by the accuracy on held-out training samples, for each optimizer from a grid of
factors of about 3. Two exceptions: the pairs share what was chosen on 1/7, and QP-SBGD on ``mnist-wide`` was
run at one rate only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["EXPERIMENTS", "OPTIMIZERS", "Experiment", "Network", "Setting"]

Setting = str | float

OPTIMIZERS = ("qpsbgd", "binaryconnect-adam", "binaryconnect-sgd", "signsgd")
"""Names of the optimizers that every experiment has settings for."""


@dataclass(frozen=True)
class Network:
    """A chain of binary layers with batch norm and an activation between them, and a scale at the end.

    Attributes
    ----------
    widths : tuple of int
        Number of inputs, of neurons in each hidden layer, and of classes.
    activation : {"sign", "relu"}
        What follows each hidden layer's batch norm.

    Examples
    --------
    >>> str(Network((64, 256, 10), "sign"))
    '64-256-10 sign'
    """

    widths: tuple[int, ...]
    activation: Literal["sign", "relu"]

    def __str__(self) -> str:
        return f"{'-'.join(map(str, self.widths))} {self.activation}"


@dataclass(frozen=True)
class Experiment:
    """One task: a network trained on a data set for a number of steps.

    Attributes
    ----------
    name : str
        The task's name on the command line.
    dataset : str
        Name for `qpsbgd.datasets.load`.
    network : Network
        What is trained.
    batch_size : int
        Samples per step.
    steps : int
        Optimizer steps; the learning rate decays from its setting to 0 over them, along a cosine.
    optimizers : mapping
        Optimizer name -> settings, among them ``lr``.

    Examples
    --------
    >>> EXPERIMENTS["digits"].network.widths
    (64, 256, 10)
    """

    name: str
    dataset: str
    network: Network
    batch_size: int
    steps: int
    optimizers: Mapping[str, Mapping[str, Setting]]


def _learning_rates(
    qpsbgd: float, binaryconnect_adam: float, binaryconnect_sgd: float, signsgd: float
) -> dict[str, dict[str, Setting]]:
    rates = (qpsbgd, binaryconnect_adam, binaryconnect_sgd, signsgd)
    return {name: {"lr": rate} for name, rate in zip(OPTIMIZERS, rates, strict=True)}


_PAIR_NETWORK = Network((784, 64, 2), "sign")
_PAIR_OPTIMIZERS = _learning_rates(0.01, 0.03, 30.0, 0.003)

_ALL = (
    Experiment(
        "digits",
        "digits",
        Network((64, 256, 10), "relu"),
        batch_size=64,
        steps=600,
        optimizers=_learning_rates(0.01, 0.1, 30.0, 0.003),
    ),
    Experiment(
        "mnist",
        "mnist",
        Network((784, 256, 10), "sign"),
        batch_size=100,
        steps=1200,
        optimizers=_learning_rates(0.01, 0.03, 100.0, 0.01),
    ),
    Experiment(
        "mnist-wide",
        "mnist",
        Network((784, 512, 512, 10), "relu"),
        batch_size=100,
        steps=1200,
        optimizers=_learning_rates(0.01, 0.01, 100.0, 0.003),
    ),
    Experiment("mnist-pairs-02", "mnist-pairs-02", _PAIR_NETWORK, 100, 300, _PAIR_OPTIMIZERS),
    Experiment("mnist-pairs-12", "mnist-pairs-12", _PAIR_NETWORK, 100, 300, _PAIR_OPTIMIZERS),
    Experiment("mnist-pairs-17", "mnist-pairs-17", _PAIR_NETWORK, 100, 300, _PAIR_OPTIMIZERS),
    Experiment(
        "adult",
        "adult",
        Network((123, 32, 2), "sign"),
        batch_size=100,
        steps=500,
        optimizers=_learning_rates(0.01, 0.003, 30.0, 0.003),
    ),
)

EXPERIMENTS: Mapping[str, Experiment] = {experiment.name: experiment for experiment in _ALL}
"""Task name -> experiment."""
