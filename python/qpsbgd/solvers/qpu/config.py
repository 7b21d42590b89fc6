"""Access to D-Wave's Leap: checks that Ocean is installed and a token configured; keeps the token secret."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from typing import Any

from qpsbgd.solvers.qpu.errors import QPUConfigError

__all__ = ["configured_token", "redacted", "require_ocean", "require_token"]

_ADVICE = (
    "no D-Wave API token is configured: run 'dwave config create', or set DWAVE_API_TOKEN "
    "(a token is on your Leap dashboard)"
)


def require_ocean() -> None:
    """Check that Ocean is installed, without importing it.

    Raises
    ------
    ImportError
        With the extra that installs it.
    """
    try:
        found = importlib.util.find_spec("dwave.system") and importlib.util.find_spec("minorminer")
    except ModuleNotFoundError:  # not even the package dwave
        found = None
    if not found:
        raise ImportError("QPUSolver needs dwave-system: pip install qpsbgd[qpu]")


def configured_token(config: Mapping[str, Any]) -> str | None:
    """Return the token that a sampler would use: from arguments, the environment or a file.

    Opens no connection.

    Raises
    ------
    QPUConfigError
        If a configuration file cannot be read.
    """
    if config.get("token"):
        return str(config["token"])
    from dwave.cloud.config import load_config
    from dwave.cloud.exceptions import ConfigFileError

    where = {name: config[name] for name in ("config_file", "profile") if name in config}
    try:
        token = load_config(**where).get("token")
    except (ConfigFileError, ValueError) as error:
        raise QPUConfigError(f"the D-Wave configuration cannot be read: {error}") from None
    return str(token) if token else None


def require_token(config: Mapping[str, Any]) -> str:
    """Return the token; without one, raise an error that says what to do.

    Raises
    ------
    QPUConfigError
        If there is none.
    """
    token = configured_token(config)
    if token is None:
        raise QPUConfigError(_ADVICE)
    return token


def redacted(text: str, secrets: Iterable[str | None]) -> str:
    """Text without any of the secrets in it.

    Examples
    --------
    >>> redacted("token DEV-123 refused", ["DEV-123", None])
    'token *** refused'
    """
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return text
