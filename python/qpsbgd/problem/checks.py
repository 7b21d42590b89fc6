"""The argument checks of the package; each message names its argument, what came and what was expected.

NumPy's numbers count as numbers, and its booleans as booleans, as torch has it. Nothing here imports torch.

There are two wordings. Arguments of functions and solvers are told "num_reads must be at least 1, but is 0".
Options of optimizers are told "Invalid lr: -1.0 (expected ...)", which is how torch.optim words it.
"""

from __future__ import annotations

import math
import numbers
import secrets
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

__all__ = [
    "MOST_COUNT",
    "MOST_THREADS",
    "Domain",
    "Memory",
    "NotFiniteError",
    "Scale",
    "check_betas",
    "check_bool",
    "check_choice",
    "check_clip",
    "check_count",
    "check_finite",
    "check_fraction",
    "check_integer",
    "check_learning_rate",
    "check_member",
    "check_nonnegative",
    "check_number",
    "check_positive",
    "check_scale",
    "check_seed",
    "seed_or_random",
]

Scale: TypeAlias = Literal["relative", "auto", "step", "raw"]
Domain: TypeAlias = Literal["spin", "mask"]
Memory: TypeAlias = Literal["auto", "error-feedback", "momentum"]

SCALES: tuple[str, ...] = get_args(Scale)
DOMAINS: tuple[str, ...] = get_args(Domain)
MEMORIES = ("error-feedback", "momentum", None)

_SEEDS = 2**64

MOST_COUNT = 2**63 - 1
"""The largest number of sweeps: what the native core counts with."""

MOST_THREADS = 1024
"""Threads that a solve starts at most: more than pay on any machine."""


def _is_integer(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    """Whether a number is finite as a float64: integers and fractions may be beyond it."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


# Arguments of functions and solvers.


def check_integer(name: str, value: Any, least: int | None = None, most: int | None = None) -> int:
    """Return `value` as an int; raise unless it is an integer from `least` to `most`.

    Examples
    --------
    >>> check_integer("num_reads", np.int32(5), 1)
    5
    >>> check_integer("num_reads", 0, 1)
    Traceback (most recent call last):
    ...
    ValueError: num_reads must be at least 1, but is 0
    """
    if not _is_integer(value):
        raise TypeError(f"{name} must be an integer, but is {value!r}")
    if least is not None and value < least:
        raise ValueError(f"{name} must be at least {least}, but is {value}")
    if most is not None and value > most:
        raise ValueError(f"{name} must be at most {most}, but is {value}")
    return int(value)


def check_number(
    name: str, value: Any, least: float | None = None, most: float | None = None, *, positive: bool = False
) -> float:
    """Return `value` as a float; raise unless it is finite, from `least` to `most`, and positive if asked.

    Examples
    --------
    >>> check_number("persistent", np.float32(0.5), 0.0, 1.0)
    0.5
    >>> check_number("time_limit", 0.0, positive=True)
    Traceback (most recent call last):
    ...
    ValueError: time_limit must be positive, but is 0.0
    """
    if not _is_number(value):
        raise TypeError(f"{name} must be a real number, but is {value!r}")
    if not _is_finite(value):
        raise ValueError(f"{name} must be finite, but is {value}")
    if positive and value <= 0:
        raise ValueError(f"{name} must be positive, but is {value}")
    if (least is not None and value < least) or (most is not None and value > most):
        expected = f"at least {least:g}" if most is None else f"from {least:g} to {most:g}"
        raise ValueError(f"{name} must be {expected}, but is {value}")
    return float(value)


def check_positive(name: str, value: Any) -> float:
    """Return `value` as a float; raise unless it is a finite number above 0."""
    if not _is_number(value):
        raise TypeError(f"{name} must be a number, but is {value!r}")
    if not (value > 0 and _is_finite(value)):
        raise ValueError(f"{name} must be positive and finite, but is {value}")
    return float(value)


def check_bool(name: str, value: Any) -> bool:
    """Return `value` as a bool; raise unless it is one, Python's or NumPy's."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be a bool, but is {value!r}")
    return bool(value)


def check_member(name: str, value: Any, choices: Sequence[Any]) -> None:
    """Raise unless `value` is one of `choices`.

    Examples
    --------
    >>> check_member("vote", "loudest", ("majority_vote", "weighted_random"))
    Traceback (most recent call last):
    ...
    ValueError: vote must be one of majority_vote, weighted_random, but is 'loudest'
    """
    if not (value is None or isinstance(value, str)) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}, but is {value!r}")


def seed_or_random(seed: Any) -> int:
    """Return `seed` as an int, or a random one for None; raise unless 0 <= seed < 2**64."""
    if seed is None:
        return secrets.randbits(63)
    value = check_integer("seed", seed, 0)
    if value >= _SEEDS:
        raise ValueError(f"seed must be below 2**64, but is {value}")
    return value


class NotFiniteError(ValueError):
    """A number is NaN or infinite, or what is made of finite numbers overflows."""


def check_finite(name: str, array: npt.NDArray[Any]) -> None:
    """Raise a `NotFiniteError` that names the first entry of `array` that is not finite.

    Examples
    --------
    >>> check_finite("h", np.array([1.0, np.nan]))
    Traceback (most recent call last):
    qpsbgd.problem.checks.NotFiniteError: h of shape (2,) has nan at (1,), not a finite number
    """
    # A sum is NaN or infinite if any entry is; only then is the entry looked for.
    with np.errstate(over="ignore", invalid="ignore"):
        suspicious = not np.isfinite(array.sum(dtype=np.float64))
    if suspicious:
        bad = np.argwhere(~np.isfinite(array))
        if len(bad):
            where = tuple(int(i) for i in bad[0])
            raise NotFiniteError(
                f"{name} of shape {array.shape} has {array[where]} at {where}, not a finite number"
            )


# Options of optimizers.


def _invalid(name: str, value: Any, expected: str) -> ValueError:
    return ValueError(f"Invalid {name}: {value} (expected {expected})")


def _check_option(name: str, value: Any) -> None:
    if not _is_number(value):
        raise TypeError(f"{name} must be a number, but is {type(value).__name__}")


def check_nonnegative(name: str, value: Any) -> None:
    """Raise unless `value` is a finite number >= 0."""
    _check_option(name, value)
    if not (value >= 0 and _is_finite(value)):
        raise _invalid(name, value, "a finite number of at least 0")


def check_learning_rate(name: str, value: Any) -> None:
    """Raise unless `value` is a finite number >= 0, or a tensor of one element that is, as torch allows."""
    if hasattr(value, "numel") and hasattr(value, "item"):  # a tensor, in a module that does not import torch
        if value.numel() != 1:
            raise ValueError(f"Tensor {name} must be 1-element")
        value = value.item()
    check_nonnegative(name, value)


def check_fraction(name: str, value: Any) -> None:
    """Raise unless `value` is a number in [0, 1)."""
    _check_option(name, value)
    if not 0.0 <= value < 1.0:
        raise _invalid(name, value, f"0 <= {name} < 1")


def check_clip(value: Any, *, optional: bool = False) -> None:
    """Raise unless `value` is a number > 0 (infinity too), or None where that is allowed."""
    if optional and value is None:
        return
    kind = "a number or None" if optional else "a number"
    if not _is_number(value):
        raise TypeError(f"clip must be {kind}, but is {type(value).__name__}")
    if not value > 0:
        raise _invalid("clip", value, f"a positive {kind[2:]}")


def check_betas(name: str, betas: Any) -> None:
    """Raise unless `betas` is a pair of numbers in [0, 1), as Adam takes them."""
    if not isinstance(betas, (tuple, list)) or len(betas) != 2:
        raise TypeError(f"{name} must be a pair of numbers, but is {betas!r}")
    for index, beta in enumerate(betas):
        check_fraction(f"beta parameter at index {index}", beta)


def check_count(name: str, value: Any) -> None:
    """Raise unless `value` is an integer of at least 1."""
    if not _is_integer(value):
        raise TypeError(f"{name} must be an integer, but is {type(value).__name__}")
    if value < 1:
        raise _invalid(name, value, "at least 1")


def check_choice(name: str, value: Any, choices: Sequence[str | None]) -> None:
    """Raise unless `value` is one of `choices`."""
    if not (value is None or isinstance(value, str)) or value not in choices:
        raise _invalid(name, repr(value), f"one of {tuple(choices)}")


def check_scale(scale: Any) -> None:
    """Raise unless `scale` is a known name or a finite number >= 0."""
    if isinstance(scale, str):
        if scale not in SCALES:
            raise _invalid("scale", repr(scale), f"one of {SCALES} or a positive number")
        return
    check_nonnegative("scale", scale)


def check_seed(seed: Any) -> int:
    """Return `seed` as an int; raise unless 0 <= seed < 2**64."""
    if not _is_integer(seed):
        raise TypeError(f"seed must be an integer, but is {type(seed).__name__}")
    if not 0 <= seed < _SEEDS:
        raise _invalid("seed", seed, "0 <= seed < 2**64")
    return int(seed)
