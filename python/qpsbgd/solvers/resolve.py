"""`resolve_solver`: the `solver=` argument of users as a solver."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any, Literal, TypeAlias

from qpsbgd.extras import needed_for
from qpsbgd.solvers.protocol import QuboSolver

__all__ = ["Solver", "resolve_solver"]

Solver: TypeAlias = QuboSolver | Literal["native", "device"]

SOLVERS = ("auto", "native", "neal", "qpu")


def resolve_solver(solver: Any, *, on_device: bool = False) -> Solver:
    """Return what a `solver=` argument means: "native", or an object with ``solve(problem, *, seed)``.

    "auto" is "native", unless the environment has ``QPSBGD_SOLVER=qpu`` and a D-Wave token is configured;
    "neal" is simulated annealing from dwave-samplers; "qpu" is a `QPUSolver` with its defaults, which opens
    nothing yet. A `dimod.Sampler` gets one model a row, one with a QPU's topology many rows at once.

    "device" is the built-in descent on the device of a weight. `on_device` tells that the caller knows it.

    Raises
    ------
    ValueError
        If the name is unknown, or is "device" and the caller works on the host.
    QPUConfigError
        If "qpu" is chosen and no token is configured.
    TypeError
        If an object is neither a `QuboSolver` nor a `dimod.Sampler`.
    ImportError
        If "neal" or "qpu" is chosen and what it needs is not installed.

    Examples
    --------
    >>> resolve_solver("auto")
    'native'
    """
    if isinstance(solver, str) and solver == "auto":
        return _automatic_solver()
    if isinstance(solver, str) and solver == "native":
        return "native"
    if isinstance(solver, str) and solver == "device" and on_device:
        return "device"
    if isinstance(solver, str) and solver == "qpu":
        from qpsbgd.solvers.qpu import QPUSolver
        from qpsbgd.solvers.qpu.config import require_token

        chosen = QPUSolver()
        require_token({})
        return chosen
    if isinstance(solver, str) and solver == "neal":
        with needed_for("solver 'neal'", "dwave-samplers", "ocean"):
            from dwave.samplers import SimulatedAnnealingSampler
        solver = SimulatedAnnealingSampler()
    if isinstance(solver, str):
        known = (*SOLVERS, "device") if on_device else SOLVERS
        raise ValueError(
            f"Invalid solver: {solver!r} (expected one of {known}, a dimod.Sampler, or a QuboSolver)"
        )
    if isinstance(solver, QuboSolver):
        return solver
    dimod = sys.modules.get("dimod")  # a sampler of dimod's cannot be there without it
    if dimod is not None and isinstance(solver, dimod.Sampler):
        if isinstance(solver, dimod.Structured) and "topology" in getattr(solver, "properties", {}):
            from qpsbgd.solvers.qpu import QPUSolver

            return QPUSolver(solver)
        from qpsbgd.solvers.dimod import DimodSolver

        return DimodSolver(solver)
    raise TypeError(
        f"solver must be one of {SOLVERS}, a dimod.Sampler or have solve(problem, *, seed), "
        f"but is {type(solver).__name__}"
    )


def _automatic_solver() -> Solver:
    """Choose the native solver, or the QPU where the environment asks for it and a token is configured."""
    asked = os.environ.get("QPSBGD_SOLVER", "native")
    if asked not in ("native", "qpu"):
        raise ValueError(f"QPSBGD_SOLVER is {asked!r}, expected 'native' or 'qpu'")
    if asked == "native":
        return "native"
    from qpsbgd.solvers.qpu import QPUConfigError

    try:
        return resolve_solver("qpu")
    except (ImportError, QPUConfigError) as error:
        warnings.warn(f"QPSBGD_SOLVER is 'qpu', but {error}; using the native solver", stacklevel=4)
        return "native"
