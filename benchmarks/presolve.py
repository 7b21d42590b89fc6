"""Energies within a time limit with and without presolve, in turns, on one thread.

    python benchmarks/presolve.py --seconds 1 --seeds 3

Families of sparse problems of `--spins` spins from which presolve takes everything, most or little.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import scipy.sparse

from qpsbgd import solve_ising

Draw = Callable[[int], np.ndarray]
Problem = tuple[np.ndarray, scipy.sparse.csr_matrix]


def chain(n: int, rng: np.random.Generator) -> Problem:
    """Gaussian couplings and fields along a line."""
    ends = (np.arange(n - 1), np.arange(1, n))
    return rng.normal(size=n), scipy.sparse.csr_matrix((rng.normal(size=n - 1), ends), shape=(n, n))


def random_graph(n: int, degree: float, draw: Draw, rng: np.random.Generator) -> Problem:
    """Couplings between random pairs, so many for each spin on average."""
    ends = rng.integers(0, n, (2, int(n * degree / 2)))
    ends = ends[:, ends[0] != ends[1]]
    return np.zeros(n), scipy.sparse.csr_matrix((draw(ends.shape[1]), ends), shape=(n, n))


def lattice(n: int, kept: float, field: float, draw: Draw, rng: np.random.Generator) -> Problem:
    """A square lattice with a part of its couplings, and Gaussian fields."""
    side = int(np.sqrt(n))
    at = np.arange(side * side).reshape(side, side)
    ends = np.stack(
        [np.append(at[:-1].ravel(), at[:, :-1].ravel()), np.append(at[1:].ravel(), at[:, 1:].ravel())]
    )
    ends = ends[:, rng.random(ends.shape[1]) < kept]
    J = scipy.sparse.csr_matrix((draw(ends.shape[1]), ends), shape=(side * side,) * 2)
    return field * rng.normal(size=side * side), J


def families(n: int, rng: np.random.Generator) -> dict[str, Problem]:
    """One problem of each family."""

    def gaussian(count: int) -> np.ndarray:
        return rng.normal(size=count)

    def signs(count: int) -> np.ndarray:
        return rng.choice([-1.0, 1.0], count)

    found = {"chain, fields": chain(n, rng)}
    for degree in (2.0, 2.5, 3.0, 4.0, 5.0):
        found[f"random graph of degree {degree:g}, Gaussian"] = random_graph(n, degree, gaussian, rng)
    for degree in (3.0, 4.0):
        found[f"random graph of degree {degree:g}, ±1"] = random_graph(n, degree, signs, rng)
    found["square lattice, 70 % of it, Gaussian"] = lattice(n, 0.7, 0.0, gaussian, rng)
    found["square lattice, 70 % of it, ±1"] = lattice(n, 0.7, 0.0, signs, rng)
    found["square lattice, Gaussian, fields of 2"] = lattice(n, 1.0, 2.0, gaussian, rng)
    return found


def main() -> None:
    """Print a table: the part that goes, and mean energies with and without."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spins", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    energies: dict[str, dict[bool, list[float]]] = {}
    gone: dict[str, float] = {}
    for seed in range(arguments.seeds):
        for name, (h, J) in families(arguments.spins, np.random.default_rng(seed)).items():
            for presolve in (True, False):
                answer = solve_ising(
                    h, J, time_limit=arguments.seconds, num_threads=1, seed=seed, presolve=presolve
                )
                found = energies.setdefault(name, {True: [], False: []})
                found[presolve].append(float(answer.best_energies[0]))
                if presolve:
                    left = answer.info["presolve"]["remaining"] if answer.info["presolve"] else len(h)
                    gone[name] = 1 - left / len(h)
    print("| problem | taken out | energy | without presolve | lower by |\n|---|---|---|---|---|")
    for name, found in energies.items():
        with_it, without = (float(np.mean(found[presolve])) for presolve in (True, False))
        lower = 100 * (without - with_it) / abs(without)
        print(f"| {name} | {100 * gone[name]:.0f} % | {with_it:.1f} | {without:.1f} | {lower:.2f} % |")


if __name__ == "__main__":
    main()
