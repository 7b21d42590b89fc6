"""The settings of a `QPUSolver`, checked once."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qpsbgd.solvers.qpu.retry import RetryPolicy

__all__ = ["Options"]

_FALLBACKS = ("error", "native")
_POSTPROCESSES = (None, "descent")


@dataclass(frozen=True)
class Options:
    """What `QPUSolver` documents, without the sampler and its way there."""

    num_reads: int
    annealing_time: float | None
    chain_strength: float | Callable[..., float] | None
    spin_reversal_transforms: int
    postprocess: str | None
    block_size: int | None
    block_passes: int
    max_qpu_seconds: float | None
    fallback: str
    timeout: float | None
    control_error: float
    retry: RetryPolicy

    def __post_init__(self) -> None:
        """Refuse what is of the wrong type or out of range."""
        for name, least in (("num_reads", 1), ("spin_reversal_transforms", 0), ("block_passes", 1)):
            _check_integer(name, getattr(self, name), least)
        if self.block_size is not None:
            _check_integer("block_size", self.block_size, 2)
        for name in ("annealing_time", "max_qpu_seconds", "timeout"):
            if getattr(self, name) is not None:
                _check_positive(name, getattr(self, name))
        _check_positive("control_error", self.control_error)
        if self.chain_strength is not None and not callable(self.chain_strength):
            _check_positive("chain_strength", self.chain_strength)
        _check_choice("fallback", self.fallback, _FALLBACKS)
        _check_choice("postprocess", self.postprocess, _POSTPROCESSES)
        _check_integer("max_retries", self.retry.max_retries, 0)
        _check_positive("retry_delay", self.retry.first_delay)


def _check_integer(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, but is {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, but is {value}")


def _check_positive(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, but is {value!r}")
    if not 0 < float(value) < math.inf:
        raise ValueError(f"{name} must be positive and finite, but is {value}")


def _check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {choices}, but is {value!r}")
