"""Max-Cut, a knapsack and a portfolio as QUBOs: from numpy, dimod and pyqubo, with the same answers.

    pip install dimod pyqubo        # for the second and third form; numpy alone solves the first
    python examples/qubo_models.py

A constraint becomes a penalty: its square, times a factor above what breaking it can gain. Models of dimod
and pyqubo have variables of any name, and are for `NativeSampler`.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import numpy.typing as npt

from qpsbgd import NativeSampler, solve_ising, solve_qubo

Floats = npt.NDArray[np.float64]


def with_penalty(Q: Floats, weights: Floats, bound: float, factor: float) -> tuple[Floats, float]:
    """Q of x'Qx + factor (weights'x - bound)², and its constant, over bits, where x² = x."""
    square = factor * (np.outer(weights, weights) - 2 * bound * np.diag(weights))
    return Q + square, factor * bound**2


# Max-Cut: split the nodes so that the edges between the two parts weigh most.
random = np.random.default_rng(0)
NODES = 12
EDGES = [
    (i, j, float(random.integers(1, 10))) for i in range(NODES) for j in range(i) if random.random() < 0.5
]


def max_cut_numpy() -> float:
    J = np.zeros((NODES, NODES))
    for i, j, weight in EDGES:
        J[i, j] = weight
    (energy,) = solve_ising(None, J, seed=0).best_energies  # sum w s s' is least where the cut is largest
    return float((J.sum() - energy) / 2)


def max_cut_dimod() -> float:
    import dimod

    model = dimod.BinaryQuadraticModel(dimod.SPIN)
    for i, j, weight in EDGES:
        model.add_quadratic(i, j, weight)
    return float((sum(weight for _i, _j, weight in EDGES) - least_energy(model)) / 2)


def max_cut_pyqubo() -> float:
    from pyqubo import Spin

    s = [Spin(f"s{node}") for node in range(NODES)]
    energy = sum(weight * (s[i] * s[j] - 1) / 2 for i, j, weight in EDGES)
    return -least_energy(energy.compile().to_bqm())


# Knapsack: the most valuable items whose weights are at most CAPACITY. The room that is left is a number of
# four bits, so the weights and the room are exactly the capacity.
VALUES = np.array([6.0, 10, 12, 7, 3, 9, 5, 8])
WEIGHTS = np.array([2.0, 4, 6, 3, 1, 5, 2, 4])
CAPACITY, ROOM = 15, np.array([1.0, 2, 4, 8])
PENALTY = 13.0  # above the value of any item


def knapsack_numpy() -> float:
    Q = np.diag(np.concatenate([-VALUES, np.zeros(len(ROOM))]))
    Q, constant = with_penalty(Q, np.concatenate([WEIGHTS, ROOM]), CAPACITY, PENALTY)
    (energy,) = solve_qubo(Q, num_reads=20, seed=0).best_energies
    return -float(energy + constant)


def knapsack_dimod() -> float:
    import dimod

    model = dimod.BinaryQuadraticModel(dict(enumerate(-VALUES)), {}, 0.0, dimod.BINARY)
    # dimod adds the bits of the room, and the constant, itself.
    model.add_linear_inequality_constraint(
        list(enumerate(WEIGHTS)), lagrange_multiplier=PENALTY, label="room", ub=CAPACITY
    )
    return -least_energy(model)


def knapsack_pyqubo() -> float:
    from pyqubo import Binary

    x = [Binary(f"x{item}") for item in range(len(VALUES))]
    room = sum(int(part) * Binary(f"r{bit}") for bit, part in enumerate(ROOM))
    weight = sum(float(one) * x[item] for item, one in enumerate(WEIGHTS))
    value = sum(float(one) * x[item] for item, one in enumerate(VALUES))
    energy = PENALTY * (weight + room - CAPACITY) ** 2 - value
    return -least_energy(energy.compile().to_bqm())


# Portfolio: choose HELD of the assets, for little risk and much return.
RETURNS = random.normal(0.05, 0.03, size=10)
FACTORS = random.normal(size=(10, 3)) * 0.1
RISK = FACTORS @ FACTORS.T + 0.005 * np.eye(10)
HELD, AVERSION, STRICT = 4, 2.0, 1.0


def portfolio_numpy() -> float:
    Q, constant = with_penalty(AVERSION * RISK - np.diag(RETURNS), np.ones(10), HELD, STRICT)
    (energy,) = solve_qubo(Q, seed=0).best_energies
    return float(energy + constant)


def portfolio_dimod() -> float:
    import dimod

    model = dimod.BinaryQuadraticModel(AVERSION * RISK - np.diag(RETURNS), dimod.BINARY)
    model.add_linear_equality_constraint([(asset, 1.0) for asset in range(10)], STRICT, -HELD)
    return least_energy(model)


def portfolio_pyqubo() -> float:
    from pyqubo import Binary

    x = [Binary(f"x{asset}") for asset in range(10)]
    risk = sum(float(RISK[i, j]) * x[i] * x[j] for i in range(10) for j in range(10))
    gain = sum(float(one) * x[asset] for asset, one in enumerate(RETURNS))
    energy = AVERSION * risk - gain + STRICT * (sum(x) - HELD) ** 2
    return least_energy(energy.compile().to_bqm())


def least_energy(model: Any) -> float:
    """The least energy of a model of dimod."""
    return float(NativeSampler().sample(model, num_reads=20, seed=0).first.energy)


PROBLEMS = {
    "max-cut": (max_cut_numpy, max_cut_dimod, max_cut_pyqubo),
    "knapsack": (knapsack_numpy, knapsack_dimod, knapsack_pyqubo),
    "portfolio": (portfolio_numpy, portfolio_dimod, portfolio_pyqubo),
}

if __name__ == "__main__":
    for problem, forms in PROBLEMS.items():
        for solve, package in zip(forms, ("numpy", "dimod", "pyqubo"), strict=True):
            if importlib.util.find_spec(package) is None:
                print(f"{problem:10} {package:7} is not installed")
            else:
                print(f"{problem:10} {package:7} {solve():.6f}")
