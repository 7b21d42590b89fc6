"""CDP, SP, cosine and QUBO gap against closed forms and brute force."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from oracles import all_spins, best_row_step, row_objective
from qpsbgd.diagnostics import cdp, cosine, qubo_gap, sign_agreement
from qpsbgd.problem import ising_problem, qubo_problem
from qpsbgd.projection import row_problems
from qpsbgd.solvers.native import NativeSolver, solve_ising
from training import Shuffler, Spy

FLOATS = st.floats(-10, 10, width=32)


@given(arrays(np.float64, (3, 2, 4), elements=FLOATS), arrays(np.float64, (2, 4), elements=FLOATS))
def test_cdp_counts_the_steps_of_a_row_that_descend(steps, gradient):
    for row, value in enumerate(cdp(steps, gradient)):
        if not gradient[row].any():
            assert np.isnan(value)
        else:
            assert value == np.mean([step[row] @ gradient[row] > 0 for step in steps])


@given(arrays(np.float64, (3, 2, 2), elements=FLOATS), arrays(np.float64, (3, 2, 2), elements=FLOATS))
def test_sign_agreement_counts_equal_signs_where_the_full_gradient_has_one(batches, gradients):
    result = sign_agreement(batches, gradients)
    for where in np.ndindex(2, 2):
        pairs = [(b[where], g[where]) for b, g in zip(batches, gradients, strict=True) if g[where] != 0]
        if not pairs:
            assert np.isnan(result[where])
        else:
            assert result[where] == pytest.approx(np.mean([np.sign(b) == np.sign(g) for b, g in pairs]))


def test_cdp_and_sign_agreement_of_gaussian_gradients_have_their_closed_forms():
    # g = ∇ + noise, ∇ = 1: a coordinate has SP = Φ(1/noise), and ⟨g, ∇⟩ is normal: mean d, std noise √d.
    rng = np.random.default_rng(0)
    d, noise, k = 9, 2.0, 20_000
    full = np.ones((1, d))
    batches = full + noise * rng.normal(size=(k, 1, d))

    def normal_cdf(x):
        return float(torch.special.ndtr(torch.tensor(x)))

    assert sign_agreement(batches, full).mean() == pytest.approx(normal_cdf(1 / noise), abs=0.005)
    assert cdp(batches, full)[0] == pytest.approx(normal_cdf(np.sqrt(d) / noise), abs=0.01)


def test_cdp_and_sign_agreement_differ_for_one_large_and_many_small_coordinates():
    full = [[10.0, 1.0, 1.0, 1.0]]
    batch = [[1.0, -1.0, -1.0, -1.0]]
    assert cdp(np.sign(batch), full)[0] == 1.0
    assert sign_agreement(batch, full).mean() == 0.25


@given(arrays(np.float64, (3, 4), elements=FLOATS), arrays(np.float64, (3, 4), elements=FLOATS))
def test_cosine_is_that_of_torch(steps, gradients):
    expected = torch.cosine_similarity(torch.tensor(steps), torch.tensor(gradients), dim=1, eps=1e-300)
    zero = ~steps.any(axis=1) | ~gradients.any(axis=1)
    result = cosine(steps, gradients)
    assert np.array_equal(np.isnan(result), zero)
    np.testing.assert_allclose(result[~zero], expected.numpy()[~zero], atol=1e-6)


def test_cosine_does_not_underflow():
    assert cosine([1e-200, 0.0], [1e-200, 1e-200]) == pytest.approx(0.5**0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cdp(np.ones(3), np.ones(3)), r"steps must have shape \(k, m, d\) or \(m, d\).*\(3,\)"),
        (
            lambda: cdp(np.ones((2, 3)), np.ones((3, 2))),
            r"full_gradient has shape \(3, 2\), expected \(2, 3\)",
        ),
        (lambda: sign_agreement(np.full((1, 1, 2), np.nan), np.ones((1, 2))), r"batch_gradients of shape"),
        (lambda: cosine(np.ones(3), np.ones(2)), r"steps has shape \(3,\) but full_gradient has \(2,\)"),
    ],
)
def test_bad_arrays_are_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def random_rows(d=6, m=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(10, d))
    return rng.normal(size=(m, d)), X.T @ X / (10 * d), rng.uniform(0.1, 1.0, size=m)


@pytest.mark.parametrize("domain", ["spin", "mask"])
def test_qubo_gap_of_a_row_is_what_brute_force_finds(domain):
    P, gram, scales = random_rows()
    problem = row_problems(P, gram, scales, domain=domain)
    samples = np.where(np.random.default_rng(1).normal(size=P.shape) > 0, 1, -1)
    gap = qubo_gap(problem, samples)
    signs = np.where(P >= 0, 1, -1)
    for j, (p, scale) in enumerate(zip(P, scales, strict=True)):
        step = samples[j] if domain == "spin" else (signs[j] + samples[j]) // 2
        best = row_objective(best_row_step(p, gram, scale, domain), p, gram, scale)
        expected = (row_objective(step, p, gram, scale) - best) / scale
        assert gap.absolute[j] == pytest.approx(expected)
        steps = all_spins(6) if domain == "spin" else (signs[j] + all_spins(6)) // 2
        mean = np.mean([row_objective(one, p, gram, scale) for one in steps])
        assert gap.relative[j] == pytest.approx(expected * scale / (mean - best))
    assert gap.proven


def test_relative_gap_does_not_depend_on_unit_and_constant():
    h, J = np.random.default_rng(2).normal(size=5), np.triu(np.random.default_rng(3).normal(size=(5, 5)), 1)
    samples = [[1, -1, 1, -1, 1]]
    plain = qubo_gap(ising_problem(h, J), samples).relative
    shifted = qubo_gap(ising_problem(1000 * h, 1000 * (J + 7 * np.eye(5))), samples).relative
    np.testing.assert_allclose(shifted, plain, rtol=1e-9)


def test_relative_gap_of_all_states_is_one_in_the_mean():
    h, J = np.random.default_rng(2).normal(size=5), np.random.default_rng(3).normal(size=(5, 5))
    states = all_spins(5)
    problem = ising_problem(np.tile(h, (32, 1)), J)
    assert qubo_gap(problem, states).relative.mean() == pytest.approx(1.0)


def test_gap_is_zero_at_the_optimum_and_where_all_states_are_equal():
    h, J = np.random.default_rng(2).normal(size=(4, 8)), np.random.default_rng(3).normal(size=(8, 8))
    best = solve_ising(h, J, method="exact").best_samples
    assert not qubo_gap(ising_problem(h, J), best).absolute.any()
    assert qubo_gap(ising_problem(np.zeros(3), np.eye(3)), [[1, -1, 1]]).relative.tolist() == [0.0]


def test_gap_counts_the_given_samples_where_the_reference_is_worse():
    problem = ising_problem(np.random.default_rng(2).normal(size=(4, 30)), np.zeros((30, 30)))
    best = np.where(problem.h > 0, -1, 1)
    gap = qubo_gap(problem, best, reference=Shuffler())
    assert not gap.relative.any()
    assert not gap.proven
    assert np.array_equal(gap.best_samples, best)


def test_gap_takes_problems_of_bits_and_sparse_ones():
    from scipy.sparse import csr_matrix

    Q = np.random.default_rng(4).normal(size=(6, 6))
    samples = np.ones((1, 6), dtype=int)
    dense, sparse = qubo_gap(qubo_problem(Q), samples), qubo_gap(qubo_problem(csr_matrix(Q)), samples)
    energies = [x @ Q @ x for x in (all_spins(6) + 1) // 2]
    expected = (Q.sum() - min(energies)) / (np.mean(energies) - min(energies))
    assert dense.relative[0] == pytest.approx(expected)
    assert sparse.relative[0] == pytest.approx(expected)


def test_default_reference_is_no_worse_than_a_descent_on_larger_problems():
    P, gram, scales = random_rows(d=60, m=8)
    problem = row_problems(P, gram, scales)
    descent = NativeSolver(method="descent").solve(problem, seed=0).best_samples
    gap = qubo_gap(problem, descent)
    assert np.all(gap.relative >= 0)
    assert not gap.proven


@pytest.mark.parametrize(
    ("samples", "message"),
    [([[1, 1, 1]], r"samples has shape \(1, 3\), expected \(1, 2\)"), ([[0, 1]], "only -1 and \\+1")],
)
def test_gap_refuses_samples_that_are_no_answer(samples, message):
    with pytest.raises(ValueError, match=message):
        qubo_gap(ising_problem([1.0, 0.0], np.zeros((2, 2))), samples, reference=Spy())
