"""The published code's objective, beside the quadratic one."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oracles import all_spins
from qpsbgd import project
from qpsbgd.step.published import project_published, published_objective


def arrays(seed, n=12, m=3, d=5, signs=False):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    return rng.normal(size=(n, m)), np.sign(X) if signs else X


def written_out(step, y, X):
    """Σ (sign(x'g) - y)² of one row, sample by sample."""
    total = 0.0
    for x, target in zip(X, y, strict=True):
        z = sum(a * b for a, b in zip(x, step, strict=True))
        total += ((1.0 if z >= 0 else -1.0) - target) ** 2
    return total


@given(st.integers(0, 10_000), st.booleans())
def test_objective_is_the_sum_written_out(seed, with_ties):
    # An even number of ±1 inputs makes many zero sums.
    Y, X = arrays(seed, d=4, signs=with_ties)
    G = np.random.default_rng(seed + 1).choice([-1, 1], size=(3, 4))
    expected = [written_out(G[j], Y[:, j], X) for j in range(3)]
    np.testing.assert_allclose(published_objective(G, Y, X), expected)


@given(st.integers(0, 10_000), st.booleans())
def test_result_is_never_above_the_sign_of_the_gradient_nor_below_the_minimum(seed, with_ties):
    Y, X = arrays(seed, d=4, signs=with_ties)
    reached = published_objective(project_published(Y, X), Y, X)
    start = published_objective(np.where(Y.T @ X >= 0, 1, -1), Y, X)
    best = [min(written_out(s, Y[:, j], X) for s in all_spins(4)) for j in range(3)]
    assert np.all(reached <= start + 1e-9)
    assert np.all(reached >= np.array(best) - 1e-9)


@given(st.integers(0, 10_000), st.booleans())
def test_no_single_flip_improves_the_result(seed, with_ties):
    Y, X = arrays(seed, d=6, signs=with_ties)
    G = project_published(Y, X)
    reached = published_objective(G, Y, X)
    for k in range(6):
        flipped = G.copy()
        flipped[:, k] *= -1
        assert np.all(published_objective(flipped, Y, X) >= reached - 1e-9)


def test_most_small_problems_are_solved():
    solved = 0
    for seed in range(40):
        Y, X = arrays(seed, m=1)
        reached = published_objective(project_published(Y, X), Y, X)[0]
        solved += reached <= min(written_out(s, Y[:, 0], X) for s in all_spins(5)) + 1e-9
    assert solved > 20


def test_one_pass_is_a_pass():
    Y, X = arrays(2, n=60, m=8, d=30)
    once = published_objective(project_published(Y, X, max_passes=1), Y, X)
    whole = published_objective(project_published(Y, X), Y, X)
    start = published_objective(np.where(Y.T @ X >= 0, 1, -1), Y, X)
    assert whole.sum() < once.sum() < start.sum()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_project_takes_it_as_an_option(dtype):
    Y, X = arrays(0)
    G = project(torch.from_numpy(Y).to(dtype), torch.from_numpy(X).to(dtype), objective="published")
    assert G.dtype == dtype
    rounded = (torch.from_numpy(array).to(dtype).numpy() for array in (Y, X))
    assert np.array_equal(G.numpy(), project_published(*rounded))


def test_it_differs_from_the_quadratic_objective():
    Y, X = arrays(3, n=60, m=8, d=30)
    assert not np.array_equal(project(Y, X, objective="published"), project(Y, X))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "cubic"}, "Invalid objective: 'cubic'"),
        (
            {"objective": "published", "scale": "auto"},
            "scale 'auto' has no meaning with objective 'published'",
        ),
        ({"objective": "published", "kappa": 0.5}, "kappa 0.5 has no meaning"),
        ({"objective": "published", "domain": "mask"}, "domain 'mask' has no meaning"),
        ({"objective": "published", "solver": "neal"}, "solver 'neal' has no meaning"),
        ({"objective": "published", "memory": np.zeros((3, 5))}, "memory has no meaning"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    Y, X = arrays(0)
    with pytest.raises(ValueError, match=message):
        project(Y, X, **options)


@pytest.mark.parametrize(
    ("Y", "X", "passes", "message"),
    [
        (np.zeros((3, 0)), np.ones((3, 2)), 1, r"Y must be a non-empty matrix, but has shape \(3, 0\)"),
        (np.ones((3, 1)), np.ones(3), 1, r"X must be a non-empty matrix, but has shape \(3,\)"),
        (np.ones((3, 1)), np.ones((2, 2)), 1, "their rows are the samples"),
        (np.full((3, 1), np.nan), np.ones((3, 2)), 1, "Y of shape .* has nan"),
        (np.ones((3, 1)), np.ones((3, 2)), 0, "max_passes is 0"),
    ],
)
def test_bad_arrays_are_named(Y, X, passes, message):
    with pytest.raises(ValueError, match=message):
        project_published(Y, X, max_passes=passes)
