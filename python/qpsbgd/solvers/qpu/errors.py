"""Exceptions and warnings of the QPU solver."""

from __future__ import annotations

__all__ = [
    "QPUBudgetError",
    "QPUConfigError",
    "QPUError",
    "QPUFallbackWarning",
    "QPUTimeoutError",
    "QPUUnreachableError",
]


class QPUError(RuntimeError):
    """A QPU did not answer, and there was no fallback."""


class QPUConfigError(QPUError):
    """No QPU can be reached with what is configured."""


class QPUUnreachableError(QPUConfigError):
    """The way to the QPU failed while it was opened: it may be reached later."""


class QPUBudgetError(QPUError):
    """A submission would take more QPU time than `max_qpu_seconds` allows; nothing was sent."""


class QPUTimeoutError(QPUError):
    """A submission was not answered within `timeout` seconds."""


class QPUFallbackWarning(UserWarning):
    """The native solver answers in place of a QPU."""
