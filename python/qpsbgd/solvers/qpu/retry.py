"""Which failures are worth another try, and how long to wait before it."""

from __future__ import annotations

import concurrent.futures
import errno
from dataclasses import dataclass

from qpsbgd.solvers.qpu.errors import QPUTimeoutError, QPUUnreachableError

__all__ = ["RetryPolicy", "is_device_failure", "is_transient"]

# By name, so that asking does not import Ocean: whoever raised one of these has done so.
_TRANSIENT = {
    "dwave.cloud.api.exceptions": (
        "RequestTimeout",
        "InternalServerError",
        "ResourceBadResponseError",
        "ResourceLimitsExceededError",
    ),
    "dwave.cloud.exceptions": (
        "CanceledFutureError",
        "InvalidAPIResponseError",
        "PollingTimeout",
        "ProblemUploadError",
        "RequestTimeout",
        "SolverFailureError",
        "SolverOfflineError",
        "Timeout",
    ),
    "dwave.system.exceptions": ("RetryCondition",),
    "http.client": ("HTTPException",),
    "requests.exceptions": ("ConnectionError", "ContentDecodingError", "Timeout", "ChunkedEncodingError"),
    "socket": ("gaierror", "herror"),  # names that cannot be resolved
    "ssl": ("SSLError",),
    "urllib3.exceptions": ("HTTPError",),
}
_NETWORK = frozenset(
    getattr(errno, name)
    for name in ("EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETRESET", "ENETUNREACH", "ENOTCONN", "ENOBUFS")
    if hasattr(errno, name)
)
"""Numbers of an OSError that has no class of its own."""

_FAILURES = {
    "dwave.cloud.api.exceptions": ("RequestError",),
    "dwave.cloud.exceptions": ("SolverError", "ProblemError", "UseAfterCloseError"),
    "dwave.system.exceptions": ("FailoverCondition",),
    "requests.exceptions": ("RequestException",),
}


@dataclass(frozen=True)
class RetryPolicy:
    """How often a submission is tried again, and after which delays.

    Attributes
    ----------
    max_retries : int
        Tries after the first one.
    first_delay : float
        Seconds before the first of them; each further one waits twice as long.
    max_delay : float
        Longest wait, in seconds.

    Examples
    --------
    >>> policy = RetryPolicy(max_retries=4, first_delay=1.0, max_delay=5.0)
    >>> [policy.delay(attempt) for attempt in (1, 2, 3, 4)]
    [1.0, 2.0, 4.0, 5.0]
    """

    max_retries: int = 4
    first_delay: float = 1.0
    max_delay: float = 60.0

    def delay(self, attempt: int) -> float:
        """Seconds to wait after failure number `attempt`, from 1."""
        return min(self.max_delay, self.first_delay * 2.0 ** min(attempt - 1, 60))


def is_transient(error: BaseException) -> bool:
    """Whether the same submission may succeed later: time-outs, lost connections, servers in trouble.

    Examples
    --------
    >>> is_transient(TimeoutError()), is_transient(ValueError())
    (True, False)
    """
    passing = (
        QPUTimeoutError,
        QPUUnreachableError,
        TimeoutError,
        ConnectionError,
        concurrent.futures.TimeoutError,
    )
    if isinstance(error, passing) or (isinstance(error, OSError) and error.errno in _NETWORK):
        return True
    return _named(error, _TRANSIENT)


def is_device_failure(error: BaseException) -> bool:
    """Whether the device or the way to it failed, as opposed to a mistake in the program.

    Examples
    --------
    >>> is_device_failure(ConnectionError()), is_device_failure(TypeError())
    (True, False)
    """
    return is_transient(error) or _named(error, _FAILURES)


def _named(error: BaseException, names: dict[str, tuple[str, ...]]) -> bool:
    return any(kind.__name__ in names.get(kind.__module__, ()) for kind in type(error).__mro__)
