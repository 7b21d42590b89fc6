"""The one place that knows what is secret: tokens, headers and proxies, wherever they were configured.

What leaves the solver, a message, an exception or a pickle, passes through here. Settings are secret unless
they are known to be harmless.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType, TracebackType
from typing import Any
from urllib.parse import quote, quote_plus

__all__ = ["Secrets", "portable", "redacted"]

_HARMLESS = frozenset(
    {
        "client",
        "compress_qpu_problem_data",
        "config_file",
        "connection_close",
        "endpoint",
        "failover",
        "leap_api_endpoint",
        "metadata_api_endpoint",
        "order_by",
        "permissive_ssl",
        "poll_backoff_base",
        "poll_backoff_max",
        "poll_backoff_min",
        "poll_max_retries",
        "poll_strategy",
        "poll_wait_time",
        "polling_timeout",
        "profile",
        "region",
        "request_timeout",
        "retry_interval",
        "solver",
    }
)
"""Arguments of a DWaveSampler that are no secret."""

_ATTRIBUTES = ("token", "headers", "proxy", "defaults")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_FEWEST_LETTERS = 6
"""Of a part of a header that is secret on its own; shorter ones are words such as "Basic"."""

_MOST_OBJECTS = 20_000
"""That are looked at in an exception; a larger one is not passed on as it is."""


def redacted(text: str, secrets: Iterable[str | None]) -> str:
    """Text without any of the secrets in it.

    Examples
    --------
    >>> redacted("token DEV-123 refused", ["DEV-123", None])
    'token *** refused'
    """
    for secret in sorted(filter(None, secrets), key=len, reverse=True):  # the longest may hold others
        text = text.replace(secret, "***")
    return text


def portable(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a copy in another process may know; it reads secrets where it runs.

    Examples
    --------
    >>> portable({"solver": "Advantage", "token": "DEV-123", "headers": {"X-Auth": "DEV-123"}})
    {'solver': 'Advantage'}
    """
    secrets = Secrets(config)
    return {
        name: value
        for name, value in config.items()
        if name in _HARMLESS and not secrets.are_in(value) and not any(map(_user_of, _strings(value)))
    }


class Secrets:
    """Strings that must not be seen.

    Parameters
    ----------
    *configs : mapping
        Settings of clients, as DWaveSampler takes them.

    Examples
    --------
    >>> secrets = Secrets({"proxy": "http://me:my-password@proxy:3128", "solver": "Advantage"})
    >>> secrets.redacted("Advantage refused me:my-password")
    'Advantage refused ***'
    """

    def __init__(self, *configs: Mapping[str, Any]) -> None:
        self._known: set[str] = set()
        for config in configs:
            self._add(config)
        for name in _PROXIES:
            self._add({"proxy": os.environ.get(name) or os.environ.get(name.lower())})

    def add_client(self, sampler: Any) -> None:
        """Add what the client of an opened sampler was configured with."""
        client = getattr(sampler, "client", None)
        for owner in (client, getattr(client, "config", None)):
            self._add({name: getattr(owner, name, None) for name in _ATTRIBUTES})

    def redacted(self, text: str) -> str:
        """Text without any of them in it."""
        return redacted(text, self._known)

    def are_in(self, value: Any) -> bool:
        """Whether any of them can be reached from an object: an exception's causes and attributes, say."""
        seen: set[int] = set()
        waiting = [value]
        while waiting:
            item = waiting.pop()
            if id(item) in seen or isinstance(item, _PASSED_OVER):
                continue
            seen.add(id(item))
            if len(seen) > _MOST_OBJECTS:
                return True
            if isinstance(item, bytes | bytearray):
                item = item.decode("utf-8", "replace")
            if isinstance(item, str):
                if any(secret in item for secret in self._known):
                    return True
            else:
                waiting.extend(_parts(item))
        return False

    def _add(self, config: Mapping[str, Any]) -> None:
        for name, value in config.items():
            if isinstance(value, Mapping) and name not in _HARMLESS:
                self._add(value)
                continue
            for text in _strings(value):
                self._add_texts(filter(None, (_user_of(text), _user_of(text).partition(":")[2])))
                if name not in _HARMLESS and (name == "token" or len(text) >= _FEWEST_LETTERS):
                    self._add_texts([text])
                    self._add_texts(part for part in _words(text) if len(part) >= _FEWEST_LETTERS)

    def _add_texts(self, texts: Iterable[str]) -> None:
        for text in texts:
            code = base64.b64encode(text.encode("utf-8", "replace")).decode()
            forms = {
                text,
                repr(text)[1:-1],
                json.dumps(text)[1:-1],
                quote(text, safe=""),
                quote_plus(text),
                code,
            }
            self._known |= {form for form in forms if form}


_PASSED_OVER = (
    int,
    float,
    complex,
    type(None),
    type,
    ModuleType,
    FunctionType,
    BuiltinFunctionType,
    MethodType,
    TracebackType,
)


def _parts(item: Any) -> Iterator[Any]:
    """Yield what an object holds."""
    if isinstance(item, Mapping):
        yield from item.keys()
        yield from item.values()
    elif isinstance(item, list | tuple | set | frozenset):
        yield from item
    if isinstance(item, BaseException):
        yield from (str(item), item.args, item.__cause__, item.__context__)
    attributes = getattr(item, "__dict__", None)
    if isinstance(attributes, dict):
        yield from attributes.values()


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        yield value
    elif hasattr(value, "get_secret_value"):
        yield from _strings(value.get_secret_value())
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _strings(part)
    elif isinstance(value, list | tuple | set):
        for part in value:
            yield from _strings(part)


def _words(text: str) -> list[str]:
    return text.replace(": ", " ").split()


def _user_of(url: str) -> str:
    """User and password of an address.

    Examples
    --------
    >>> _user_of("http://me:word@proxy:3128")
    'me:word'
    """
    return url.partition("//")[2].rpartition("@")[0]
