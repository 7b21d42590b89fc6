"""The largest problems that are promised: 20,000 spins dense, 1,000,000 sparse."""

import os

import numpy as np
import pytest
import scipy.sparse

from qpsbgd import solve_ising

MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.skipif(MEMORY < 8 * 2**30, reason="needs 8 GiB of memory: the couplings alone are 1.6 GB")
@pytest.mark.parametrize("method", ["anneal", "tabu"])
def test_20000_dense_spins(method):
    n = 20_000
    hidden = np.random.default_rng(0).choice([-1.0, 1.0], n).astype(np.float32)
    J = -np.outer(hidden, hidden)  # at its minimum, -n², every spin is as the hidden one, or none
    solution = solve_ising(np.zeros(n), J, method=method, num_sweeps=1, seed=0)
    assert abs(int(solution.best_samples[0] @ hidden)) == n
    assert solution.best_energies[0] == -(float(n) ** 2)


def test_a_million_sparse_spins():
    n = 1_000_000
    random = np.random.default_rng(0)
    i = np.arange(n)
    row, column = np.r_[i, i], np.r_[(i + 1) % n, (i + 1000) % n]
    values = random.choice([-1.0, 1.0], 2 * n)
    J = scipy.sparse.coo_matrix((values, (row, column)), shape=(n, n)).tocsr()
    solution = solve_ising(np.zeros(n), J, method="anneal", num_sweeps=50, seed=0)
    spins = solution.best_samples[0].astype(np.int64)
    assert solution.best_energies[0] == np.sum(values * spins[row] * spins[column])
    # The lowest energy of such a lattice is about -1.4 a spin, a greedy descent ends near -1.05.
    assert -1.42 * n < solution.best_energies[0] < -1.3 * n
