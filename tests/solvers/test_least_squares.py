"""`binary_least_squares`: small symbols whose combination of columns comes closest."""

import itertools
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import qpsbgd
from qpsbgd import binary_least_squares
from qpsbgd.solvers.beam import beam_search, sorted_cholesky


def alphabet(levels, unsigned=False):
    return np.arange(levels) if unsigned else 2 * np.arange(levels) - (levels - 1)


def best_by_enumeration(X, Y, symbols):
    every = np.array(list(itertools.product(symbols, repeat=X.shape[1]))).T
    return np.array([np.linalg.norm(y[:, None] - X @ every, axis=0).min() for y in Y.T])


def assert_no_symbol_wants_to_move(X, Y, G, symbols):
    residual = Y - X @ G
    for i in range(X.shape[1]):
        for symbol in symbols:
            moved = residual - X[:, i : i + 1] * (symbol - G[i])
            now, then = (residual**2).sum(axis=0), (moved**2).sum(axis=0)
            assert (then >= now * (1 - 1e-9) - 1e-9 * (Y**2).sum(axis=0)).all()


@pytest.mark.parametrize("unsigned", [False, True])
@pytest.mark.parametrize(("levels", "d"), [(2, 8), (3, 5), (4, 5), (6, 4), (8, 4)])
def test_small_problems_are_solved_and_proven(levels, d, unsigned):
    random = np.random.default_rng(levels)
    X, Y = random.normal(size=(7, d)), 4 * random.normal(size=(7, 6))
    answer = binary_least_squares(X, Y, levels=levels, unsigned=unsigned, seed=0)
    symbols = alphabet(levels, unsigned)
    assert np.isin(answer.G, symbols).all()
    np.testing.assert_allclose(answer.residual_norms, best_by_enumeration(X, Y, symbols), rtol=1e-9)
    np.testing.assert_allclose(answer.residual_norms, np.linalg.norm(Y - X @ answer.G, axis=0), rtol=1e-12)
    assert answer.proven.all()


@pytest.mark.parametrize("levels", [4, 8])
def test_symbols_that_are_not_proven_are_as_good_on_small_problems(levels):
    random = np.random.default_rng(1)
    X, Y = random.normal(size=(6, 4)), 5 * random.normal(size=(6, 20))
    answer = binary_least_squares(X, Y, levels=levels, method="tabu", seed=0)
    assert not answer.proven.any()
    np.testing.assert_allclose(answer.residual_norms, best_by_enumeration(X, Y, alphabet(levels)), rtol=1e-9)


@pytest.mark.parametrize(("levels", "n", "d"), [(2, 60, 50), (4, 48, 40), (16, 40, 24)])
def test_symbols_without_noise_are_recovered(levels, n, d):
    random = np.random.default_rng(2)
    X, G = random.normal(size=(n, d)), random.choice(alphabet(levels), size=(d, 12))
    answer = binary_least_squares(X, X @ G, levels=levels, seed=0)
    assert np.array_equal(answer.G, G)
    assert (answer.residual_norms < 1e-9 * np.linalg.norm(X @ G, axis=0)).all()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(1, 30),
    st.integers(1, 4),
    st.integers(2, 9),
    st.booleans(),
    st.integers(0, 99),
)
def test_no_single_symbol_wants_to_move(n, d, m, levels, unsigned, seed):
    random = np.random.default_rng(seed)
    X, Y = random.normal(size=(n, d)), 10 * random.normal(size=(n, m))
    X[:, random.random(d) < 0.1] = 0.0
    answer = binary_least_squares(X, Y, levels=levels, unsigned=unsigned, num_sweeps=2, seed=seed)
    symbols = alphabet(levels, unsigned)
    assert np.isin(answer.G, symbols).all()
    assert_no_symbol_wants_to_move(X, Y, answer.G, symbols)


@pytest.mark.parametrize("method", ["descent", "anneal", "tabu"])
def test_wide_problems_too_end_where_no_symbol_wants_to_move(method):
    random = np.random.default_rng(3)
    X, Y = random.normal(size=(20, 300)), random.normal(size=(20, 5))
    answer = binary_least_squares(X, Y, levels=4, method=method, num_sweeps=5, seed=0)
    assert_no_symbol_wants_to_move(X, Y, answer.G, alphabet(4))


@pytest.mark.parametrize("factor", [1e-200, 1e-30, 1e30, 1e150])
def test_a_common_factor_changes_nothing(factor):
    random = np.random.default_rng(4)
    X, Y = random.normal(size=(40, 30)), 5 * random.normal(size=(40, 3))
    assert np.array_equal(
        binary_least_squares(factor * X, factor * Y, levels=4, seed=0).G,
        binary_least_squares(X, Y, levels=4, seed=0).G,
    )


def test_a_vector_gives_a_vector():
    X = np.eye(3)
    answer = binary_least_squares(X, np.array([2.0, -5.0, 0.1]), levels=4, seed=0)
    assert answer.G.tolist() == [1.0, -3.0, 1.0] or answer.G.tolist() == [3.0, -3.0, 1.0]
    assert isinstance(answer.residual_norms, float)
    assert answer.proven is True


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_tensors_give_tensors(dtype):
    X = torch.eye(4, dtype=dtype, requires_grad=True)
    Y = torch.tensor([[0.5], [-2.0], [1.0], [-0.1]], dtype=dtype)
    answer = binary_least_squares(X, Y, seed=0)
    assert answer.G.dtype == dtype
    assert answer.G.tolist() == [[1.0], [-1.0], [1.0], [-1.0]]


def test_integers_give_floats():
    answer = binary_least_squares(np.eye(2, dtype=int), np.array([[3], [-3]]), seed=0)
    assert answer.G.dtype == np.float64


def test_the_same_seed_gives_the_same_answer_for_every_number_of_threads():
    random = np.random.default_rng(5)
    X, Y = random.normal(size=(30, 40)), random.normal(size=(30, 9))
    answers = [binary_least_squares(X, Y, levels=4, seed=7, num_threads=t, num_sweeps=3) for t in (1, 2)]
    assert np.array_equal(answers[0].G, answers[1].G)


def test_a_time_limit_is_kept():
    random = np.random.default_rng(6)
    X, Y = random.normal(size=(100, 100)), random.normal(size=(100, 200))
    begin = time.process_time()  # other programs may take the wall's time
    binary_least_squares(X, Y, levels=4, seed=0, time_limit=0.5, num_threads=1)
    assert time.process_time() - begin < 1.5


@pytest.mark.parametrize(
    ("X", "Y", "options", "error", "message"),
    [
        (np.eye(2), np.ones((3, 1)), {}, ValueError, r"Y has 3 rows but X has shape \(2, 2\)"),
        (np.eye(2)[0], np.ones(2), {}, ValueError, r"X has shape \(2,\), expected \(n, d\)"),
        (np.eye(2), np.ones((2, 0)), {}, ValueError, r"Y has shape \(2, 0\), expected \(n, m\) or \(n,\)"),
        (1j * np.eye(2), np.ones(2), {}, TypeError, r"X must hold real numbers, but is complex: stack it as"),
        (np.eye(2), torch.ones(2) * 1j, {}, TypeError, r"Y must hold real numbers, but is complex: stack it"),
        (np.eye(2), np.array([1.0, np.nan]), {}, ValueError, "Y of shape"),
        (np.eye(2), np.ones(2), {"levels": 1}, ValueError, "levels must be at least 2, but is 1"),
        (np.eye(2), np.ones(2), {"levels": 4.0}, TypeError, "levels must be an integer, but is 4.0"),
        (np.eye(2), np.ones(2), {"unsigned": 1}, TypeError, "unsigned must be"),
        (np.eye(30), np.ones(30), {"method": "exact"}, ValueError, "method 'exact' takes at most 24 spins"),
    ],
)
def test_bad_arguments_are_named(X, Y, options, error, message):
    with pytest.raises(error, match=message):
        binary_least_squares(X, Y, **options)


def test_the_beam_is_exact_where_it_keeps_everything():
    random = np.random.default_rng(7)
    X, Y = random.normal(size=(9, 5)), 3 * random.normal(size=(9, 8))
    u = beam_search(X.T @ X, X.T @ Y, levels=4, width=4**5)
    best = best_by_enumeration(X, Y, alphabet(4))
    assert (np.linalg.norm(Y - X @ u, axis=0) <= best * 1.01).all()  # the ridge moves it a little


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_the_sorted_cholesky_factor_gives_the_matrix_back(n, d, seed):
    X = np.random.default_rng(seed).normal(size=(n, d))
    M = X.T @ X + 1e-3 * np.eye(d)
    R, order = sorted_cholesky(M)
    assert np.array_equal(R, np.triu(R))
    np.testing.assert_allclose(R.T @ R, M[np.ix_(order, order)], atol=1e-9)


def test_it_is_public():
    assert "binary_least_squares" in qpsbgd.__all__
