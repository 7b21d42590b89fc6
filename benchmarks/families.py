"""Random problems of the kinds that people solve, by which the solver's defaults are chosen and checked.

A family makes one problem, or one batch over one matrix, from a size and a seed. Seeds below 100 chose the
rules of ``method="auto"``; seeds from 100 on are held out and check them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Batch:
    """Problems of one kind: minimise s'Js + h's for every row of h (rows, n)."""

    h: Floats
    J: Any

    def energies(self, spins: npt.NDArray[np.int8]) -> Floats:
        """Energy of one state a problem, spins (rows, n), by the definition in float64."""
        s = spins.astype(np.float64)
        energies: Floats = ((self.J @ s.T).T * s).sum(axis=1) + (self.h * s).sum(axis=1)
        return energies


def _from_qubo(Q: Floats) -> Batch:
    """The QUBO x'Qx with x = (1 + s) / 2, less its constant."""
    symmetric = (Q + Q.T) / 2
    J = symmetric / 4
    h = symmetric.sum(axis=1) / 2
    J = J - np.diag(np.diag(J))
    return Batch(h[None, :], J)


def layer(n: int, random: np.random.Generator) -> Batch:
    """Row problems of a layer with n inputs: couplings of rank n / 4, 32 rows over one matrix."""
    samples = max(4, n // 4)
    X = random.normal(size=(samples, n))
    V = random.normal(size=(32, n)) @ X.T
    J = X.T @ X
    return Batch(-2 * V @ X, J - np.diag(np.diag(J)))


def step(n: int, random: np.random.Generator) -> Batch:
    """Rows as an optimizer's step poses them: fields p of the size of A sign(p), inputs that correlate."""
    samples = max(4, n // 4)
    X = np.maximum(random.normal(size=(samples, n)) + 0.5 * random.normal(size=(samples, 1)), 0)
    p = random.normal(size=(32, samples)) @ X / samples
    A = X.T @ X / samples
    sign = np.where(p >= 0, 1.0, -1.0)
    scale = np.abs(p).sum(axis=1) / np.einsum("ij,jk,ik->i", sign, A, sign)
    return Batch(-2 * p / scale[:, None], A - np.diag(np.diag(A)))


def bqp(n: int, random: np.random.Generator) -> Batch:
    """Beasley's QUBOs: a tenth of the coefficients is not zero, uniform in [-100, 100]."""
    Q = random.integers(-100, 101, size=(n, n)) * (random.random((n, n)) < 0.1)
    return _from_qubo(np.triu(Q).astype(np.float64))


def dense_qubo(n: int, random: np.random.Generator) -> Batch:
    """QUBOs as gka and be: all coefficients, uniform in [-50, 50]."""
    return _from_qubo(np.triu(random.integers(-50, 51, size=(n, n))).astype(np.float64))


def sherrington_kirkpatrick(n: int, random: np.random.Generator) -> Batch:
    """A spin glass in which every pair is coupled, by a Gaussian."""
    return Batch(np.zeros((1, n)), np.triu(random.normal(size=(n, n)), 1))


def long_range_chain(n: int, random: np.random.Generator) -> Batch:
    """A chain whose couplings fall with the third power of the distance (the instances ising3.0)."""
    place = np.arange(n)
    distance = np.abs(place[:, None] - place)
    distance = np.minimum(distance, n - distance)
    with np.errstate(divide="ignore"):
        size = np.where(distance > 0, 1.0 / distance.astype(np.float64) ** 3, 0.0)
    return Batch(np.zeros((1, n)), np.triu(np.rint(1e5 * random.normal(size=(n, n)) * size), 1))


def _sparse(n: int, i: Any, j: Any, values: Any) -> Batch:
    return Batch(np.zeros((1, n)), scipy.sparse.coo_array((values, (i, j)), shape=(n, n)).tocsr())


def max_cut(n: int, random: np.random.Generator) -> Batch:
    """Max-Cut of a random graph of mean degree 24, weights 1."""
    edges = np.unique(np.sort(random.integers(0, n, size=(12 * n, 2)), axis=1), axis=0)
    edges = edges[edges[:, 0] != edges[:, 1]]
    return _sparse(n, edges[:, 0], edges[:, 1], np.ones(len(edges)))


def dense_max_cut(n: int, random: np.random.Generator) -> Batch:
    """Max-Cut of a random graph with half of all edges, weights 1 (the instances g05)."""
    return Batch(np.zeros((1, n)), np.triu(random.random((n, n)) < 0.5, 1).astype(np.float64))


def sparse_as_dense(n: int, random: np.random.Generator) -> Batch:
    """A spin glass of mean degree 6 whose couplings, -1 and +1, come as a dense matrix."""
    J = np.triu(random.random((n, n)) < 6.0 / n, 1) * random.choice([-1.0, 1.0], size=(n, n))
    return Batch(np.zeros((1, n)), J)


def _torus(n: int, random: np.random.Generator, gaussian: bool) -> Batch:
    side = round(n**0.5)
    place = np.arange(side * side).reshape(side, side)
    i = np.concatenate([place.ravel(), place.ravel()])
    j = np.concatenate([np.roll(place, -1, 0).ravel(), np.roll(place, -1, 1).ravel()])
    values = random.normal(size=i.size) if gaussian else random.choice([-1.0, 1.0], size=i.size)
    return _sparse(side * side, i, j, values)


def torus(n: int, random: np.random.Generator) -> Batch:
    """A square lattice on a torus, couplings -1 and +1."""
    return _torus(n, random, gaussian=False)


def gaussian_torus(n: int, random: np.random.Generator) -> Batch:
    """A square lattice on a torus with Gaussian couplings."""
    return _torus(n, random, gaussian=True)


def travelling_salesman(n: int, random: np.random.Generator) -> Batch:
    """Tours of sqrt(n) cities: lengths, and penalties that make every city and every step stand once."""
    cities = max(3, round(n**0.5))
    places = random.random((cities, 2))
    length = np.linalg.norm(places[:, None] - places, axis=2)
    penalty = 2.0 * length.max()
    variable = np.arange(cities * cities).reshape(cities, cities)
    Q = np.zeros((cities * cities, cities * cities))
    for lines in (variable, variable.T):
        for line in lines:
            Q[np.ix_(line, line)] += penalty
            Q[line, line] -= 2 * penalty
    for now in range(cities):
        Q[np.ix_(variable[:, now], variable[:, (now + 1) % cities])] += length
    return _from_qubo(Q)


def knapsack(n: int, random: np.random.Generator) -> Batch:
    """A knapsack: n - 8 items and 8 slack bits, the capacity as a squared penalty."""
    items = n - 8
    weight = random.integers(1, 256 // max(1, items // 8) + 2, size=items).astype(np.float64)
    value = weight + random.integers(0, 10, size=items)
    size = np.concatenate([weight, 2.0 ** np.arange(8)])
    capacity = np.floor(weight.sum() / 2)
    penalty = 1.0 + value.max() / weight.min() / 10
    Q = penalty * np.outer(size, size)
    Q[np.diag_indices(n)] -= 2 * penalty * capacity * size + np.concatenate([value, np.zeros(8)])
    return _from_qubo(Q)


FAMILIES: dict[str, tuple[Callable[[int, np.random.Generator], Batch], tuple[int, ...]]] = {
    "layer": (layer, (24, 64, 128, 784, 2048)),
    "step": (step, (64, 784)),
    "bqp": (bqp, (50, 250, 1000, 2500)),
    "dense-qubo": (dense_qubo, (21, 40, 100, 500)),
    "sk": (sherrington_kirkpatrick, (32, 128, 512, 2000)),
    "chain": (long_range_chain, (100, 300)),
    "max-cut": (max_cut, (100, 800, 3000, 10000)),
    "dense-max-cut": (dense_max_cut, (60, 100, 800)),
    "sparse-as-dense": (sparse_as_dense, (100, 500)),
    "torus": (torus, (100, 1024, 10000)),
    "gaussian-torus": (gaussian_torus, (100, 1024, 10000)),
    "tsp": (travelling_salesman, (36, 100, 196)),
    "knapsack": (knapsack, (32, 64, 128)),
}
"""Family: its maker, and the sizes at which it is measured."""


def make(family: str, n: int, seed: int) -> Batch:
    """The problem of a family with this size and seed."""
    maker, _ = FAMILIES[family]
    return maker(n, np.random.default_rng([seed, n]))
