"""The argument `presolve`: what it may be, and what it goes with."""

from __future__ import annotations

from typing import Any

from qpsbgd.problem.ising import CSRCouplings, IsingProblem

__all__ = ["check_presolve", "check_presolve_fits"]


def check_presolve(value: Any) -> None:
    """Raise unless `value` is "auto", True or False."""
    if not isinstance(value, bool) and not (isinstance(value, str) and value == "auto"):
        raise ValueError(f"presolve must be 'auto', True or False, but is {value!r}")


def check_presolve_fits(
    presolve: str | bool, problem: IsingProblem, *, num_best: int | None, sampling: object
) -> None:
    """Raise a ValueError where presolve is wanted and cannot serve the problem, or what else is wanted.

    Examples
    --------
    >>> from qpsbgd.problem import ising_problem
    >>> check_presolve_fits(True, ising_problem(None, [[0.0]]), num_best=None, sampling=None)
    Traceback (most recent call last):
    ...
    ValueError: presolve must be 'auto' or False with a dense matrix: give a sparse one
    """
    if presolve is not True:
        return
    faults = {
        "a dense matrix: give a sparse one": not isinstance(problem.J, CSRCouplings),
        f"a batch of {problem.num_problems} problems": problem.num_problems > 1,
        "initial_states": problem.initial_states is not None,
        "num_best": num_best is not None,
        "a schedule, acceptance or keep of its own": sampling is not None,
    }
    for fault, found in faults.items():
        if found:
            raise ValueError(f"presolve must be 'auto' or False with {fault}")
