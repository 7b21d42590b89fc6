"""Access to D-Wave's Leap: checks that Ocean is installed and a token configured; keeps the token secret."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

from qpsbgd.solvers.qpu.errors import QPUConfigError
from qpsbgd.solvers.qpu.secrecy import Secrets, redacted

__all__ = ["configured_secrets", "configured_token", "redacted", "require_ocean", "require_token"]

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
        raise ImportError("QPUSolver needs dwave-system: pip install 'qpsbgd[qpu]'")


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
    defaults = config.get("defaults")
    last = defaults.get("token") if isinstance(defaults, Mapping) else None
    token = _loaded(config).get("token") or last
    return str(token) if token else None


def configured_secrets(config: Mapping[str, Any], sampler: Any = None) -> Secrets:
    """Return the secrets of these arguments, of the environment, of a file, and of an opened sampler."""
    try:
        loaded = _loaded(config)
    except (ImportError, QPUConfigError):
        loaded = {}
    secrets = Secrets(config, loaded)
    secrets.add_client(sampler)
    return secrets


def _loaded(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Read what the environment and the files add to these arguments."""
    from dwave.cloud.config import load_config
    from dwave.cloud.exceptions import ConfigFileError

    where = {name: config[name] for name in ("config_file", "profile") if name in config}
    try:
        return dict(load_config(**where))
    except (ConfigFileError, ValueError) as error:
        kind = type(error).__name__
    # Outside of the handler and without the message: it may show the line that could not be read.
    raise QPUConfigError(f"the D-Wave configuration cannot be read ({kind}): run 'dwave config inspect'")


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
