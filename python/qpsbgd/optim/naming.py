"""Parameters by their names in the model, for messages, and numbers that are not finite."""

from __future__ import annotations

import cmath
from collections.abc import Generator
from typing import Any, TypeVar

import torch
from torch import Tensor

from qpsbgd.problem.checks import NotFiniteError

__all__ = ["check_gradient", "named", "naming_errors"]

AskedT = TypeVar("AskedT")
AnswerT = TypeVar("AnswerT")
ResultT = TypeVar("ResultT")


def named(group: dict[str, Any], parameter: Tensor) -> str:
    """Say which parameter of a group is meant: by its name, if the group has names, and by its shape.

    Examples
    --------
    >>> import torch
    >>> W = torch.zeros(2, 3)
    >>> named({"params": [W], "param_names": ["head.weight"]}, W)
    "parameter 'head.weight' of shape (2, 3)"
    """
    shape = tuple(parameter.shape)
    for name, one in zip(group.get("param_names", ()), group["params"], strict=False):
        if one is parameter:
            return f"parameter {name!r} of shape {shape}"
    return f"parameter of shape {shape}"


def check_gradient(group: dict[str, Any], parameter: Tensor, gradient: Tensor) -> None:
    """Raise a `NotFiniteError` that names the parameter, the step and the entry, if a gradient has one.

    Examples
    --------
    >>> import torch
    >>> W = torch.zeros(2)
    >>> check_gradient({"params": [W], "step": 7}, W, W / 0)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    qpsbgd.problem.checks.NotFiniteError: the gradient of the parameter of shape (2,) is not finite in step...
    """
    # A finite sum has only finite terms; the terms are looked at only when it is not.
    if cmath.isfinite(gradient.sum().item()):
        return
    bad = torch.nonzero(~gradient.isfinite())
    if len(bad):
        where = tuple(bad[0].tolist())
        raise NotFiniteError(
            f"the gradient of the {named(group, parameter)} is not finite in step {group['step'] + 1}: "
            f"{gradient[where].item()} at {where}, {len(bad)} of {gradient.numel()} entries"
        )


def naming_errors(
    group: dict[str, Any], parameter: Tensor, work: Generator[AskedT, AnswerT, ResultT]
) -> Generator[AskedT, AnswerT, ResultT]:
    """Make work on one parameter's step say which parameter and step its numbers were not finite for."""
    try:
        return (yield from work)
    except NotFiniteError as error:
        raise NotFiniteError(f"step {group['step'] + 1} of the {named(group, parameter)}: {error}") from error
