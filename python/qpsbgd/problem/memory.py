"""Sizes are computed before anything is allocated: what cannot fit is an error at once, with its bytes.

Systems that promise more memory than they have would otherwise end the process later, amid its work.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["check_memory", "memory_limit"]

_SMALL = 2**28
"""Bytes that are asked for without a look at the limits."""


def memory_limit() -> int | None:
    """Bytes that this process may use at most: the machine's, its container's or its own limit, the least.

    None where the system does not say.
    """
    limits = [limit for limit in (_machine(), _container(), _address_space()) if limit is not None]
    return min(limits, default=None)


def check_memory(what: str, num_bytes: int) -> None:
    """Raise a MemoryError if `num_bytes` are more than this process may use.

    Examples
    --------
    >>> check_memory("10 reads of 8 spins", 160)
    >>> check_memory("1e12 reads of 1e6 spins", 10**18)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    MemoryError: 1e12 reads of 1e6 spins take 1000000000000000000 bytes, but this process may use ...
    """
    if num_bytes <= _SMALL:
        return
    limit = memory_limit()
    if limit is not None and num_bytes > limit:
        raise MemoryError(f"{what} take {num_bytes} bytes, but this process may use {limit}")


def _machine() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _container() -> int | None:
    """Limit of the control group, as containers have one."""
    try:
        return int(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):  # "max" among them
        return None


def _address_space() -> int | None:
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    except (ImportError, OSError):
        return None
    return None if limit == resource.RLIM_INFINITY else limit
