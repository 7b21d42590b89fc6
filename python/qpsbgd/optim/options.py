"""The options of `QPSBGD`: what is allowed, and what goes together."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

from torch import Tensor

from qpsbgd.capture.weight import RealWeight, is_binary
from qpsbgd.problem.checks import (
    DOMAINS,
    MEMORIES,
    check_betas,
    check_choice,
    check_count,
    check_nonnegative,
    check_scale,
    check_seed,
)
from qpsbgd.step.projected import MAJORIZERS
from qpsbgd.step.weights import Move

__all__ = [
    "EARLIER_DEFAULTS",
    "Kinds",
    "check_kinds",
    "check_options",
    "move_of",
    "settle_options",
    "uses_factors",
    "with_rate",
]

VARIANTS = ("continuous", "projected")
JACOBIANS = ("pre-activation", "post-activation")

EARLIER_DEFAULTS = {
    "variant": "continuous",
    "majorizer": "gauss-newton",
    "damping": None,
    "jacobian": "pre-activation",
    "qpu_seconds": 0.0,
    "betas": (0.9, 0.9),
    "weight_decay": 0.0,
    "gram_every": 1,
    "gram_samples": None,
    "singular_power": 1.0,
}
"""Defaults for checkpoints that predate these options."""

_LR = 0.01
_REAL_LR = 0.1
_REAL_BETAS = (0.5, 0.95)
_REAL_KAPPA = 4.0


class Kinds(NamedTuple):
    """Which weights a parameter group holds."""

    binary: bool
    real: bool

    @classmethod
    def of(cls, group: dict[str, Any]) -> Kinds:
        """Look through a group."""
        weights = group["params"]
        return cls(any(map(is_binary, weights)), any(type(weight) is RealWeight for weight in weights))


def check_options(options: dict[str, Any]) -> None:
    """Raise if an option of a parameter group is not allowed, or two do not go together."""
    check_choice("variant", options["variant"], VARIANTS)
    check_choice("memory", options["memory"], ("auto", *MEMORIES))
    check_scale(options["scale"])
    if options["kappa"] is not None:
        check_nonnegative("kappa", options["kappa"])
    check_choice("domain", options["domain"], DOMAINS)
    check_choice("jacobian", options["jacobian"], JACOBIANS)
    if options["jacobian"] == "post-activation" and options["memory"] == "momentum":
        raise ValueError(
            "jacobian 'post-activation' does not go with memory 'momentum', which would keep "
            "a Gram matrix of every neuron; use 'error-feedback' or None"
        )
    if options["betas"] is not None:
        check_betas("betas", options["betas"])
    check_nonnegative("weight_decay", options["weight_decay"])
    check_nonnegative("singular_power", options["singular_power"])
    if options["singular_power"] > 1:
        raise ValueError(f"singular_power is {options['singular_power']}, expected at most 1")
    check_count("gram_every", options["gram_every"])
    if options["gram_samples"] is not None:
        check_count("gram_samples", options["gram_samples"])
    if options["jacobian"] == "post-activation":
        if options["gram_every"] > 1:
            raise ValueError(
                "jacobian 'post-activation' does not go with gram_every above 1, which would keep "
                "a Gram matrix of every neuron"
            )
        if options["gram_samples"] is not None:
            raise ValueError("jacobian 'post-activation' does not go with gram_samples, use None")
    check_seed(options["seed"])
    _check_majorizer(options["majorizer"])
    if options["damping"] is not None:
        check_nonnegative("damping", options["damping"])
    if options["variant"] == "projected":
        _check_projected(options)


def check_kinds(options: dict[str, Any], kinds: Kinds) -> None:
    """Raise if options of a parameter group do not go with the weights that it holds."""
    if kinds.binary and kinds.real:
        raise ValueError(
            "a parameter group holds binary and real weights, whose options have other defaults; "
            "put them into two groups"
        )
    if kinds.binary and options["weight_decay"]:
        raise ValueError(
            f"weight_decay {options['weight_decay']!r} has no meaning for binary weights; "
            "put the other parameters into a group of their own"
        )
    if not kinds.real:
        return
    for name, default in (("variant", "continuous"), ("jacobian", "pre-activation")):
        if options[name] != default:
            raise ValueError(f"{name} {options[name]!r} has no meaning for real weights, use {default!r}")


def _check_unsharded(group: dict[str, Any]) -> None:
    """Raise if a parameter of a group is sharded over processes, as those of FSDP2 and DTensor are."""
    sharded = sys.modules.get("torch.distributed.tensor")  # without it no parameter is one
    names = group.get("param_names", range(len(group["params"])))
    for name, parameter in zip(names, group["params"], strict=True):
        if sharded is not None and isinstance(parameter, sharded.DTensor):
            raise TypeError(
                f"params: {name!r} of shape {tuple(parameter.shape)} is a DTensor, sharded over processes as "
                "by FSDP2, but a row needs its whole weight and input; keep parameters replicated, as "
                "DistributedDataParallel does, and parallelism='rows' shares the work"
            )


def with_rate(group: dict[str, Any], default: Any) -> dict[str, Any]:
    """Return a parameter group, not added yet, with the rate for its kind of weights if it has none."""
    if group.get("lr", default) is not None or isinstance(group.get("params"), set):  # torch refuses sets
        return group
    given = group.get("params", [])
    parameters = [given] if isinstance(given, Tensor) else list(given)
    weights = [named[-1] if isinstance(named, tuple) else named for named in parameters]
    real = any(type(weight) is RealWeight for weight in weights)
    return {**group, "params": parameters, "lr": _REAL_LR if real else _LR}


def settle_options(group: dict[str, Any], parallelism: str) -> None:
    """Replace "auto" and None in a new parameter group, and raise if its options do not go together."""
    kinds = Kinds.of(group)
    check_kinds(group, kinds)
    _check_unsharded(group)
    _fill(group, kinds)
    _check_spectrum(group, parallelism)
    if parallelism == "vote" and group["variant"] == "projected":
        raise ValueError("parallelism 'vote' has no meaning with variant 'projected'")


def _fill(group: dict[str, Any], kinds: Kinds) -> None:
    if kinds.real:
        group["memory"] = "momentum" if group["memory"] == "auto" else group["memory"]
        group["betas"] = group["betas"] or _REAL_BETAS
        group["kappa"] = _REAL_KAPPA if group["kappa"] is None else group["kappa"]
    if group["betas"] is None:
        group["betas"] = (0.9, 0.9)
    projected, factors = group["variant"] == "projected", group["majorizer"] == "gauss-newton"
    if group["memory"] == "auto":
        group["memory"] = ("momentum" if factors else None) if projected else "error-feedback"
    if group["damping"] is None:
        group["damping"] = 1.0 if factors else 0.0
    if group["kappa"] is None:
        group["kappa"] = 0.5 if group["memory"] == "momentum" else 1.0
    group.setdefault("num_qubos", 0)
    group.setdefault("qpu_seconds", 0.0)


def _check_spectrum(group: dict[str, Any], parallelism: str) -> None:
    """Raise if p of a group, whose options are filled in, cannot be made as it asks for."""
    if group["singular_power"] != 1 and parallelism == "replicated":
        raise ValueError(
            f"singular_power {group['singular_power']!r} does not go with parallelism 'replicated', whose "
            "processes may round eigenvectors in different ways; use 'rows'"
        )
    memory, variant = group["memory"], group["variant"]
    if group["singular_power"] != 1 and (memory != "momentum" or variant != "continuous"):
        raise ValueError(
            f"singular_power {group['singular_power']!r} needs memory 'momentum' and variant 'continuous', "
            f"not memory {memory!r} and variant {variant!r}"
        )


def move_of(group: dict[str, Any], weight: Tensor, replaces: bool) -> Move:
    """Tell how a weight moves by its step, with the options of its group."""
    lr = float(group["lr"])
    if is_binary(weight):
        return Move(lr, clip=group["clip"], replaces=replaces)
    width = weight.numel() // weight.shape[0]
    return Move(lr * width**-0.5, decay=1.0 - lr * group["weight_decay"])


def uses_factors(group: dict[str, Any]) -> bool:
    """Tell whether the group's steps need Gauss-Newton factors."""
    return bool(group["variant"] == "projected" and group["majorizer"] == "gauss-newton")


def _check_majorizer(majorizer: Any) -> None:
    if isinstance(majorizer, str):
        check_choice("majorizer", majorizer, ("gauss-newton", *MAJORIZERS))
        return
    check_nonnegative("majorizer", majorizer)
    if majorizer == 0:
        raise ValueError("majorizer must be a positive number, but is 0")


def _check_projected(options: dict[str, Any]) -> None:
    """Raise if an option is given that means nothing to the projected variant."""
    given = {"scale": "relative", "kappa": None, "domain": "spin", "jacobian": "pre-activation"}
    for name, default in given.items():
        if options[name] != default:
            raise ValueError(f"{name} {options[name]!r} has no meaning with variant 'projected'")
    if options["memory"] == "error-feedback":
        raise ValueError(
            "memory 'error-feedback' has no meaning with variant 'projected', which leaves nothing behind; "
            "use 'momentum' or None"
        )
