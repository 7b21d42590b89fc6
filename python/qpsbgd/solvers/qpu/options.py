"""The settings of a `QPUSolver`, checked once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from qpsbgd.problem.checks import check_integer, check_member, check_positive
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
    num_spin_reversal_transforms: int
    postprocess: str | None
    block_size: int | None
    block_passes: int
    max_qpu_seconds: float | None
    fallback: str
    timeout: float | None
    control_error: float
    retry: RetryPolicy

    def __post_init__(self) -> None:
        """Raise unless every setting is of its type and in its range."""
        for name, least in (("num_reads", 1), ("num_spin_reversal_transforms", 0), ("block_passes", 1)):
            check_integer(name, getattr(self, name), least)
        if self.block_size is not None:
            check_integer("block_size", self.block_size, 2)
        for name in ("annealing_time", "max_qpu_seconds", "timeout"):
            if getattr(self, name) is not None:
                check_positive(name, getattr(self, name))
        check_positive("control_error", self.control_error)
        if self.chain_strength is not None and not callable(self.chain_strength):
            check_positive("chain_strength", self.chain_strength)
        check_member("fallback", self.fallback, _FALLBACKS)
        check_member("postprocess", self.postprocess, _POSTPROCESSES)
        check_integer("max_retries", self.retry.max_retries, 0)
        check_positive("retry_delay", self.retry.first_delay)
