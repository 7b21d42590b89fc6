"""Schedules of inverse temperatures and rules of acceptance, by the argument names of dwave.samplers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qpsbgd.problem.arrays import real_array
from qpsbgd.problem.checks import check_bool, check_finite, check_integer, check_member, check_number

__all__ = ["KEEPS", "SCHEDULES", "Sampling", "SamplingArguments"]

SCHEDULES = ("linear", "geometric", "custom")
CRITERIA = ("Gibbs", "Metropolis")
KEEPS = ("best", "last")
_DEFAULT_SWEEPS = 1000


@dataclass(frozen=True)
class Sampling:
    """Annealing by another rule than the default's; see `NativeSampler.sample` for the words.

    Attributes
    ----------
    betas : tuple of float
        Inverse temperature of each sweep.
    gibbs, random_order, keep_last : bool
        How proposals are accepted, which spins they are of, and whether the answer is the last state.
    """

    betas: tuple[float, ...]
    gibbs: bool = False
    random_order: bool = False
    keep_last: bool = False


@dataclass(frozen=True)
class SamplingArguments:
    """The arguments of a sampler that say how it anneals, checked."""

    beta_range: Sequence[float] | None = None
    num_sweeps: int | None = None
    num_sweeps_per_beta: int = 1
    beta_schedule_type: str = "geometric"
    beta_schedule: Any = None
    randomize_order: bool = False
    proposal_acceptance_criteria: str = "Metropolis"
    keep: str = "best"

    def __post_init__(self) -> None:
        """Check every argument."""
        check_integer("num_sweeps_per_beta", self.num_sweeps_per_beta, 1)
        check_member("beta_schedule_type", self.beta_schedule_type, SCHEDULES)
        check_bool("randomize_order", self.randomize_order)
        check_member("proposal_acceptance_criteria", self.proposal_acceptance_criteria, CRITERIA)
        check_member("keep", self.keep, KEEPS)
        if self.num_sweeps is not None:
            check_integer("num_sweeps", self.num_sweeps, 0)
            if self.beta_schedule_type != "custom" and self.num_sweeps % self.num_sweeps_per_beta:
                raise ValueError(
                    f"num_sweeps must be a multiple of num_sweeps_per_beta = {self.num_sweeps_per_beta}, "
                    f"but is {self.num_sweeps}"
                )
        if (self.beta_schedule is None) == (self.beta_schedule_type == "custom"):
            raise ValueError(
                "beta_schedule must be given with beta_schedule_type = 'custom' and only then, but the type "
                f"is {self.beta_schedule_type!r}"
            )
        if self.beta_range is not None:
            _check_range(self.beta_range, least_is_zero=self.beta_schedule_type != "geometric")

    @property
    def are_special(self) -> bool:
        """Whether they ask for anything but sequential Metropolis sweeps on a falling geometric ladder."""
        return (
            self.num_sweeps_per_beta != 1
            or self.beta_schedule_type != "geometric"
            or bool(self.randomize_order)
            or self.proposal_acceptance_criteria != "Metropolis"
            or self.keep != "best"
            or self.num_sweeps == 0
            or (self.beta_range is not None and self.beta_range[0] > self.beta_range[1])
        )

    def sampling(self, default_range: Callable[[], Sequence[float]]) -> Sampling:
        """Return the rule; `default_range` is asked where no range is given."""
        if self.num_sweeps == 0:
            return Sampling((), keep_last=True)  # the initial states as they are
        if self.beta_schedule_type == "custom":
            betas = self._custom()
        else:
            hot, cold = default_range() if self.beta_range is None else self.beta_range
            sweeps = _DEFAULT_SWEEPS if self.num_sweeps is None else self.num_sweeps
            count = max(1, sweeps // self.num_sweeps_per_beta)
            space = np.linspace if self.beta_schedule_type == "linear" else np.geomspace
            betas = np.array([float(cold)]) if count == 1 else space(float(hot), float(cold), count)
        return Sampling(
            tuple(np.repeat(betas, self.num_sweeps_per_beta).tolist()),
            self.proposal_acceptance_criteria == "Gibbs",
            bool(self.randomize_order),
            self.keep == "last",
        )

    def _custom(self) -> npt.NDArray[Any]:
        betas = real_array("beta_schedule", self.beta_schedule).astype(np.float64)
        if betas.ndim != 1 or not len(betas):
            raise ValueError(f"beta_schedule must have shape (k,) with k >= 1, but has shape {betas.shape}")
        check_finite("beta_schedule", betas)
        if betas.min() < 0:
            raise ValueError(f"beta_schedule must not be negative, but has {betas.min()}")
        sweeps = len(betas) * self.num_sweeps_per_beta
        if self.num_sweeps not in (None, sweeps):
            raise ValueError(
                f"num_sweeps must be None or {sweeps} for this beta_schedule, but is {self.num_sweeps}"
            )
        if self.beta_range is not None and list(self.beta_range) != [betas[0], betas[-1]]:
            raise ValueError(
                f"beta_range must be None or the ends of beta_schedule, but is {self.beta_range!r}"
            )
        return betas


def _check_range(value: Any, least_is_zero: bool) -> None:
    if not isinstance(value, Sequence | np.ndarray) or isinstance(value, str) or len(value) != 2:
        raise ValueError(f"beta_range must be (hot, cold), two numbers, but is {value!r}")
    for beta in value:
        check_number("beta_range", beta)
        if beta < 0 or (beta == 0 and not least_is_zero):
            raise ValueError(f"beta_range must be positive, but is {value!r}")
