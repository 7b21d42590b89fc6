"""Progress bars: tqdm's if it is installed and the standard error stream is a terminal, else none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

__all__ = ["ProgressBar"]


class ProgressBar:
    """A progress bar as a context manager; it prints nothing where nobody would see it.

    Parameters
    ----------
    total : int or None
        Number of units at the end; None where that is not known.
    description : str
        Text in front of the bar.
    unit : str
        Name of one unit; ``"B"`` counts bytes with binary prefixes.
    enabled : bool
        False keeps the bar silent also on a terminal.

    Examples
    --------
    >>> with ProgressBar(3, "steps", enabled=False) as bar:
    ...     bar.advance(3)
    """

    def __init__(
        self, total: int | None, description: str, *, unit: str = "it", enabled: bool = True
    ) -> None:
        self._bar: Any = None
        if not (enabled and sys.stderr.isatty()):
            return
        try:
            from tqdm import tqdm
        except ModuleNotFoundError:
            return
        scale = unit == "B"
        self._bar = tqdm(
            total=total, desc=description, unit=unit, unit_scale=scale, unit_divisor=1024, leave=False
        )

    def advance(self, units: int = 1) -> None:
        """Move the bar on by `units`."""
        if self._bar is not None:
            self._bar.update(units)

    def move_to(self, position: int) -> None:
        """Set the bar to `position` units from the start, forwards or backwards."""
        if self._bar is not None:
            self._bar.n = position
            self._bar.refresh()

    def note(self, text: str) -> None:
        """Show a short text behind the bar."""
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Take all bars off the terminal while something is printed."""
        if self._bar is None:
            yield
            return
        with self._bar.external_write_mode(file=sys.stderr):
            yield

    def __enter__(self) -> ProgressBar:
        """Return the bar itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove the bar from the terminal."""
        if self._bar is not None:
            self._bar.close()
