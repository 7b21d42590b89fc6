"""Ten Ising problems of 200 spins that share their couplings, solved in one call."""

import numpy as np

from qpsbgd import solve_ising

random = np.random.default_rng(0)
J, h = random.normal(size=(200, 200)), random.normal(size=(10, 200))
solutions = solve_ising(h, J, num_reads=4, seed=0)
print(solutions.best_energies)
