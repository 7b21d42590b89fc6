"""Kernels for GPUs on Triton's interpreter."""

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


def _taken_out(prefixes: tuple[str, ...]) -> dict[str, ModuleType]:
    """Take modules out of those that Python has imported."""
    names = [name for name in sys.modules if f"{name}.".startswith(prefixes)]
    return {name: sys.modules.pop(name) for name in names if not name.startswith("triton._C")}


@contextmanager
def interpreted(name: str) -> Iterator[ModuleType]:
    """
    Import the module `name` for the interpreter, whatever has imported Triton before.

    Triton reads TRITON_INTERPRET where a function is defined, its own ones included. So it is imported
    afresh, but for its compiled part. What was imported before is put back at the end.
    """
    prefixes = ("triton.", f"{name}.")
    before = _taken_out(prefixes)
    earlier = os.environ.get("TRITON_INTERPRET")
    os.environ["TRITON_INTERPRET"] = "1"
    try:
        yield importlib.import_module(name)
    finally:
        if earlier is None:
            del os.environ["TRITON_INTERPRET"]
        else:
            os.environ["TRITON_INTERPRET"] = earlier
        _taken_out(prefixes)
        sys.modules.update(before)
