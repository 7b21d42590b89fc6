"""Figures as plain functions: agreement of steps with the full gradient, and gaps of solvers."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch

from qpsbgd.problem.ising import CSRCouplings, IsingProblem
from qpsbgd.solvers.native import NativeSolver
from qpsbgd.solvers.protocol import QuboSolver

__all__ = ["QuboGap", "cdp", "cosine", "fraction", "qubo_gap", "sign_agreement"]

Array: TypeAlias = npt.ArrayLike | torch.Tensor
Doubles: TypeAlias = npt.NDArray[np.float64]

_REFERENCE = NativeSolver(num_reads=16, num_sweeps=1000)
"""Exhaustive up to 20 spins; beyond that, annealing far longer than a training step can afford."""


def cdp(steps: Array, full_gradient: Array) -> Doubles:
    """Fraction of steps that descend the full loss, ``P(⟨step, full gradient⟩ > 0)``, for every row.

    Parameters
    ----------
    steps : array or Tensor (k, m, d)
        What is subtracted from the weights in k steps, in any unit: the projections G, or sign(g). (m, d) for
        one step. For one figure for a whole layer reshape m, d to 1, m d.
    full_gradient : array or Tensor (m, d) or (k, m, d)
        Gradient over all training samples, at the weights where each step was taken.

    Returns
    -------
    float64 array (m,)
        In [0, 1]; NaN for a row whose full gradient is zero in every step. Such steps are left out.

    Raises
    ------
    ValueError
        If the shapes do not fit together, or a value is not finite.

    Examples
    --------
    >>> cdp([[[1, -1]], [[-1, -1]]], [[0.3, 0.1]])
    array([0.5])
    """
    step, gradient = _aligned("steps", steps, full_gradient)
    return fraction(np.einsum("kmd,kmd->km", step, gradient) > 0, np.any(gradient != 0, axis=2))


def sign_agreement(batch_gradients: Array, full_gradient: Array) -> Doubles:
    """Fraction of batches whose gradient has the full one's sign (SP), for every coordinate.

    Parameters
    ----------
    batch_gradients : array or Tensor (k, m, d)
        Gradients of k batches. (m, d) for one.
    full_gradient : array or Tensor (m, d) or (k, m, d)
        Gradient over all training samples, at the weights of each batch gradient.

    Returns
    -------
    float64 array (m, d)
        In [0, 1]; NaN where the full gradient is zero in every batch, as behind an input that is always
        zero. Such batches are left out of a coordinate. A batch gradient of 0 beside another sign disagrees.

    Raises
    ------
    ValueError
        If the shapes do not fit together, or a value is not finite.

    Examples
    --------
    >>> sign_agreement([[[0.2, 0.1]], [[-3.0, 0.1]]], [[0.3, 0.1]])
    array([[0.5, 1. ]])
    """
    batch, gradient = _aligned("batch_gradients", batch_gradients, full_gradient)
    return fraction(np.sign(batch) == np.sign(gradient), gradient != 0)


def cosine(steps: Array, full_gradient: Array) -> Doubles:
    """Cosine of the angle between step and full gradient, over the last axis.

    Parameters
    ----------
    steps, full_gradient : array or Tensor (..., d)
        Of one shape, or of shapes that numpy broadcasts to one.

    Returns
    -------
    float64 array (...)
        In [-1, 1]; NaN where either is all zero.

    Raises
    ------
    ValueError
        If the shapes do not fit together, or a value is not finite.

    Examples
    --------
    >>> cosine([[3.0, 4.0], [0.0, 0.0]], [1.0, 0.0])
    array([0.6, nan])
    """
    step, gradient = _doubles("steps", steps), _doubles("full_gradient", full_gradient)
    try:
        step, gradient = np.broadcast_arrays(step, gradient)
    except ValueError:
        raise ValueError(f"steps has shape {step.shape} but full_gradient has {gradient.shape}") from None
    # Divided first, so that products of tiny gradients do not underflow.
    product = np.einsum("...d,...d->...", _unit(step), _unit(gradient))
    return np.asarray(np.clip(product, -1.0, 1.0), dtype=np.float64)


class QuboGap(NamedTuple):
    """Distance of a batch's answers from the best known ones, as `qubo_gap` returns it."""

    absolute: Doubles
    """Energy above the reference, (b,), never negative."""
    relative: Doubles
    """`absolute` over how far the reference lies below the mean energy of all states, (b,)."""
    proven: bool
    """Whether the references are proven optima; otherwise the gaps are lower bounds."""
    best_samples: npt.NDArray[np.int8]
    """The states of the references, (b, n)."""


def qubo_gap(
    problem: IsingProblem, samples: npt.ArrayLike, *, reference: QuboSolver | None = None, seed: int = 0
) -> QuboGap:
    """Compare a solver's answers with proven optima, or with a much longer search.

    The relative gap is ``(E - E*) / (E_mean - E*)``, where E_mean is the mean energy of all 2^n states (the
    constant part of the energy): 0 at the optimum, 1 for a guess in the mean, whatever is added to the
    energies and whatever unit they have. Where all states have one energy it is 0.

    Parameters
    ----------
    problem : IsingProblem
        b problems of n spins, such as `qpsbgd.projection.row_problems` makes of a layer.
    samples : int array (b, n) of -1 and +1
        One answer to each problem, such as ``solutions.best_samples``.
    reference : QuboSolver, optional
        What finds E*; the better of it and of `samples` counts. By default the native solver: exhaustive
        search for n <= 20 (proven), beyond that 16 reads of 1000 sweeps of annealing.
    seed : int
        Seed of the reference.

    Returns
    -------
    QuboGap
        Gaps of each problem, and what they were measured against.

    Raises
    ------
    ValueError
        If `samples` has another shape or other values.

    Examples
    --------
    >>> from qpsbgd.problem import ising_problem
    >>> problem = ising_problem([1.0, 0.0], [[0.0, -1.0], [0.0, 0.0]])
    >>> gap = qubo_gap(problem, [[1, 1]])
    >>> gap.absolute, gap.relative, gap.proven
    (array([2.]), array([1.]), True)
    """
    given = np.asarray(samples)
    shape = (problem.num_problems, problem.num_spins)
    if given.shape != shape:
        raise ValueError(f"samples has shape {given.shape}, expected {shape}")
    if not np.isin(given, (-1, 1)).all():
        raise ValueError("samples must hold only -1 and +1")
    given = given.astype(np.int8)
    solutions = (_REFERENCE if reference is None else reference).solve(problem, seed=seed)
    found = solutions.best_samples.astype(np.int8)
    if problem.binary:
        found = (2 * found - 1).astype(np.int8)
    energies = problem.energies(np.stack([given, found], axis=1))
    absolute = energies[:, 0] - energies.min(axis=1)
    reach = _mean_energy(problem) - energies.min(axis=1)
    relative = np.divide(absolute, reach, out=np.zeros_like(absolute), where=reach > 0)
    best = np.where((energies[:, 0] <= energies[:, 1])[:, None], given, found)
    return QuboGap(absolute, relative, bool(solutions.info.get("proven_optimal", False)), best)


def _mean_energy(problem: IsingProblem) -> Doubles:
    """Mean energy of all states (b,): the offset and the diagonal couplings, since s_k² = 1."""
    J = problem.J
    if isinstance(J, CSRCouplings):
        rows, columns, values = J.triplets()
        diagonal = values[rows == columns].sum(dtype=np.float64)
    else:
        diagonal = np.trace(J, axis1=-2, axis2=-1, dtype=np.float64)
    return cast(Doubles, problem.offset + problem.coupling_scale * diagonal)


def _doubles(name: str, value: Array) -> Doubles:
    """Make a float64 array of numbers or of a tensor on any device, all finite."""
    if isinstance(value, torch.Tensor):
        value = value.detach().to("cpu", torch.float64).numpy()
    array = np.asarray(value, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} of shape {array.shape} holds values that are not finite numbers")
    return array


def _aligned(name: str, batches: Array, full_gradient: Array) -> tuple[Doubles, Doubles]:
    """Both arguments as (k, m, d)."""
    batch, gradient = _doubles(name, batches), _doubles("full_gradient", full_gradient)
    if batch.ndim == 2:
        batch = batch[None]
    if batch.ndim != 3 or 0 in batch.shape:
        raise ValueError(f"{name} must have shape (k, m, d) or (m, d), but has shape {batch.shape}")
    if gradient.shape not in (batch.shape, batch.shape[1:]):
        raise ValueError(
            f"full_gradient has shape {gradient.shape}, expected {batch.shape[1:]} or {batch.shape}"
        )
    return batch, np.broadcast_to(gradient, batch.shape)


def fraction(hits: npt.NDArray[np.bool_], counted: npt.NDArray[np.bool_]) -> Doubles:
    """Fraction of hits among what counts, over the first axis; NaN where nothing counts.

    Examples
    --------
    >>> fraction(np.array([[True, True], [False, True]]), np.array([[True, False], [True, False]]))
    array([0.5, nan])
    """
    total = counted.sum(axis=0)
    hit = (hits & counted).sum(axis=0)
    return cast(Doubles, np.divide(hit, total, out=np.full(total.shape, np.nan), where=total > 0))


def _unit(vectors: Doubles) -> Doubles:
    """Scale vectors to length 1 over the last axis; zero ones become NaN."""
    largest = np.abs(vectors).max(axis=-1, keepdims=True)
    scaled = np.divide(vectors, largest, out=np.full(vectors.shape, np.nan), where=largest > 0)
    return cast(Doubles, scaled / np.linalg.norm(scaled, axis=-1, keepdims=True))
