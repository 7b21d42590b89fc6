"""What solving a problem costs, roughly: so that the workers of an executor get parts of about equal cost.

The constants are processor time of one thread, measured on a Xeon with AVX-512. Only their ratios matter, and
a factor of three does no harm: a part is small beside the whole.
"""

from __future__ import annotations

from qpsbgd.problem.ising import CSRCouplings, IsingProblem

__all__ = ["num_entries", "problem_seconds"]

_CALL = 2e-6
_EXACT_SPINS = 20
_EXACT, _EXACT_STATE = 1.2e-5, 1e-11
"""Seconds: of any problem; of an exhaustive search, and of each of its 2^n states."""

_DENSE_ENTRY, _SPARSE_ENTRY = 1.2e-8, 3e-8
"""Seconds for a coupling to be read, rounded and descended by, once a read at most."""

_PROPOSAL = {"dense": 1.4e-9, "sparse": 3.5e-9}
_FLIP = {"dense": 2.6e-8, "sparse": 2.6e-7}
_FLIP_ENTRY = 3.3e-11
"""Seconds of annealing a spin once; of a flip in tabu search, and of each coupling of the spin."""

_SWEEPS = {"anneal": 1000, "tabu": 200, "descent": 0}


def num_entries(problem: IsingProblem) -> int:
    """Couplings that the problem holds in memory.

    Examples
    --------
    >>> from qpsbgd.problem import ising_problem
    >>> num_entries(ising_problem([0.0] * 3, [[0.0] * 3] * 3))
    9
    """
    return len(problem.J.data) if isinstance(problem.J, CSRCouplings) else problem.J.size


def problem_seconds(
    problem: IsingProblem,
    method: str = "auto",
    num_reads: int = 1,
    num_sweeps: int | None = None,
    time_limit: float | None = None,
) -> float:
    """Estimate the seconds that one thread takes for a batch of problems, with options of `NativeSolver`.

    Examples
    --------
    >>> import numpy as np
    >>> from qpsbgd.problem import ising_problem
    >>> small, large = (ising_problem(np.zeros(n), np.zeros((n, n))) for n in (10, 1000))
    >>> problem_seconds(large) > 100 * problem_seconds(small)
    True
    """
    if time_limit is not None and num_sweeps is None and method != "exact":
        return time_limit
    n, kind = problem.num_spins, "sparse" if isinstance(problem.J, CSRCouplings) else "dense"
    entries = n * n if kind == "dense" else num_entries(problem)
    if method == "exact" or (method == "auto" and n <= _EXACT_SPINS):
        return problem.num_problems * (_EXACT + _EXACT_STATE * 2.0 ** min(n, 60))
    if method == "auto":
        method = "tabu" if kind == "dense" else "anneal"
    sweeps = _SWEEPS[method] if num_sweeps is None else num_sweeps
    each = n * _PROPOSAL[kind]
    if method == "tabu":
        each = n * _FLIP[kind] + _FLIP_ENTRY * entries
    finish = entries * (_DENSE_ENTRY if kind == "dense" else _SPARSE_ENTRY)
    seconds = problem.num_problems * (_CALL + finish + num_reads * (sweeps * each + 0.2 * finish))
    return seconds if time_limit is None else min(seconds, time_limit)
