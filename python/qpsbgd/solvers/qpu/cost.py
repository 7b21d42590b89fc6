"""QPU time: the estimate for a submission, and the account of time spent and reserved."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from qpsbgd.solvers.qpu.errors import QPUBudgetError

__all__ = ["DEFAULT_TIMING_DATA", "Ledger", "TimingModel", "access_time"]

DEFAULT_TIMING_DATA: Mapping[str, Any] = MappingProxyType(
    {
        "version": "1.0.0",
        "typical_programming_time": 14072.88,
        "default_programming_thermalization": 1000.0,
        "default_annealing_time": 20.0,
        "readout_time_model": "pwl_log_log",
        "readout_time_model_parameters": [
            *(0.0, 0.7699665876947938, 1.7242758696010096),
            *(2.711975459489206, 3.1639057672764026, 3.750276915153992),
            *(1.539131714800995, 1.8726623164229292, 2.125631787097315),
            *(2.332672340068556, 2.371606651233025, 2.3716219271760215),
        ],
        "qpu_delay_time_per_sample": 20.54,
        "default_readout_thermalization": 0.0,
    }
)
"""What is assumed of a sampler that does not say: ``problem_timing_data``, in microseconds, of the Advantage
system 4.1 in August 2022, as dwave-cloud-client's mock solver has it."""


def access_time(
    data: Mapping[str, Any], num_qubits: int, num_reads: int, annealing_time: float | None = None
) -> float:
    """QPU access time of one submission in seconds, by the timing model 1.0 of D-Wave's solvers.

    Programming once, and for each read annealing, readout, delay and thermalization; readout grows with the
    number of qubits.

    Parameters
    ----------
    data : mapping
        A solver's ``problem_timing_data``, in microseconds.
    num_qubits, num_reads : int
        Of the submission.
    annealing_time : float, optional
        Microseconds; the solver's default if not given.

    Raises
    ------
    ValueError
        If the data are of another model or incomplete.

    Examples
    --------
    >>> round(access_time(DEFAULT_TIMING_DATA, num_qubits=60, num_reads=100), 4)
    0.0328
    """
    version = str(data.get("version", ""))
    if not version.startswith("1.0."):
        raise ValueError(f"timing data of version {version!r}, expected 1.0.x")
    try:
        points = np.asarray(data["readout_time_model_parameters"], dtype=np.float64)
        positions, values = np.split(points, 2)
        if data["readout_time_model"] == "pwl_log_log":
            readout = 10 ** np.interp(np.log10(num_qubits), positions, values)
        elif data["readout_time_model"] == "pwl_linear":
            readout = np.interp(num_qubits, positions, values)
        else:
            raise ValueError(f"timing data with readout_time_model {data['readout_time_model']!r}")
        annealing = data["default_annealing_time"] if annealing_time is None else annealing_time
        per_read = (
            annealing + readout + data["qpu_delay_time_per_sample"] + data["default_readout_thermalization"]
        )
        once = data["typical_programming_time"] + data["default_programming_thermalization"]
    except KeyError as missing:
        raise ValueError(f"timing data without {missing}") from None
    return float(once + num_reads * per_read) * 1e-6


class TimingModel:
    """Estimates the QPU time of submissions to one sampler.

    Asks, in this order: the timing data given; the sampler's own ``solver.estimate_qpu_access_time``; its
    ``problem_timing_data`` property; `DEFAULT_TIMING_DATA`.

    Parameters
    ----------
    sampler : dimod.Structured
        The sampler.
    data : mapping, optional
        Timing data to use instead of the sampler's.

    Attributes
    ----------
    source : str
        Where the figures come from, for messages.
    """

    def __init__(self, sampler: Any, data: Mapping[str, Any] | None = None) -> None:
        own = getattr(getattr(sampler, "solver", None), "estimate_qpu_access_time", None)
        known = sampler.properties.get("problem_timing_data")
        self._own = own if data is None and callable(own) else None
        self._data: Mapping[str, Any] = data or known or DEFAULT_TIMING_DATA
        if data is not None:
            self.source = "the timing data given"
        elif self._own is not None or known:
            self.source = "the solver's timing data"
        else:
            self.source = "the timing data of an Advantage system, since the sampler has none"

    def seconds(self, num_qubits: int, num_reads: int, annealing_time: float | None) -> float:
        """Estimated QPU access time of one submission; annealing_time in microseconds."""
        if self._own is None:
            return access_time(self._data, num_qubits, num_reads, annealing_time)
        asked = {} if annealing_time is None else {"annealing_time": annealing_time}
        return float(self._own(num_qubits, num_reads=num_reads, **asked)) * 1e-6


class Ledger:
    """QPU seconds spent and promised, against a limit.

    Attributes
    ----------
    spent : float
        QPU seconds of answered submissions, as the sampler reported them, and the estimates of those that did
        not answer in time.
    reserved : float
        Estimates of what is under way.

    Examples
    --------
    >>> ledger = Ledger(limit=1.0)
    >>> ledger.reserve(0.75, "a step")
    >>> ledger.settle(0.75, 0.5)
    >>> ledger.spent, ledger.reserved
    (0.5, 0.0)
    """

    def __init__(self, limit: float | None = None) -> None:
        self.limit = limit
        self.spent = 0.0
        self.reserved = 0.0

    def check(self, seconds: float, what: str) -> None:
        """Raise if this does not fit into what the limit leaves.

        Raises
        ------
        QPUBudgetError
            With the estimate.
        """
        if self.limit is not None and self.spent + self.reserved + seconds > self.limit:
            used = f"{self.spent:.3g} s spent"
            if self.reserved > 1e-12:
                used += f", {self.reserved:.3g} s under way"
            raise QPUBudgetError(
                f"{what} would take about {seconds:.3g} s of QPU time; "
                f"max_qpu_seconds is {self.limit:g} ({used})"
            )

    def reserve(self, seconds: float, what: str) -> None:
        """Promise an estimate, or refuse it as `check` does."""
        self.check(seconds, what)
        self.reserved += seconds

    def settle(self, reserved: float, spent: float) -> None:
        """Replace an estimate by what it came to; 0 for what was never run."""
        self.reserved = max(0.0, self.reserved - reserved)
        self.spent += spent
