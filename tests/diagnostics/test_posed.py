"""The QUBOs that a layer's rows pose: against brute force and the optimizer's own problems."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oracles import all_spins, relative_scale, row_objective
from oracles import signs as signs_of
from qpsbgd.diagnostics import qubo_matrix, solved_rows
from qpsbgd.optim import QPSBGD
from qpsbgd.solvers.native import NativeSolver
from training import batches, small_net, train


def random_row(seed, d=5):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(8, d))
    return rng.normal(size=d), X.T @ X / (8 * d), rng.uniform(0.1, 2.0)


@given(st.integers(0, 1000), st.sampled_from(["spin", "mask"]))
def test_every_energy_of_the_matrix_is_that_of_the_row(seed, domain):
    p, gram, scale = random_row(seed)
    matrix, offset = qubo_matrix(p, gram, scale, domain=domain)
    for spins in all_spins(5):
        x = (spins + 1) // 2
        step = spins if domain == "spin" else signs_of(p) * x
        assert scale * (x @ matrix @ x + offset) == pytest.approx(row_objective(step, p, gram, scale))


def test_entries_of_the_matrix_are_those_of_the_formula():
    p, gram, scale = random_row(0)
    matrix, _ = qubo_matrix(p, gram, scale)
    expected = 4 * gram
    expected[np.diag_indices(5)] += -4 * gram.sum(axis=1) - 4 * p / scale
    np.testing.assert_allclose(matrix, expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], np.eye(2), 1.0), r"p has shape \(1,\) and A \(2, 2\)"),
        (([1.0, 2.0], np.eye(2), 0.0), "scale must be positive, but is 0.0"),
    ],
)
def test_matrix_of_what_is_no_row_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        qubo_matrix(*arguments)


def projections_of(count=2, **options):
    """All projections of the first layer in a training of the small network."""
    model = small_net(torch.float64)
    optimizer = QPSBGD(model.parameters(), **options)
    seen = []
    optimizer.register_projection_hook(
        lambda projection: seen.append(projection) if projection.weight is model[0].weight else None
    )
    train(model, optimizer, batches(count, dtype=torch.float64))
    return seen


@pytest.mark.parametrize("memory", ["error-feedback", "momentum", None])
@pytest.mark.parametrize("solver", ["native", NativeSolver()])
def test_hook_sees_the_problem_that_was_solved(memory, solver):
    first, second = projections_of(memory=memory, solver=solver)
    for projection in (first, second):
        solved = solved_rows(projection)
        for j, p in enumerate(projection.p.numpy()):
            kappa = 0.5 if memory == "momentum" else 1.0
            assert solved.scales[j] == pytest.approx(relative_scale(p, projection.A, kappa))
    same = torch.equal(second.p, second.gradient)
    assert same == (memory is None)


@pytest.mark.parametrize("domain", ["spin", "mask"])
@pytest.mark.parametrize("scale", ["relative", "auto", "raw", "step", 0.3])
def test_answers_are_never_above_those_of_the_signs(scale, domain):
    for projection in projections_of(memory=None, scale=scale, domain=domain):
        solved = solved_rows(projection)
        start = signs_of(solved.p) if domain == "spin" else np.ones_like(solved.spins)
        energies = solved.problem.energies(np.stack([solved.spins, start], axis=1))
        assert np.all(energies[:, 0] <= energies[:, 1] + 1e-9)


def test_answers_of_an_exact_solver_are_the_lowest_of_the_matrix():
    solver = NativeSolver(method="exact")
    for projection in projections_of(solver=solver):
        solved = solved_rows(projection)
        for p, scale, spins in zip(solved.p, solved.scales, solved.spins, strict=True):
            matrix, _ = qubo_matrix(p, solved.A, scale)
            bits = (all_spins(6) + 1) // 2
            energies = np.einsum("xk,kl,xl->x", bits, matrix, bits)
            x = (spins + 1) // 2
            assert x @ matrix @ x == pytest.approx(energies.min())


def test_rows_without_a_gradient_pose_no_problem():
    (projection,) = projections_of(count=1)
    projection.p[2] = 0.0
    assert 2 not in solved_rows(projection).rows
    assert solved_rows(projection, rows=[2]).problem.num_problems == 0
    with pytest.raises(IndexError, match="rows \\[8\\] are not all in a layer of 8 rows"):
        solved_rows(projection, rows=[8])


def test_parts_of_a_layer_keep_the_numbers_of_their_rows():
    (whole,) = projections_of(count=1)
    part = whole._replace(rows=slice(3, 8), p=whole.p[3:], G=whole.G[3:], gradient=whole.gradient[3:])
    one, other = solved_rows(whole, rows=[1, 4, 6]), solved_rows(part, rows=[1, 4, 6])
    assert (one.rows.tolist(), other.rows.tolist()) == ([1, 4, 6], [4, 6])
    np.testing.assert_array_equal(one.p[1:], other.p)


@pytest.mark.parametrize("scale", ["relative", "auto"])
def test_rows_may_have_gram_matrices_of_their_own(scale):
    (shared,) = projections_of(count=1, scale=scale)
    own = shared._replace(A=np.stack([(1 + j) * shared.A for j in range(8)]))
    one, other = solved_rows(shared, rows=[2, 5]), solved_rows(own, rows=[2, 5])
    np.testing.assert_allclose(other.A, np.stack([3 * one.A, 6 * one.A]))
    np.testing.assert_allclose(other.scales, one.scales / [3, 6])


def test_steps_of_the_projected_variant_are_refused():
    moved = projections_of(1)[0]._replace(options={"variant": "projected", "num_samples": 4})
    with pytest.raises(ValueError, match="variant='projected', expected the continuous variant"):
        solved_rows(moved)
