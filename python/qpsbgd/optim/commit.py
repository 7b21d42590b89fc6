"""The commit of a step: interrupts wait for it, so that a step is all or nothing."""

from __future__ import annotations

# What `signal` wraps, without its conversions to enums, which would take most of the time here.
import _signal  # type: ignore[import-not-found]
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Uninterrupted"]

_SIGNALS = tuple(
    int(getattr(signal, name))
    for name in ("SIGTERM", "SIGALRM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGINT")
    if hasattr(signal, name)
)
"""Signals whose Python handlers may raise. SIGINT comes last, so that it is the last to be restored."""


class Uninterrupted:
    """Hold back the handlers of signals in a ``with`` block; they run at its end.

    Python runs handlers in the main thread, between any two operations. In other threads the block changes
    nothing.

    Examples
    --------
    >>> import signal
    >>> done = []
    >>> try:
    ...     with Uninterrupted():
    ...         signal.raise_signal(signal.SIGINT)
    ...         done.append("all")
    ... except KeyboardInterrupt:
    ...     done.append("interrupted")
    >>> done
    ['all', 'interrupted']
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._held: list[tuple[int, FrameType | None]] = []

    def _hold(self, number: int, frame: FrameType | None) -> None:
        self._held.append((number, frame))

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            _signal.signal(number, handler)

    def __enter__(self) -> None:
        """Hold handlers back from now on."""
        if threading.get_ident() != threading.main_thread().ident:
            return
        try:
            for number in _SIGNALS:
                handler = _signal.getsignal(number)
                if callable(handler):
                    self._handlers[number] = handler
                    _signal.signal(number, self._hold)
        except BaseException:  # a handler that was not yet held back
            self._restore()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Restore the handlers, and run those that were held back."""
        self._restore()
        for number, frame in self._held:
            self._handlers[number](number, frame)
