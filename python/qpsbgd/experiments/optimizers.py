"""The optimizers that networks are trained with, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn, optim

from qpsbgd.baselines import BinaryConnect, Bop, ProxQuant, SignSGD
from qpsbgd.experiments.core.task import Settings
from qpsbgd.optim.qpsbgd import QPSBGD

__all__ = ["OPTIMIZERS", "make_optimizer"]

_MAKERS: Mapping[str, Callable[..., optim.Optimizer]] = {
    "qpsbgd": QPSBGD,
    "binaryconnect-adam": lambda p, **settings: BinaryConnect(p, base="adam", **settings),
    "binaryconnect-sgd": lambda p, **settings: BinaryConnect(p, base="sgd", **settings),
    "signsgd": SignSGD,
    "proxquant": ProxQuant,
    "bop": Bop,
}

OPTIMIZERS = tuple(_MAKERS)
"""Names of the optimizers of binary networks."""


def make_optimizer(
    name: str, model: nn.Module, settings: Settings, *, seed: int, steps: int
) -> optim.Optimizer:
    """Build an optimizer over all parameters of a network.

    Parameters
    ----------
    name : str
        One of `OPTIMIZERS`.
    model : torch.nn.Module
        A network with binary layers.
    settings : mapping
        Arguments of the optimizer's constructor; ``beta`` with ``gram_beta`` or ``square_beta`` are its two
        ``betas``.
    seed : int
        For an optimizer that draws random numbers.
    steps : int
        Length of the training, for an optimizer with a schedule of its own.

    Returns
    -------
    torch.optim.Optimizer
        The optimizer.

    Raises
    ------
    ValueError
        If there is no optimizer of that name, or its settings are invalid.

    Examples
    --------
    >>> from qpsbgd.nn import BinaryLinear
    >>> make_optimizer("signsgd", BinaryLinear(4, 2), {"lr": 0.01}, seed=0, steps=100).defaults["lr"]
    0.01
    """
    if name not in _MAKERS:
        raise ValueError(f"optimizer is {name!r}, expected one of {', '.join(_MAKERS)}")
    arguments: dict[str, Any] = dict(settings)
    _pair(arguments, "beta", "gram_beta")
    _pair(arguments, "beta", "square_beta")
    if name == "qpsbgd":
        arguments["seed"] = seed
    if name == "proxquant":
        arguments["total_steps"] = steps
    return _MAKERS[name](model.parameters(), **arguments)


def _pair(arguments: dict[str, Any], first: str, second: str) -> None:
    """Make ``betas`` of two numbers."""
    if second in arguments:
        arguments["betas"] = (arguments.pop(first), arguments.pop(second))
