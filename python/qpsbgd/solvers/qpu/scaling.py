"""Chain strengths, the scale that brings a row into the hardware's ranges, and the precision that is left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qpsbgd.solvers.qpu.chip.layout import Doubles, Integers, Layout

__all__ = [
    "CONTROL_ERROR",
    "Limits",
    "bounded_fields",
    "chain_strengths",
    "effective_bits",
    "row_scales",
]

CONTROL_ERROR = 0.02
"""Standard deviation of a programmed coupling from what was asked for, where couplings reach from -1 to 1:
the size of the integrated control errors that D-Wave documents for its QPUs."""

_FIELD_MARGIN = 1.25
_TORQUE_PREFACTOR = 1.414

ChainStrength = float | Callable[..., float] | None


@dataclass(frozen=True)
class Limits:
    """What a sampler takes, from its properties; a limit it does not name is infinite.

    Attributes
    ----------
    h, j, chain_j : (float, float)
        Least and largest field, coupling, and coupling inside a chain (``extended_j_range``, if any).
    qubit, group : (float, float) or None
        Least and largest sum of the couplings of one qubit, and of one group of its couplers.
    """

    h: tuple[float, float]
    j: tuple[float, float]
    chain_j: tuple[float, float]
    qubit: tuple[float, float] | None
    group: tuple[float, float] | None

    @classmethod
    def of(cls, properties: Mapping[str, Any]) -> Limits:
        """Read the limits from a sampler's properties."""

        def interval(name: str) -> tuple[float, float] | None:
            value = properties.get(name)
            return None if value is None else (float(value[0]), float(value[1]))

        endless = (-np.inf, np.inf)
        j = interval("j_range") or endless
        return cls(
            interval("h_range") or endless,
            j,
            interval("extended_j_range") or j,
            interval("per_qubit_coupling_range"),
            interval("per_group_coupling_range"),
        )


def bounded_fields(h: Doubles, W: Doubles) -> Doubles:
    """Clip fields that decide their spin alone: no optimum changes, and couplings can be scaled up.

    A spin whose field exceeds the sum of its couplings points against the field in every optimum. So a field
    of 1.25 times that sum has the same effect as any larger one.

    Parameters
    ----------
    h : array (b, n)
        Fields.
    W : array (n, n) or (b, n, n)
        Symmetric couplings.

    Examples
    --------
    >>> bounded_fields(np.array([[50.0, 0.5]]), np.array([[0.0, 1.0], [1.0, 0.0]]))
    array([[1.25, 0.5 ]])
    """
    sums = np.abs(W).sum(axis=-1)
    largest = np.abs(W).max(axis=(-2, -1), initial=0.0)
    bound = _FIELD_MARGIN * np.maximum(sums, largest[..., None])
    bound = np.where(bound > 0, bound, np.inf)
    return np.clip(h, -bound, bound)


def chain_strengths(policy: ChainStrength, h: Doubles, W: Doubles, model: Callable[[int], Any]) -> Doubles:
    """Strength of every row's chains, in the units of its couplings.

    Parameters
    ----------
    policy : float, function or None
        None: uniform torque compensation, ``1.414 rms(W) sqrt(degree)`` over the couplings that are not zero
        (as ``dwave.embedding.chain_strength.uniform_torque_compensation``). A number: that many times the
        row's largest coupling. A function: called with each row's dimod model and None, as Ocean's are.
    h : array (b, n)
        Fields.
    W : array (n, n) or (b, n, n)
        Symmetric couplings.
    model : function
        Gives the dimod model of a row.

    Returns
    -------
    float64 array (b,)
        Positive where a row has couplings at all; 1 or what the function says elsewhere.

    Raises
    ------
    ValueError
        If a function returns no positive finite number.

    Examples
    --------
    >>> W = 3.0 * (np.ones((5, 5)) - np.eye(5))
    >>> chain_strengths(2.0, np.zeros((1, 5)), W, model=lambda row: None)
    array([6.])
    >>> chain_strengths(None, np.zeros((1, 5)), W, model=lambda row: None)
    array([8.484])
    """
    b, n = h.shape
    if callable(policy):
        strengths = np.array([float(policy(model(row), None)) for row in range(b)])
        if not (np.isfinite(strengths).all() and (strengths > 0).all()):
            raise ValueError(f"chain_strength returned {strengths}, expected positive finite numbers")
        return strengths
    if policy is None:
        squares, count = np.square(W).sum(axis=(-2, -1)), np.count_nonzero(W, axis=(-2, -1))
        strengths = _TORQUE_PREFACTOR * np.sqrt(squares / np.maximum(count, 1)) * np.sqrt(count / n)
    else:
        strengths = policy * np.abs(W).max(axis=(-2, -1), initial=0.0)
    # A row of fields alone: its chains must withstand nothing, but hold together.
    strengths = np.where(strengths > 0, strengths, np.maximum(np.abs(h).max(axis=1), 1e-300))
    return np.broadcast_to(strengths, (b,)).astype(np.float64)


def row_scales(
    layout: Layout, fields: Doubles, couplings: Doubles, limits: Limits, groups: npt.NDArray[np.int64] | None
) -> Doubles:
    """Largest factor for each row that keeps all its coefficients and their sums within the limits.

    Parameters
    ----------
    layout : Layout
        Which coefficient belongs to which row.
    fields, couplings : arrays (Q,) and (C,)
        As `Layout.embed` returns them.
    limits : Limits
        Of the sampler.
    groups : int64 array (C, 2), optional
        The group at each end of each coupler: what is limited is the sum of a group's couplings.

    Returns
    -------
    float64 array (rows,)
        1 for a row of zeros.
    """
    excess = np.zeros(layout.rows)  # how many times too large a row is
    _raise_to(excess, layout.qubit_row, _ratio(fields, limits.h))
    between, inside = couplings[: layout.num_between], couplings[layout.num_between :]
    _raise_to(excess, layout.row, _ratio(between, limits.j))
    _raise_to(excess, layout.inside_row, _ratio(inside, limits.chain_j))
    if limits.qubit is not None:
        sums = _sums_at(layout.couplers, couplings, len(layout.qubits))
        _raise_to(excess, layout.qubit_row, _ratio(sums, limits.qubit))
    if limits.group is not None and groups is not None:
        row_of_group = np.zeros(int(groups.max(initial=0)) + 1, dtype=np.int64)
        row_of_group[groups] = layout.coupler_row[:, None]
        _raise_to(excess, row_of_group, _ratio(_sums_at(groups, couplings, len(row_of_group)), limits.group))
    return np.divide(1.0, excess, out=np.ones(layout.rows), where=excess > 0)


def effective_bits(
    layout: Layout, couplings: Doubles, scales: Doubles, control_error: float = CONTROL_ERROR
) -> Doubles:
    """Bits of a row's couplings that stand above the control error: log2 of the largest one over it.

    Parameters
    ----------
    layout, couplings
        As `row_scales`.
    scales : array (rows,)
        What each row is multiplied by.
    control_error : float
        Standard deviation of a programmed coupling.

    Returns
    -------
    float64 array (rows,)
        0 where no coupling stands above the error.
    """
    largest = np.zeros(layout.rows)
    _raise_to(largest, layout.row, np.abs(couplings[: layout.num_between]))
    return np.log2(np.maximum(largest * scales / control_error, 1.0))


def _ratio(values: Doubles, interval: tuple[float, float]) -> Doubles:
    """By what factor each value exceeds its end of the interval; at most 1 inside."""
    low, high = interval
    return np.maximum(np.maximum(values, 0.0) / high, np.minimum(values, 0.0) / low)


def _raise_to(maxima: Doubles, rows: Integers, values: Doubles) -> None:
    np.maximum.at(maxima, rows, values)


def _sums_at(ends: Integers, couplings: Doubles, count: int) -> Doubles:
    """Sum of the couplings that meet in each of `count` places."""
    one, other = (np.bincount(ends[:, end], couplings, count) for end in (0, 1))
    return np.asarray(one + other, dtype=np.float64)
