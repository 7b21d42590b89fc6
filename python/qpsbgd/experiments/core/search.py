"""Random search: ranges of an optimizer's settings, and the trials drawn from them.

Every optimizer of a task gets the same number of trials. The first ones are drawn from the whole ranges
(Bergstra and Bengio, JMLR 13, 2012), the last ones near the best of these, also beyond the edge of a range.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

__all__ = ["Between", "Grid", "Search", "Setting", "Settings", "Space"]

Setting = str | float | bool | None
Settings = Mapping[str, Setting]
"""Arguments of an optimizer's constructor, among them ``lr``."""

_REACH = 0.2
"""How far from the best the last trials are drawn, as a part of a range."""
_EDGE = 0.05
"""What part of a range at each of its ends is called its edge."""


@dataclass(frozen=True)
class Between:
    """A number drawn evenly on a logarithmic scale.

    Attributes
    ----------
    low, high : float
        Ends of the range, above 0.
    of_past : bool
        The setting is one minus the number drawn: for the beta of a running mean, whose distance from 1 is
        what matters.
    most : float
        What the setting never exceeds, not even beyond an edge.

    Examples
    --------
    >>> Between(0.001, 0.1).at(0.5), Between(0.05, 0.7, of_past=True).at(0.0)
    (0.01, 0.95)
    """

    low: float
    high: float
    of_past: bool = False
    most: float = math.inf

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high < math.inf:
            raise ValueError(f"a range from {self.low} to {self.high}, expected 0 < low < high")
        if self.of_past and self.high > 1:
            raise ValueError(f"high is {self.high} of a range of one minus a beta, expected at most 1")

    def at(self, place: float) -> float:
        """Return the setting at a place: 0 is the low end, 1 the high one; rounded to 3 digits."""
        drawn = self.low * (self.high / self.low) ** place
        rounded = float(f"{drawn:.3g}")
        return round(1 - min(rounded, 1.0), 12) if self.of_past else min(rounded, self.most)

    def place(self, value: float) -> float:
        """Return where a setting lies: the inverse of `at`."""
        drawn = max(1 - value, 1e-12) if self.of_past else value
        return math.log(drawn / self.low) / math.log(self.high / self.low)


Space = Mapping[str, Between | Setting]
"""Setting -> its range, or its value where it is fixed."""


@dataclass(frozen=True)
class Search:
    """What an optimizer's settings are drawn from.

    Attributes
    ----------
    spaces : tuple of Space
        One, or several that take turns: an optimizer with momentum, and with error feedback.
    trials, near : int
        How many settings are drawn from the spaces, and how many then near the best of them.

    Examples
    --------
    >>> search = Search(({"lr": Between(0.001, 0.1), "momentum": 0.9},), trials=2, near=1)
    >>> search.drawn("sgd")
    ({'lr': 0.013, 'momentum': 0.9}, {'lr': 0.0057, 'momentum': 0.9})
    >>> search.near_to("sgd", {"lr": 0.002, "momentum": 0.9})
    ({'lr': 0.00383, 'momentum': 0.9},)
    >>> len(search)
    3
    """

    spaces: tuple[Space, ...]
    trials: int = 12
    near: int = 4

    def __post_init__(self) -> None:
        for count, least in (("trials", 1), ("near", 0)):
            if getattr(self, count) < least:
                raise ValueError(f"{count} is {getattr(self, count)}, expected at least {least}")
        if not self.spaces:
            raise ValueError("spaces is empty, expected at least one")

    def __len__(self) -> int:
        return self.trials + self.near

    def drawn(self, optimizer: str) -> tuple[Settings, ...]:
        """Draw the first trials of an optimizer; the same ones each time."""
        places = _places(optimizer, 0, self.trials)
        return tuple(
            _settings(self.spaces[number % len(self.spaces)], place) for number, place in enumerate(places)
        )

    def near_to(self, optimizer: str, best: Settings) -> tuple[Settings, ...]:
        """Draw the last trials, near the best of the first ones."""
        space = self.space_of(best)
        trials = []
        for shifts in _places(optimizer, 1, self.near):
            near: dict[str, Setting] = {}
            for (name, one), shift in zip(space.items(), shifts, strict=False):
                if isinstance(one, Between):
                    near[name] = one.at(one.place(_number(best[name])) + _REACH * (2 * shift - 1))
                else:
                    near[name] = one
            trials.append(near)
        return tuple(trials)

    def at_edge(self, settings: Settings) -> list[str]:
        """Name the settings that lie within a twentieth of their range of an edge, or beyond it."""
        return [
            name
            for name, one in self.space_of(settings).items()
            if isinstance(one, Between) and not _EDGE <= one.place(_number(settings[name])) <= 1 - _EDGE
        ]

    def space_of(self, settings: Settings) -> Space:
        """Return the space that settings were drawn from.

        Raises
        ------
        ValueError
            If they are of none.
        """
        for space in self.spaces:
            fixed = {name: one for name, one in space.items() if not isinstance(one, Between)}
            if set(space) == set(settings) and all(settings[name] == one for name, one in fixed.items()):
                return space
        raise ValueError(f"settings {dict(settings)} are of none of the search's spaces")


_MOST_SETTINGS = 16


def _places(optimizer: str, part: int, count: int) -> list[list[float]]:
    generator = np.random.default_rng([part, len(optimizer), *optimizer.encode()])
    drawn: list[list[float]] = generator.random((count, _MOST_SETTINGS)).tolist()
    return drawn


def _settings(space: Space, places: list[float]) -> Settings:
    return {
        name: one.at(place) if isinstance(one, Between) else one
        for (name, one), place in zip(space.items(), places, strict=False)
    }


def _number(value: Setting) -> float:
    assert isinstance(value, float | int)
    return float(value)


Grid = tuple[Settings, ...] | Search
"""What is tried: settings one by one, or drawn."""
