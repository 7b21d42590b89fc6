"""Checks of options that several parts of the package share; each message names its argument."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = [
    "check_betas",
    "check_choice",
    "check_fraction",
    "check_learning_rate",
    "check_nonnegative",
    "check_scale",
    "check_seed",
]

SCALES = ("relative", "auto", "step", "raw")
DOMAINS = ("spin", "mask")
MEMORIES = ("error-feedback", "momentum", None)


def check_nonnegative(name: str, value: Any) -> None:
    """Refuse what is no finite number of at least 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a number, but is {type(value).__name__}")
    if not (0 <= value < float("inf")):
        raise ValueError(f"Invalid {name}: {value} (expected a finite number of at least 0)")


def check_learning_rate(name: str, value: Any) -> None:
    """Refuse what is no learning rate; torch allows tensors of one element too."""
    if hasattr(value, "numel") and hasattr(value, "item"):  # a tensor, in a module that does not import torch
        if value.numel() != 1:
            raise ValueError(f"Tensor {name} must be 1-element")
        value = value.item()
    check_nonnegative(name, value)


def check_choice(name: str, value: Any, choices: Sequence[str | None]) -> None:
    """Refuse what is none of `choices`."""
    if not (value is None or isinstance(value, str)) or value not in choices:
        raise ValueError(f"Invalid {name}: {value!r} (expected one of {tuple(choices)})")


def check_scale(scale: Any) -> None:
    """Refuse what is no scale: a known name, or a finite number of at least 0."""
    if isinstance(scale, str):
        if scale not in SCALES:
            raise ValueError(f"Invalid scale: {scale!r} (expected one of {SCALES} or a positive number)")
        return
    check_nonnegative("scale", scale)


def check_seed(seed: Any) -> int:
    """`seed` as an int, refused unless 0 <= seed < 2**64."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise TypeError(f"seed must be an integer, but is {type(seed).__name__}")
    if not 0 <= seed < 2**64:
        raise ValueError(f"Invalid seed: {seed} (expected 0 <= seed < 2**64)")
    return int(seed)


def check_fraction(name: str, value: Any) -> None:
    """Refuse what is no number in [0, 1)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, but is {type(value).__name__}")
    if not 0.0 <= value < 1.0:
        raise ValueError(f"Invalid {name}: {value} (expected 0 <= {name} < 1)")


def check_betas(name: str, betas: Any) -> None:
    """Refuse what is no pair of numbers in [0, 1), as Adam takes them."""
    if not isinstance(betas, (tuple, list)) or len(betas) != 2:
        raise TypeError(f"{name} must be a pair of numbers, but is {betas!r}")
    for index, beta in enumerate(betas):
        check_fraction(f"beta parameter at index {index}", beta)
