"""What an interrupt does to a step: it waits for the commit, and leaves torch's grad mode as it was."""

from __future__ import annotations

# What `signal` wraps, without its conversions to enums, which would take most of the time here.
import _signal  # type: ignore[import-not-found]
import signal
import threading
from collections.abc import Callable
from functools import wraps
from types import FrameType, TracebackType
from typing import Any, ParamSpec, TypeVar

import torch

__all__ = ["Uninterrupted", "keeping_grad_mode", "without_grad"]

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

_SIGNALS = tuple(
    int(getattr(signal, name))
    for name in ("SIGINT", "SIGTERM", "SIGALRM", "SIGHUP", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)
"""Signals whose Python handlers may raise. SIGINT is held back first, and restored last."""


def keeping_grad_mode(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Restore torch's grad mode after a function, also after an interrupt in torch's own functions for it.

    ``torch.no_grad`` changes the mode in Python code. An interrupt in there leaves it changed, and the next
    backward pass fails. Here one call into C restores it, in which no handler of a signal can run.

    Examples
    --------
    >>> @keeping_grad_mode
    ... def interrupted():
    ...     torch.no_grad().__enter__()
    >>> interrupted()
    >>> torch.is_grad_enabled()
    True
    """

    @wraps(function)
    def kept(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        before = torch.is_grad_enabled()
        try:
            return function(*args, **kwargs)
        finally:
            torch._C._set_grad_enabled(before)

    return kept


def without_grad(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Run a function without grad mode, as ``torch.no_grad`` does, and see `keeping_grad_mode`.

    Examples
    --------
    >>> @without_grad
    ... def mode():
    ...     return torch.is_grad_enabled()
    >>> mode(), torch.is_grad_enabled()
    (False, True)
    """

    @wraps(function)
    def ungraded(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        torch._C._set_grad_enabled(False)
        return function(*args, **kwargs)

    return keeping_grad_mode(ungraded)


class Uninterrupted:
    """Hold back the handlers of signals in a ``with`` block; they run at its end.

    Python runs handlers in the main thread, between any two operations. In other threads the block changes
    nothing.

    Examples
    --------
    >>> import signal
    >>> before = signal.signal(signal.SIGINT, signal.default_int_handler)
    >>> done = []
    >>> try:
    ...     with Uninterrupted():
    ...         signal.raise_signal(signal.SIGINT)
    ...         done.append("all")
    ... except KeyboardInterrupt:
    ...     done.append("interrupted")
    >>> done
    ['all', 'interrupted']
    >>> before = signal.signal(signal.SIGINT, before)
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._held: list[tuple[int, FrameType | None]] = []

    def _hold(self, number: int, frame: FrameType | None) -> None:
        self._held.append((number, frame))

    def _restore(self) -> None:
        for number, handler in reversed(self._handlers.items()):
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
