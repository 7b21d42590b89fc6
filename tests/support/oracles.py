"""Slow and obvious answers in plain NumPy, against which the package is tested."""

import itertools

import numpy as np


def all_spins(n):
    """Every state of n spins, (2**n, n)."""
    return np.array(list(itertools.product((-1, 1), repeat=n)), dtype=np.int8)


def all_steps(signs, domain):
    """Every step G that a row may take whose gradient has these signs, (2**d, d)."""
    spins = all_spins(len(signs))
    return spins if domain == "spin" else (signs + spins) // 2


def gradient_and_gram(V, X):
    """g = (a/n) V'X and A = (a²/n) X'X in float64, a = 1/sqrt(d)."""
    n, d = X.shape
    V, X = V.astype(np.float64), X.astype(np.float64)
    return V.T @ X / (n * np.sqrt(d)), X.T @ X / (n * d)


def signs(p):
    """Signs of p with sign(0) = +1."""
    return np.where(np.asarray(p) >= 0, 1, -1)


def relative_scale(p, gram, kappa=1.0):
    """kappa ‖p‖₁ / (σ'Aσ) of one row."""
    sigma = signs(p)
    return kappa * np.abs(p).sum() / (sigma @ gram @ sigma)


def row_objective(step, p, gram, scale):
    """s G'AG - 2 p'G of one row, in float64."""
    step = np.asarray(step, dtype=np.float64)
    return float(scale * (step @ gram @ step) - 2.0 * (p @ step))


def squared_distance(v, x, step, scale):
    """(1/n) ‖v - s a X G‖² of one row."""
    n, d = x.shape
    return float(np.square(v - scale * (x @ step) / np.sqrt(d)).sum() / n)


def best_row_step(p, gram, scale, domain="spin"):
    """A step of the lowest objective, by trying all of them."""
    steps = all_steps(signs(p), domain)
    return min(steps, key=lambda step: row_objective(step, p, gram, scale))


def greedy_row_step(p, gram, scale):
    """Flip single spins, in order and from sign(p), until no flip lowers the objective."""
    step = signs(p)
    improved = True
    while improved:
        improved = False
        for k in range(len(step)):
            flipped = step.copy()
            flipped[k] = -flipped[k]
            if row_objective(flipped, p, gram, scale) < row_objective(step, p, gram, scale):
                step, improved = flipped, True
    return step


def scales_of(p, gram, kappa=1.0):
    """Relative scales of all rows."""
    return np.array([relative_scale(row, gram, kappa) for row in p])


def random_layer(seed, n=8, m=5, d=7, dtype=np.float64):
    """V (n, m) and X (n, d) of standard normal numbers."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, m)).astype(dtype), rng.normal(size=(n, d)).astype(dtype)
