"""Least squares over small alphabets: minimise ||y_j - X g_j||² for every column y_j of Y.

It is what a layer's projection, detection in multiple-antenna receivers, binary factorisation and
quantisation have in common. All columns share one Gram matrix, which the native core assembles once.

The way of a call:

1. An alphabet of L levels, u = -(L-1), ..., L-1 in steps of 2, is written in spins: ``u = Σ_k w_k s_k`` with
   w = 1, 2, 4, ... and a last weight such that Σ w_k = L - 1. The bits of all columns are one batch of
   Ising problems: ``J = (w w') ⊗ X'X``, ``h_j = -2 w ⊗ X'y_j``.
2. With more than two levels a bit may move a symbol by several levels, which makes the landscape of bits
   rougher than the problem, and nearly dependent columns of X leave long valleys. So a beam along the
   Cholesky factor gives a second answer (`qpsbgd.solvers.beam`), and both are refined: every symbol may stay
   or move one level the way its residual points, all together. That is again a batch of Ising problems, over
   X'X itself, and it never rises (`_refine`).
3. The better of both is kept for every column, and single symbols move while that helps (`_settle`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qpsbgd import _core
from qpsbgd.problem.arrays import contiguous, real_array
from qpsbgd.problem.checks import check_bool, check_finite, check_integer, seed_or_random
from qpsbgd.problem.ising import IsingProblem
from qpsbgd.problem.memory import check_memory
from qpsbgd.solvers.beam import beam_search
from qpsbgd.solvers.native import Method, NativeSolver, default_num_threads

__all__ = ["LeastSquares", "binary_least_squares"]

Floats = npt.NDArray[np.float64]

_MOST_LEVELS = 2**16
_ROUNDS = 24
_PATIENCE = 3
_BEAM = 32
_LARGEST_BEAM = 256
"""Unknowns up to which a beam pays."""
_SECONDS_OF_BEAM = 5e-9
"""For each of its multiplications, roughly; a beam for which there is no time is left out."""
_BITS_SHARE = 0.5
"""Part of a time limit that the search in bits takes, where symbols are refined after it."""


@dataclass(frozen=True)
class LeastSquares:
    """What `binary_least_squares` returns.

    Attributes
    ----------
    G : array (d, m), or (d,) where Y was a vector
        Symbols, integers in the floating dtype of Y, of the same kind as Y.
    residual_norms : float64 array (m,), or a number where Y was a vector
        ``||y_j - X g_j||``, from the caller's numbers.
    proven : bool array (m,), or a bool where Y was a vector
        Whether the column was searched exhaustively.
    info : dict
        ``method`` and ``sweeps`` of the search in bits, ``bits`` of a column, ``rounds`` of refinement,
        ``seed``.
    """

    G: Any
    residual_norms: Any
    proven: Any
    info: Mapping[str, Any]


def binary_least_squares(
    X: Any,
    Y: Any,
    *,
    levels: int = 2,
    unsigned: bool = False,
    method: Method = "auto",
    num_reads: int = 1,
    num_sweeps: int | None = None,
    time_limit: float | None = None,
    seed: int | None = None,
    num_threads: int | None = None,
) -> LeastSquares:
    """Minimise ``||y_j - X g_j||²`` for every column of Y over vectors g_j of small integers.

    Parameters
    ----------
    X : array or torch.Tensor (n, d) of real numbers
        Complex systems are stacked: ``[[X.real, -X.imag], [X.imag, X.real]]``.
    Y : array or torch.Tensor (n, m) or (n,) of real numbers
        Right-hand sides; complex ones stack as ``[Y.real, Y.imag]``.
    levels : int
        Size of the alphabet, 2 to 65,536. g is in {-1, +1} for 2 levels, {-3, -1, 1, 3} for 4
        (pulse-amplitude modulation), and so on: ``levels`` integers in steps of 2 around 0.
    unsigned : bool
        The alphabet is {0, 1, ..., levels - 1} instead.
    method, num_reads, num_sweeps, time_limit, num_threads
        Of the search in bits, as in `solve_ising`: "auto" proves its answer where a column has at most 20
        bits, "exact" up to 24. A column has d bits for 2 levels, 2d for 4, and so on.
    seed : int, optional
        0 <= seed < 2**64. None draws one.

    Returns
    -------
    LeastSquares
        No single symbol of an answer can move and lower the residual by more than rounding error.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it should be; the message names it.
    MemoryError
        If the matrix of d times the bits of a symbol, squared, does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> random = np.random.default_rng(0)
    >>> X, G = random.normal(size=(12, 8)), random.choice([-3, -1, 1, 3], size=(8, 5))
    >>> answer = binary_least_squares(X, X @ G, levels=4, seed=0)
    >>> bool((answer.G == G).all()), answer.proven.tolist()
    (True, [True, True, True, True, True])
    """
    check_integer("levels", levels, 2, _MOST_LEVELS)
    check_bool("unsigned", unsigned)
    solver = NativeSolver(
        method=method,
        num_reads=num_reads,
        num_sweeps=num_sweeps,
        time_limit=time_limit,
        num_threads=num_threads,
    )
    begin = time.perf_counter()
    drawn = seed_or_random(seed)
    x, y = _matrix("X", X), _matrix("Y", Y)
    vector = y.ndim == 1
    y = y[:, None] if vector else y
    if len(x) != len(y):
        raise ValueError(f"Y has {len(y)} rows but X has shape {x.shape}; their rows are the equations")
    problem = _Normal.of(x, y, levels, unsigned, solver.num_threads)
    symbols, info = _search(problem, solver, drawn)
    proven = bool(info["proven_optimal"])
    rounds = 0
    if not proven:
        if levels > 2:
            left = None if time_limit is None else time_limit - (time.perf_counter() - begin)
            symbols, rounds = _improve(problem, symbols, solver, drawn, left)
        symbols = _settle(problem, symbols)
    G = (symbols + (levels - 1)) / 2 if unsigned else symbols
    norms = np.linalg.norm(y - x @ G, axis=0)
    facts = {
        "method": info["method"],
        "sweeps": info["sweeps"],
        "bits": x.shape[1] * len(_weights(levels)),
        "rounds": rounds,
        "seed": drawn,
    }
    if vector:
        return LeastSquares(_like(Y, G[:, 0]), float(norms[0]), proven, facts)
    return LeastSquares(_like(Y, G), norms, np.full(y.shape[1], proven), facts)


class _Normal(NamedTuple):
    """The normal equations of the symbols u: minimise u'Au - 2 p_j'u, u in -(L-1), ..., L-1."""

    A: Floats  # (d, d)
    p: Floats  # (d, m)
    levels: int

    @classmethod
    def of(cls, x: Floats, y: Floats, levels: int, unsigned: bool, num_threads: int | None) -> _Normal:
        # A common factor of X and Y changes no minimum; a power of two brings them near 1 without rounding.
        _, exponent = math.frexp(max(np.abs(x).max(), np.abs(y).max()))
        x, y = np.ldexp(x, -exponent), np.ldexp(y, -exponent)
        if unsigned:  # g = (u + L - 1) / 2
            x = x / 2
            y = y - (levels - 1) * x.sum(axis=1, keepdims=True)
        d = x.shape[1]
        check_memory(f"Gram matrix of X with shape {x.shape}", 8 * d * d)
        threads = default_num_threads() if num_threads is None else num_threads
        A, p = _core.gram_and_weight_gradient(
            np.ascontiguousarray(x), np.ascontiguousarray(y), 1.0, 1.0, threads
        )
        return cls(A, p.T, levels)

    def values(self, u: Floats) -> Floats:
        """Squared residuals less ||y||², (m,)."""
        values: Floats = np.einsum("dm,dm->m", u, self.A @ u - 2 * self.p)
        return values


def _matrix(name: str, value: Any) -> Floats:
    """X or Y as float64, finite and not empty; tensors come from any device."""
    if hasattr(value, "detach"):
        if value.is_complex():
            raise TypeError(_complex(name))
        value = value.detach().cpu().double().numpy()
    elif np.iscomplexobj(value):
        raise TypeError(_complex(name))
    array = real_array(name, value)
    if array.ndim not in ((2,) if name == "X" else (1, 2)) or 0 in array.shape:
        expected = "(n, d)" if name == "X" else "(n, m) or (n,)"
        raise ValueError(f"{name} has shape {array.shape}, expected {expected}, not empty")
    check_finite(name, array)
    return contiguous(name, array, np.float64)


def _complex(name: str) -> str:
    stacked = {"X": "[[X.real, -X.imag], [X.imag, X.real]]", "Y": "[Y.real, Y.imag]"}
    return f"{name} must hold real numbers, but is complex: stack it as {stacked[name]}"


def _like(Y: Any, G: Floats) -> Any:
    """Symbols of the same kind, and in the floating dtype, of Y."""
    if hasattr(Y, "detach"):
        made = Y.new_tensor(G)
        return made if Y.is_floating_point() else made.float()
    dtype = np.asarray(Y).dtype
    return G.astype(dtype if dtype.kind == "f" else np.float64)


def _weights(levels: int) -> Floats:
    """Weights w of the spins of a symbol: Σ w_k s_k takes every level, and no other value."""
    weights = []
    left = levels - 1
    power = 1
    while left > 0:
        weights.append(min(power, left))
        left -= weights[-1]
        power *= 2
    return np.array(weights, dtype=np.float64)


def _search(problem: _Normal, solver: NativeSolver, seed: int) -> tuple[Floats, Mapping[str, Any]]:
    """Search in bits; return the symbols (d, m)."""
    weights = _weights(problem.levels)
    d, m = problem.p.shape
    bits = len(weights) * d
    if len(weights) > 1:
        check_memory(f"couplings of {bits} bits", 8 * bits * bits)
        if solver.time_limit is not None:
            solver = replace(solver, time_limit=_BITS_SHARE * solver.time_limit)
    J = np.kron(np.outer(weights, weights), problem.A).astype(np.float64, copy=False)
    h = np.kron(weights, -2.0 * problem.p.T).astype(np.float64, copy=False)
    solutions = solver.solve(IsingProblem(h, J, np.zeros(m)), seed=seed)
    spins = solutions.best_samples.reshape(m, len(weights), d)
    return np.einsum("k,mkd->dm", weights, spins), solutions.info


def _improve(
    problem: _Normal, symbols: Floats, solver: NativeSolver, seed: int, seconds: float | None
) -> tuple[Floats, int]:
    """Return the better of the search's and a beam's symbols, both refined, and the rounds that took."""
    starts = [symbols]
    begin = time.perf_counter()
    d, m = problem.p.shape
    in_time = seconds is None or _SECONDS_OF_BEAM * d * d * m * _BEAM <= seconds
    if d <= _LARGEST_BEAM and in_time:
        starts.append(beam_search(problem.A, problem.p, problem.levels, _BEAM))
    both = problem._replace(p=np.concatenate([problem.p] * len(starts), axis=1))
    left = None if seconds is None else seconds - (time.perf_counter() - begin)
    refined, rounds = _refine(both, np.concatenate(starts, axis=1), solver, seed, left)
    candidates = refined.reshape(len(refined), len(starts), -1)
    best = both.values(refined).reshape(len(starts), -1).argmin(axis=0)
    return np.take_along_axis(candidates, best[None, None, :], axis=1)[:, 0], rounds


def _nearest(real: Floats, levels: int) -> Floats:
    edge = levels - 1
    symbols: Floats = 2.0 * np.clip(np.rint((real + edge) / 2), 0, edge) - edge
    return symbols


def _refine(
    problem: _Normal, u: Floats, solver: NativeSolver, seed: int, seconds: float | None
) -> tuple[Floats, int]:
    """Let every symbol stay or move by one level, in rounds, until none gains or the time is up.

    With the direction c in ±1, u + c + s is u for s = -c and u + 2c for s = c: least squares over spins
    again, with the same Gram matrix. Directions follow the residual; a column that has gained nothing tries
    random ones, and rests after `_PATIENCE` such rounds.
    """
    edge = problem.levels - 1
    end = None if seconds is None else time.perf_counter() + seconds
    method = "tabu" if solver.method in ("exact", "auto") else solver.method
    random = np.random.default_rng(seed)
    idle = np.zeros(u.shape[1], dtype=np.int64)  # rounds without a gain
    u = u.copy()
    for rounds in range(_ROUNDS):
        columns = np.flatnonzero(idle <= _PATIENCE)
        left = None if end is None else (end - time.perf_counter()) / (_ROUNDS - rounds)
        if not len(columns) or (left is not None and left <= 0):
            return u, rounds
        part = problem._replace(p=problem.p[:, columns])
        now = u[:, columns]
        c = np.where(part.p >= part.A @ now, 1.0, -1.0)
        c = np.where(idle[columns] == 0, c, random.choice([-1.0, 1.0], size=c.shape))
        c = np.where(now >= edge, -1.0, np.where(now <= -edge, 1.0, c))
        fields = -2.0 * (part.p - part.A @ (now + c))
        starts = np.ascontiguousarray((-c).T[:, None, :], dtype=np.int8)
        batch = IsingProblem(
            np.ascontiguousarray(fields.T), part.A, np.zeros(len(columns)), initial_states=starts
        )
        round_solver = replace(solver, method=method, time_limit=left)
        spins = round_solver.solve(batch, seed=(seed + 1 + rounds) % 2**64).best_samples.T
        moved = now + c + spins
        better = part.values(moved) < part.values(now)
        u[:, columns[better]] = moved[:, better]
        idle[columns] = np.where(better, 0, idle[columns] + 1)
    return u, _ROUNDS


def _settle(problem: _Normal, u: Floats) -> Floats:
    """Single symbols to their best levels, until none gains more than rounding error: O(d²m) a pass."""
    A, p, levels = problem
    diagonal = np.diag(A)
    u = u.copy()
    for _ in range(10 * levels * len(A)):  # every pass lowers the values; the bound guards against rounding
        gradient = p - A @ u
        size = np.abs(p) + np.abs(A) @ np.abs(u)
        moved = False
        for i in np.flatnonzero(diagonal > 0):
            best = _nearest(u[i] + gradient[i] / diagonal[i], levels)
            change = best - u[i]
            gain = change * (2 * gradient[i] - change * diagonal[i])
            change = np.where(gain > 64 * np.finfo(np.float64).eps * np.abs(change) * size[i], change, 0.0)
            if change.any():
                moved = True
                u[i] += change
                gradient -= np.outer(A[:, i], change)
        if not moved:
            break
    return u
