"""Reading fields of a JSON object that may have any structure: the error names the field."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from qpsbgd.data.reading import shown

__all__ = ["Fields", "check_plain"]

_DEEPEST = 20


def check_plain(value: Any, place: str = "", depth: int = 0) -> None:
    """Raise unless a JSON value holds finite numbers and encodable texts only, and is not nested deeply.

    Raises
    ------
    ValueError
        Otherwise; it names the place.

    Examples
    --------
    >>> check_plain({"a": [1, 2.5, None, "text"]})
    >>> check_plain({"a": [float("nan")]})
    Traceback (most recent call last):
    ValueError: 'a.0' is nan, expected a finite number
    """
    if depth > _DEEPEST:
        raise ValueError(f"{shown(place)} is nested too deeply")
    if isinstance(value, str):
        _check_text(value, place)
    elif isinstance(value, (int, float)):
        _number(value, place)
    elif isinstance(value, dict):
        for key, one in value.items():
            _check_text(key, place)
            check_plain(one, _join(place, key), depth + 1)
    elif isinstance(value, list):
        for index, one in enumerate(value):
            check_plain(one, _join(place, str(index)), depth + 1)


def _join(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def _check_text(text: str, place: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:  # JSON can hold half of a surrogate pair
        raise ValueError(f"{shown(place)} is {shown(ascii(text))}, which is no text") from None


def _number(value: Any, place: str) -> float:
    try:
        finite = math.isfinite(value)
    except OverflowError:  # an integer beyond the range of float64
        finite = False
    if not finite:
        raise ValueError(f"{shown(place)} is {_described(value)}, expected a finite number")
    number: float = value
    return number


def _described(value: Any) -> str:
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 1 << 64:
        return "an integer of more than 64 bits"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return shown(value) if isinstance(value, str) else str(value)


class Fields:
    """The fields of a JSON object, each read as the type that is expected.

    Parameters
    ----------
    content : object
        What should be a JSON object.
    place : str
        Where it stands in the document; empty for the document itself.

    Raises
    ------
    ValueError
        If it is no object.

    Examples
    --------
    >>> fields = Fields({"run": {"seed": None}})
    >>> fields.fields("run").whole("seed")
    Traceback (most recent call last):
    ValueError: 'run.seed' is null, expected a whole number of at least 0
    """

    def __init__(self, content: Any, place: str = "") -> None:
        if not isinstance(content, Mapping):
            name = shown(place) if place else "the document"
            raise ValueError(f"{name} is {_described(content)}, expected an object")
        self.content = content
        self.place = place

    def value(self, key: str) -> Any:
        """Return the field as it is.

        Raises
        ------
        ValueError
            If there is none; so do the other methods, and if it has another type.
        """
        if key not in self.content:
            raise ValueError(f"{shown(_join(self.place, key))} is missing")
        return self.content[key]

    def _wrong(self, key: str, expected: str) -> ValueError:
        described = _described(self.content[key])
        return ValueError(f"{shown(_join(self.place, key))} is {described}, expected {expected}")

    def text(self, key: str) -> str:
        """Return a text."""
        value = self.value(key)
        if not isinstance(value, str):
            raise self._wrong(key, "a text")
        return value

    def choice(self, key: str, *choices: str) -> str:
        """Return one of a few texts."""
        value = self.text(key)
        if value not in choices:
            raise self._wrong(key, " or ".join(map(repr, choices)))
        return value

    def whole(self, key: str) -> int:
        """Return a whole number that an unsigned integer of 64 bits holds."""
        value = self.value(key)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 64:
            raise self._wrong(key, "a whole number of at least 0")
        return value

    def flag(self, key: str) -> bool:
        """Return true or false."""
        value = self.value(key)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def number(self, key: str) -> float:
        """Return a finite number."""
        value = self.value(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self._wrong(key, "a number")
        return _number(value, _join(self.place, key))

    def fields(self, key: str) -> Fields:
        """Return an object's fields."""
        return Fields(self.value(key), _join(self.place, key))

    def numbers(self, *, but: str = "") -> dict[str, float]:
        """Return all fields, which are numbers; `but` is left out."""
        return {key: self.number(key) for key in self.content if key != but}

    def texts(self) -> dict[str, str]:
        """Return all fields, which are texts."""
        return {key: self.text(key) for key in self.content}

    def listed(self, key: str) -> list[Fields]:
        """Return a list of objects."""
        value = self.value(key)
        if not isinstance(value, list):
            raise self._wrong(key, "a list")
        place = _join(self.place, key)
        return [Fields(one, _join(place, str(index))) for index, one in enumerate(value)]
