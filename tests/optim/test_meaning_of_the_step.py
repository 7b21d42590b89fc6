"""What docs/what-the-qubo-does.md says that the QUBO of a step means, on problems that are enumerated."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from qpsbgd import QPSBGD
from qpsbgd.nn import to_recorded
from qpsbgd.projection import project_gradient
from qpsbgd.solvers import NativeSolver

EXACT = NativeSolver(method="exact")


def gram_and_fields(d=7, rows=5, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((40, d)) + 1.0
    return X.T @ X / (40 * d), rng.standard_normal((rows, d))


def states(d):
    return np.array(list(itertools.product((-1.0, 1.0), repeat=d)))


def test_step_is_the_preconditioned_gradient_rounded_in_the_norm_of_the_outputs():
    A, P = gram_and_fields()
    s = 0.7
    target = np.linalg.solve(A, P.T).T / s  # (sA)^-1 p, the step of K-FAC for one output
    found = project_gradient(P, A, scale=s, solver=EXACT)
    G = states(7)
    for row, wanted in zip(found, target, strict=True):
        distances = np.einsum("gd,de,ge->g", G - wanted, A, G - wanted)
        np.testing.assert_array_equal(row, G[distances.argmin()])
    # Rounded one by one it would be another step.
    assert (np.sign(target) != found).any()


def test_kappa_is_the_size_of_the_step_over_the_best_size_along_the_signs():
    A, P = gram_and_fields(rows=1)
    sigma = np.sign(P[0])
    best = P[0] @ sigma / (sigma @ A @ sigma)  # least squares along the signs
    for kappa in (0.5, 2.0, 9.0):
        relative = project_gradient(P, A, kappa=kappa, solver=EXACT)
        np.testing.assert_array_equal(
            relative, project_gradient(P, A, scale=kappa * float(best), solver=EXACT)
        )


def test_signs_are_the_optimum_where_the_gradient_dominates_the_couplings():
    A, P = gram_and_fields()
    couplings = np.abs(A - np.diag(np.diag(A))).sum(axis=1)
    P = np.sign(P) * (couplings + 0.01)
    np.testing.assert_array_equal(project_gradient(P, A, scale=1.0, solver=EXACT), np.sign(P))
    assert (project_gradient(P, A, scale=20.0, solver=EXACT) != np.sign(P)).any()


@pytest.mark.parametrize("kappa", [0.5, 8.0, 1e4])
def test_inputs_that_do_not_correlate_make_it_signs_with_momentum(kappa):
    torch.manual_seed(0)
    x = torch.linalg.qr(torch.randn(16, 6, dtype=torch.float64))[0] * torch.arange(1.0, 7.0)
    target = torch.randn(16, 3, dtype=torch.float64)
    layers = []
    for factor in (kappa, 0.0):
        torch.manual_seed(1)
        layer = to_recorded(nn.Linear(6, 3, bias=False, dtype=torch.float64))
        optimizer = QPSBGD(layer.parameters(), lr=0.1, kappa=factor)
        for _ in range(5):
            optimizer.zero_grad()
            (layer(x) - target).square().mean().backward()
            optimizer.step()
        layers.append(layer)
    assert torch.equal(layers[0].weight, layers[1].weight)


def test_large_kappa_moves_outputs_less_along_what_inputs_have_in_common():
    # All samples of a layer move together by the mean input. The signs of a gradient ignore that.
    A, P = gram_and_fields(d=9, rows=30)
    _, vectors = np.linalg.eigh(A)
    shares = [
        np.square(project_gradient(P, A, kappa=kappa, solver=EXACT) @ vectors[:, -1]).mean()
        for kappa in (0.0, 1.0, 30.0)
    ]
    assert shares[0] > 2 * shares[1]
    assert shares[1] > shares[2]
