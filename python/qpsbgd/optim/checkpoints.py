"""State dicts of the optimizers: checked before they are loaded, and loaded as they were saved."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer

__all__ = ["checked_state_dict", "restore_state"]


def checked_state_dict(
    optimizer: Optimizer, state_dict: Any, earlier_defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a state dict whose groups have every option of `optimizer`.

    Parameters
    ----------
    optimizer : Optimizer
        What the state dict is for.
    state_dict : dict
        What its `state_dict` returned, perhaps in an earlier version.
    earlier_defaults : mapping
        Values of options that earlier versions did not have.

    Raises
    ------
    ValueError
        If it is no state dict of such an optimizer; the message names what is missing.
    """
    name = type(optimizer).__name__
    if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= set(state_dict):
        raise ValueError(
            f"state_dict must be what {name}.state_dict() returns, with 'state' and 'param_groups'"
        )
    known = set(chain.from_iterable(optimizer.param_groups)) - {"params", "param_names"}
    groups = [{**earlier_defaults, **group} for group in state_dict["param_groups"]]
    for number, group in enumerate(groups):
        group.setdefault("base_lr", group.get("initial_lr", group.get("lr")))
        missing = sorted(known - set(group))
        if missing:
            raise ValueError(
                f"state_dict is of another optimizer or version: its parameter group {number} has no "
                f"{', '.join(repr(option) for option in missing)}, which {name} needs"
            )
    return {**state_dict, "param_groups": groups}


def restore_state(optimizer: Optimizer, state_dict: dict[str, Any]) -> None:
    """Give the state that was loaded into `optimizer` its saved dtypes back.

    torch casts state to the dtype of the parameter, which would round the memory of half weights. Memory of
    float64 weights is float64, wherever it was saved.
    """
    saved = chain.from_iterable(group["params"] for group in state_dict["param_groups"])
    own = chain.from_iterable(group["params"] for group in optimizer.param_groups)
    for key, parameter in zip(saved, own, strict=True):
        for name, value in state_dict["state"].get(key, {}).items():
            if isinstance(value, Tensor):
                optimizer.state[parameter][name] = value.to(
                    device=parameter.device, dtype=_dtype(value, parameter), copy=True
                )


def _dtype(value: Tensor, parameter: Tensor) -> torch.dtype:
    if value.dtype in (torch.float32, torch.float64) and parameter.dtype in (torch.float32, torch.float64):
        return parameter.dtype
    return value.dtype
