"""Where a problem is solved, and by which moves; nothing here imports torch."""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

from qpsbgd.problem.arrays import is_tensor

__all__ = [
    "MOST_SPINS",
    "check_settings",
    "check_width",
    "device_of",
    "has_triton",
    "refuse_on_device",
    "uses_kernel",
]

MOST_SPINS = 8192
"""Of a problem: what a program of a kernel holds in registers."""

_SOLVING = ("cuda", "xpu")
"""Kinds of devices whose tensors are solved there unasked. Others lack float64, or are the host."""


@functools.cache
def has_triton() -> bool:
    """Tell whether Triton is installed, without an import of it; CUDA builds of torch bring it along."""
    return importlib.util.find_spec("triton") is not None


def uses_kernel(device: str, width: int) -> bool:
    """Tell whether rows of so many spins on this kind of device are moved by Triton kernels.

    Examples
    --------
    >>> uses_kernel("cpu", 100)
    False
    """
    return device == "cuda" and 0 < width <= MOST_SPINS and has_triton()


def device_of(device: Any, *values: Any) -> Any:
    """Return the device that solves a problem of these arrays: the one asked for, or where dense tensors are.

    None stands for the native solver on the host.

    Examples
    --------
    >>> device_of(None, [1.0]) is None
    True
    >>> device_of("cuda", [1.0])
    'cuda'
    """
    if device is not None:
        return device
    tensors = [value for value in values if is_tensor(value)]
    if any(str(value.layout) != "torch.strided" for value in tensors):
        return None  # sparse problems are solved on the host
    return next((value.device for value in tensors if value.device.type in _SOLVING), None)


def check_settings(settings: Any) -> None:
    """Raise unless a device can do what a `qpsbgd.solvers.native.NativeSolver` is set to.

    Examples
    --------
    >>> from qpsbgd.solvers import NativeSolver
    >>> NativeSolver(device="cuda", num_best=3)
    Traceback (most recent call last):
    ...
    ValueError: num_best must be None on a device, but is 3
    """
    if settings.method == "exact":
        raise ValueError(
            "method must be 'auto', 'descent', 'anneal', 'tabu' or 'exchange' on a device, but is 'exact'"
        )
    for name in ("num_threads", "target_energy", "num_best", "sampling"):
        value = getattr(settings, name)
        if value is not None:
            raise ValueError(f"{name} must be None on a device, but is {value!r}")
    if settings.presolve is not False and settings.presolve != "auto":
        raise ValueError(f"presolve must be 'auto' or False on a device, but is {settings.presolve!r}")
    if settings.beta_range is not None and settings.method not in ("auto", "anneal", "exchange"):
        raise ValueError(
            "beta_range is for methods 'anneal' and 'exchange' on a device, "
            f"but method is {settings.method!r}"
        )
    if settings.method == "descent" and settings.num_sweeps is not None:
        raise ValueError(
            f"num_sweeps must be None for method 'descent' on a device, but is {settings.num_sweeps}"
        )


def refuse_on_device(**arguments: Any) -> None:
    """Raise if any of these arguments, which a device knows nothing of, is given.

    Examples
    --------
    >>> refuse_on_device(executor=None, progress=True)
    Traceback (most recent call last):
    ...
    ValueError: progress must be None on a device, but is True
    """
    for name, value in arguments.items():
        if value is not None and value is not False:
            raise ValueError(f"{name} must be None on a device, but is {value!r}")


def check_width(name: str, n: int) -> None:
    """Raise unless a device can hold problems of so many spins."""
    if n > MOST_SPINS:
        raise ValueError(f"{name} is for {n} spins, but a problem on a device may have {MOST_SPINS} at most")
