"""``qpsbgd info``: versions, the native core, and optional parts."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import platform
from typing import Any

from qpsbgd import __version__
from qpsbgd._core import build_info
from qpsbgd.cli.arguments import Subparsers

__all__ = ["add", "run"]

_OPTIONAL_PARTS = {
    "torch": "torch",
    "dimod": "dimod",
    "scikit-learn": "sklearn",
    "matplotlib": "matplotlib",
    "tqdm": "tqdm",
    "scipy": "scipy",
    "dwave-samplers": "dwave.samplers",
    "dwave-system": "dwave.system",
    "triton": "triton",
}
"""Distribution -> a module of it."""


def add(commands: Subparsers) -> None:
    """Declare the command."""
    info = commands.add_parser("info", help="show versions, the native core and optional parts")
    info.set_defaults(run=run)


def run(_arguments: argparse.Namespace) -> None:
    """Print one line a fact."""
    facts: dict[str, Any] = {
        "qpsbgd": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {platform.system()}",
    }
    native = {name.replace("_", " "): value for name, value in build_info().items()}
    facts |= {name: value for name, value in native.items() if name != "version"}
    facts["numpy"] = importlib.metadata.version("numpy")
    for distribution, module in _OPTIONAL_PARTS.items():
        facts[distribution] = (
            importlib.metadata.version(distribution) if _is_installed(module) else "not installed (optional)"
        )
    facts["solver='device'"] = facts["solve_ising(device=)"] = _device_path()
    width = max(map(len, facts)) + 2
    for name, fact in facts.items():
        print(f"{name:<{width}}{fact}")


def _device_path() -> str:
    """Tell how steps are made on a device here, and problems solved."""
    if not _is_installed("torch"):
        return "needs torch"
    import torch

    from qpsbgd.step.device.choose import has_triton

    if not torch.cuda.is_available():
        return "torch operations, no CUDA device"
    how = "Triton kernels" if has_triton() else "torch operations, Triton is not installed"
    return f"{how}, {torch.cuda.get_device_name()}"


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package above it is not there
        return False
