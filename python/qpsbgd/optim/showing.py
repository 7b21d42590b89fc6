"""What people look at of an optimizer: what it steps, how, and how far it is."""

from __future__ import annotations

import html
import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.optim.optimizer import Optimizer

from qpsbgd.capture.weight import is_binary

__all__ = ["as_html", "as_text"]

_COUNTERS = {"params", "step", "base_lr", "num_qubos", "qpu_seconds", "param_names"}
"""Entries of a parameter group that are no options."""
_ALWAYS = ("lr", "memory")


def as_text(optimizer: Optimizer, steps: Callable[[Tensor], bool]) -> str:
    """Return one line for each parameter group: weights, other parameters, options that the user chose.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        One of this package.
    steps : callable
        Tells of a parameter whether it takes steps of the optimizer's own, and not Adam's.
    """
    parts = []
    for group in optimizer.param_groups:
        shown = ", ".join(
            f"{name}={_plain(group[name])!r}"
            for name in {**optimizer.defaults, **group}  # in the order of the signature
            if name in _ALWAYS or (name not in _COUNTERS and _was_chosen(optimizer, name, group[name]))
        )
        parts.append(f"{_stepped(group, steps)}; {shown}; {_progress(group)}")
    if len(parts) == 1:
        return f"{type(optimizer).__name__}({parts[0]})"
    return f"{type(optimizer).__name__}(\n" + "\n".join(f"  {part}" for part in parts) + "\n)"


def as_html(optimizer: Optimizer, steps: Callable[[Tensor], bool]) -> str:
    """Return a table with a column for each parameter group, and a row for each option."""
    groups = optimizer.param_groups
    rows = [
        ("parameters", [_stepped(group, steps) for group in groups]),
        ("so far", [_progress(group) for group in groups]),
    ]
    names = [name for name in groups[0] if name not in _COUNTERS]
    rows += [(name, [repr(_plain(group.get(name))) for group in groups]) for name in names]
    lines = [
        f"<tr><th>{html.escape(name)}</th>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>"
        for name, cells in rows
    ]
    return f"<table><caption>{type(optimizer).__name__}</caption>{''.join(lines)}</table>"


def _was_chosen(optimizer: Optimizer, name: str, value: Any) -> bool:
    """Tell whether the user gave an option, to the optimizer or to a group, rather than left its default."""
    given = optimizer.defaults.get(name)
    declared = inspect.signature(type(optimizer)).parameters.get(name)
    if declared is not None and given != declared.default:
        return True
    return given not in (None, "auto") and bool(value != given)  # these two stand for what fits


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor) and value.numel() == 1 else value


def _stepped(group: dict[str, Any], steps: Callable[[Tensor], bool]) -> str:
    """Tell how many parameters take steps of the optimizer's own, and how many take Adam's."""
    own = [parameter for parameter in group["params"] if steps(parameter)]
    kind = "binary" if not own or is_binary(own[0]) else "real"
    entries = sum(parameter.numel() for parameter in own)
    return (
        f"{len(own)} {kind} weights of {entries:,} entries, {len(group['params']) - len(own)} others by Adam"
    )


def _progress(group: dict[str, Any]) -> str:
    told = f"{group.get('step', 0):,} steps"
    if group.get("num_qubos"):
        told += f", {group['num_qubos']:,} QUBOs"
    if group.get("qpu_seconds"):
        told += f", {group['qpu_seconds']:.2f} s of a QPU"
    return told
