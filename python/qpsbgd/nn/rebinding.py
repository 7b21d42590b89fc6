"""Torch's own functions with a few of their global names replaced.

Some of torch's layers multiply by their weights inside of one function. A copy of that function, whose name
for the product is another object, records what is multiplied. All checks, masks and layouts stay torch's.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

__all__ = ["rebound"]


def rebound(function: Callable[..., Any], **names: Any) -> Callable[..., Any]:
    """Give the function of the same code that finds other objects under some global names.

    Raises
    ------
    RuntimeError
        If the function does not use one of the names.

    Examples
    --------
    >>> import math
    >>> def half_turn():
    ...     return math.pi
    >>> rebound(half_turn, math=types.SimpleNamespace(pi=3))()
    3
    """
    if not set(names) <= set(function.__code__.co_names):
        raise RuntimeError(
            f"this version of torch has another {function.__name__}, which does not call {', '.join(names)}"
        )
    other = types.FunctionType(
        function.__code__,
        {**function.__globals__, **names},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    other.__kwdefaults__ = function.__kwdefaults__
    return other
