"""The binary projection of a gradient: never worse than its sign, and equal to the oracles."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from oracles import (
    all_steps,
    best_row_step,
    gradient_and_gram,
    greedy_row_step,
    random_layer,
    relative_scale,
    row_objective,
    scales_of,
    signs,
    squared_distance,
)
from qpsbgd.problem import Solutions
from qpsbgd.projection import (
    average,
    error_feedback,
    move_weights,
    native_step,
    objective,
    project,
    project_gradient,
    row_problems,
)
from qpsbgd.solvers.native import NativeSolver

DTYPES = [np.float32, np.float64]
EXACT = NativeSolver(method="exact")


class WorstSolver:
    """Answers with the spins of the highest energy."""

    def solve(self, problem, *, seed):
        steps = all_steps(np.ones(problem.num_spins, dtype=np.int8), "spin")
        energies = problem.energies(np.broadcast_to(steps, (problem.num_problems, *steps.shape)))
        worst = steps[energies.argmax(axis=1)][:, None, :]
        return Solutions(worst, problem.energies(worst))


# The result and the sign of the gradient


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("domain", ["spin", "mask"])
@pytest.mark.parametrize("d", [3, 40])
def test_result_is_never_above_sign_of_gradient_in_thousands_of_rows(dtype, domain, d):
    V, X = random_layer(d, n=12, m=4000, d=d, dtype=dtype)
    p, gram = gradient_and_gram(V, X)
    for kappa in (0.1, 1.0, 3.0):
        G = project(V, X, kappa=kappa, domain=domain)
        scales = np.abs(p).sum(axis=1) / np.einsum("md,de,me->m", signs(p), gram, signs(p)) * kappa
        before, after = objective(signs(p), p, gram, scales), objective(G, p, gram, scales)
        assert np.all(after <= before + 1e-6 * np.abs(before))
        assert np.any(after < before)


@pytest.mark.parametrize("solver", ["native", EXACT], ids=["native", "exact"])
@pytest.mark.parametrize("domain", ["spin", "mask"])
def test_fitted_scale_never_lowers_the_cosine_below_that_of_sign(solver, domain):
    V, X = random_layer(1, n=12, m=500, d=9)
    p, gram = gradient_and_gram(V, X)

    def cosine(G):
        return np.einsum("md,md->m", p, G) / np.sqrt(np.einsum("md,de,me->m", G, gram, G))

    G = project(V, X, scale="auto", domain=domain, solver=solver)
    assert np.all(cosine(G) >= cosine(signs(p)) * (1 - 1e-12))
    assert np.any(cosine(G) > cosine(signs(p)) * (1 + 1e-6))


@settings(max_examples=100)
@given(
    seed=st.integers(0, 2**32 - 1),
    d=st.integers(1, 12),
    kappa=st.sampled_from([0.0, 1e-300, 1e-12, 0.5, 1.0, 50.0, 1e12]),
    domain=st.sampled_from(["spin", "mask"]),
    dtype=st.sampled_from(DTYPES),
    solver=st.sampled_from(["native", EXACT, WorstSolver()]),
)
def test_result_is_never_above_sign_of_gradient(seed, d, kappa, domain, dtype, solver):
    rng = np.random.default_rng(seed)
    V = (rng.integers(-2, 3, size=(4, 6)) * rng.choice([1e-30, 1e-3, 1.0, 1e10], size=6)).astype(dtype)
    X = rng.integers(-1, 2, size=(4, d)).astype(dtype)
    p, gram = gradient_and_gram(V, X)
    G = project(V, X, kappa=kappa, domain=domain, solver=solver)
    for row, step in zip(p, G, strict=True):
        curvature = signs(row) @ gram @ signs(row)
        scale = kappa * np.abs(row).sum() / curvature if curvature > 1e-12 else 0.0
        before, after = row_objective(signs(row), row, gram, scale), row_objective(step, row, gram, scale)
        assert after <= before + 1e-5 * (np.abs(row).sum() * (1 + kappa))


@pytest.mark.parametrize("solver", ["native", EXACT], ids=["native", "exact"])
@pytest.mark.parametrize("kappa", [0.0, 1e-300, 1e-30, 1e-9])
def test_vanishing_kappa_gives_exactly_the_sign(solver, kappa):
    V, X = random_layer(2)
    assert np.array_equal(project(V, X, kappa=kappa, solver=solver), np.sign(V.T @ X))


# Against the oracles


@pytest.mark.parametrize("scale", ["relative", 0.3])
@pytest.mark.parametrize("domain", ["spin", "mask"])
def test_exact_solver_reaches_the_brute_force_optimum(scale, domain):
    V, X = random_layer(3, d=8)
    p, gram = gradient_and_gram(V, X)
    G = project(V, X, scale=scale, domain=domain, solver=EXACT)
    for row, step in zip(p, G, strict=True):
        s = relative_scale(row, gram) if scale == "relative" else scale
        best = best_row_step(row, gram, s, domain)
        assert row_objective(step, row, gram, s) == pytest.approx(
            row_objective(best, row, gram, s), abs=1e-12
        )


def test_native_result_is_a_local_optimum_as_the_greedy_reference_is():
    V, X = random_layer(4, m=50, d=9)
    p, gram = gradient_and_gram(V, X)
    G = project(V, X)
    for row, step in zip(p, G, strict=True):
        s = relative_scale(row, gram)
        energy = row_objective(step, row, gram, s)
        flips = [row_objective(step * (1 - 2 * unit), row, gram, s) for unit in np.eye(9)]
        assert min(flips) >= energy - 1e-12
    reference = np.array([greedy_row_step(row, gram, relative_scale(row, gram)) for row in p])
    scales = scales_of(p, gram)
    assert objective(G, p, gram, scales).mean() == pytest.approx(
        objective(reference, p, gram, scales).mean(), rel=0.05
    )


@pytest.mark.parametrize("domain", ["spin", "mask"])
@pytest.mark.parametrize("d", [1, 31, 33, 150])
def test_single_precision_descends_as_far_as_double(d, domain):
    V, X = random_layer(d, n=40, m=60, d=d)
    p, gram = gradient_and_gram(V, X)
    scales = scales_of(p, gram)
    single, double = (
        objective(project(V.astype(dtype), X.astype(dtype), domain=domain), p, gram, scales)
        for dtype in DTYPES
    )
    assert single.mean() == pytest.approx(double.mean(), rel=0.01)


@pytest.mark.parametrize("domain", ["spin", "mask"])
def test_no_flip_lowers_a_single_precision_result_by_more_than_rounding(domain):
    V, X = random_layer(5, n=30, m=20, d=70, dtype=np.float32)
    p, gram = gradient_and_gram(V, X)
    scales = scales_of(p, gram)
    G = project(V, X, domain=domain)
    sigma = signs(p)
    # int16 fields are off by half a unit, some 16,000th or 32,000th of the row's sum, for every input.
    unit = np.abs(gram).sum(axis=1) / 16000 * (2 + 0.52 * 70 / (2 if domain == "spin" else 1))
    flipped = -G if domain == "spin" else sigma - G
    change = flipped - G
    lowered = -(change * (2 * (G @ gram) + change * np.diag(gram) - 2 * p / scales[:, None]))
    assert np.all(lowered <= 4 * unit)
    assert np.any(sigma != G)


@pytest.mark.parametrize("domain", ["spin", "mask"])
@pytest.mark.parametrize("d", [300, 1500])
def test_descents_that_rounding_makes_doubtful_are_never_above_the_sign(d, domain):
    # Inputs of sizes apart by 10^4 and one that all share: couplings of a few units beside very large ones.
    rng = np.random.default_rng(d)
    X = rng.normal(size=(20, d)) * 10.0 ** rng.uniform(-2, 2, size=d) + 3 * rng.normal(size=(20, 1))
    V = rng.normal(size=(20, 60))
    X[:, ::7] = 0.0
    V, X = V.astype(np.float32), X.astype(np.float32)
    p, gram = gradient_and_gram(V, X)
    for kappa in (0.3, 1.0):
        G = project(V, X, kappa=kappa, domain=domain)
        scales = scales_of(p, gram, kappa)
        before, after = objective(signs(p), p, gram, scales), objective(G, p, gram, scales)
        assert np.all(after <= before + 1e-3 * np.abs(before))
        assert after.mean() < before.mean()


def test_spins_without_a_gradient_follow_the_couplings_where_others_outweigh_them_beyond_float32():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(30, 80)).astype(np.float32)
    gradient = rng.normal(size=(6, 80)).astype(np.float32)
    gradient[:, ::4] = 0.0
    gram = X.T @ X / 30
    G, _ = native_step(gradient, gram, kappa=1e-40)  # p / s leaves float32
    sigma = signs(gradient)
    others = gradient != 0.0
    assert np.array_equal(G[others], sigma[others])
    gains = G * (G @ gram) - np.diag(gram)
    assert gains[:, ::4].max() < 0.002 * np.abs(gram).sum(axis=1).mean()
    assert np.any(G[:, ::4] == -1)


def test_fields_far_above_the_couplings_decide_their_spins():
    V, X = random_layer(6, n=30, m=20, d=70, dtype=np.float32)
    memory = np.zeros((20, 70), dtype=np.float32)
    memory[:, ::9] = np.where(np.arange(20) % 2, 1e6, -1e6)[:, None]
    G = project(V, X, memory=memory, scale=1.0)
    assert np.array_equal(G[:, ::9], np.sign(memory[:, ::9]))
    assert np.any(signs(gradient_and_gram(V, X)[0] + memory) != G)


def test_layer_whose_diagonal_is_lost_in_the_sums_of_rows_is_projected_in_floats():
    # All inputs alike: in int16 a diagonal entry of A would be a few units.
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4, 1)) + 1e-3 * rng.normal(size=(4, 520))
    V = rng.normal(size=(4, 20))
    p, gram = gradient_and_gram(V, X)
    scales = scales_of(p, gram)
    before = objective(signs(p), p, gram, scales)
    for dtype in DTYPES:
        after = objective(project(V.astype(dtype), X.astype(dtype)), p, gram, scales)
        assert np.all(after <= before)
        assert np.any(after < before)


@pytest.mark.parametrize("domain", ["spin", "mask"])
def test_dimod_model_has_the_energies_of_the_objective_constant_included(domain):
    V, X = random_layer(5, m=3, d=5)
    p, gram = gradient_and_gram(V, X)
    scales = scales_of(p, gram)
    problem = row_problems(p, gram, scales, domain=domain)
    for j in range(3):
        model = problem.to_bqm(j)
        spins = all_steps(np.ones(5, dtype=np.int8), "spin")
        for state, step in zip(spins, spins if domain == "spin" else (signs(p[j]) + spins) // 2, strict=True):
            energy = model.energy(dict(enumerate(state)))
            assert scales[j] * energy == pytest.approx(row_objective(step, p[j], gram, scales[j]), abs=1e-12)
            distance = scales[j] ** 2 * energy + np.square(V[:, j]).mean()
            assert distance == pytest.approx(squared_distance(V[:, j], X, step, scales[j]))


def test_raw_scale_is_the_papers_literal_problem():
    V, X = random_layer(6, d=6)
    U = X / np.square(X).sum(axis=0)
    G = project(V, X, scale="raw", solver=EXACT)
    for v, step in zip(V.T, G, strict=True):
        distances = [np.square(v - U @ other).sum() for other in all_steps(np.ones(6, dtype=np.int8), "spin")]
        assert np.square(v - U @ step).sum() == pytest.approx(min(distances))


@pytest.mark.parametrize("scale", ["relative", "auto", "raw", 0.2])
@pytest.mark.parametrize("domain", ["spin", "mask"])
def test_native_route_and_general_route_agree_when_both_are_exact(scale, domain):
    # With orthogonal input columns every coordinate decides alone, so that greedy descent is exact.
    rng = np.random.default_rng(7)
    X = np.linalg.qr(rng.normal(size=(12, 6)))[0] * 3
    V = rng.normal(size=(12, 20))
    native = project(V, X, scale=scale, domain=domain)
    assert np.array_equal(native, project(V, X, scale=scale, domain=domain, solver=EXACT))


def test_memory_is_added_to_the_gradient():
    V, X = random_layer(8)
    p, _ = gradient_and_gram(V, X)
    memory = np.random.default_rng(1).normal(size=p.shape)
    assert np.array_equal(project(V, X, memory=memory, kappa=0.0), signs(p + memory))


# What nothing is known of


@pytest.mark.parametrize("solver", ["native", EXACT], ids=["native", "exact"])
@pytest.mark.parametrize("scale", ["relative", "auto", "raw", 0.5])
@pytest.mark.parametrize("domain", ["spin", "mask"])
def test_zero_columns_and_zero_rows_get_no_update(solver, scale, domain):
    V, X = random_layer(9)
    X[:, 2] = 0
    V[:, 1] = 0
    G = project(V, X, solver=solver, scale=scale, domain=domain)
    assert not G[:, 2].any()
    assert not G[1].any()
    if domain == "spin":
        assert np.all(np.delete(np.delete(G, 1, axis=0), 2, axis=1) != 0)


@pytest.mark.parametrize("solver", ["native", EXACT], ids=["native", "exact"])
def test_zero_column_with_memory_gets_no_update_in_the_raw_form(solver):
    V, X = random_layer(10)
    X[:, 2] = 0
    memory = np.full((5, 7), -1.0)
    assert not project(V, X, memory=memory, scale="raw", solver=solver)[:, 2].any()


@pytest.mark.parametrize("solver", ["native", EXACT], ids=["native", "exact"])
def test_zero_column_with_memory_follows_the_memory(solver):
    V, X = random_layer(10)
    X[:, 2] = 0
    memory = np.zeros((5, 7))
    memory[:, 2] = -1
    assert np.all(project(V, X, memory=memory, solver=solver)[:, 2] == -1)


@pytest.mark.parametrize("solver", ["native", EXACT], ids=["native", "exact"])
def test_row_without_curvature_along_its_sign_takes_its_sign(solver):
    gram = np.array([[1.0, -1.0], [-1.0, 1.0]])
    p = np.array([[2.0, 1.0]])
    assert project_gradient(p, gram, solver=solver).tolist() == [[1, 1]]


@pytest.mark.parametrize("solver", ["native", EXACT], ids=["native", "exact"])
@pytest.mark.parametrize("scale", ["relative", "auto"])
@pytest.mark.parametrize(("dtype", "sizes"), [(np.float32, [1e-30, 1e25]), (np.float64, [1e-250, 1e250])])
def test_relative_scales_do_not_depend_on_the_size_of_the_gradient(solver, scale, dtype, sizes):
    V, X = random_layer(11, dtype=dtype)
    p, gram = (array.astype(dtype) for array in gradient_and_gram(V, X))
    G = project_gradient(p, gram, scale=scale, solver=solver)
    for size in sizes:
        assert np.array_equal(project_gradient(p * dtype(size), gram, scale=scale, solver=solver), G)


# Kinds, dtypes, devices


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_torch_in_torch_out_in_the_same_dtype(dtype):
    V, X = (torch.from_numpy(array).to(dtype) for array in random_layer(12))
    G = project(V, X)
    assert G.dtype == dtype
    expected = project(V.double().numpy(), X.double().numpy())
    assert np.array_equal(G.double().numpy(), expected)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_numpy_in_numpy_out_in_the_same_dtype(dtype):
    G = project(*random_layer(13, dtype=dtype))
    assert isinstance(G, np.ndarray)
    assert G.dtype == dtype
    assert set(np.unique(G)) <= {-1, 0, 1}


def test_strided_inputs_and_graph_tensors_are_accepted():
    V, X = random_layer(14)
    expected = project(V, X)
    assert np.array_equal(project(np.asfortranarray(V), X.repeat(2, axis=1)[:, ::2]), expected)
    leaf = torch.from_numpy(X).requires_grad_()
    assert np.array_equal(project(torch.from_numpy(V), leaf * 1).numpy(), expected)


def test_integer_inputs_are_accepted():
    V, X = random_layer(15)
    X = np.sign(X)
    assert np.array_equal(project(V, X.astype(np.int8)), project(V, X))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_tensors_of_another_device_come_back_there():
    V, X = (torch.from_numpy(array) for array in random_layer(16))
    G = project(V.cuda(), X.cuda())
    assert G.is_cuda
    assert torch.equal(G.cpu(), project(V, X))


def test_arguments_are_left_as_they_were():
    V, X = random_layer(17)
    memory = np.ones((5, 7))
    copies = V.copy(), X.copy(), memory.copy()
    project(V, X, memory=memory)
    assert all(np.array_equal(a, b) for a, b in zip((V, X, memory), copies, strict=True))


# Memory rules


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("transposed", [False, True])
def test_weights_move_by_the_step_within_the_clip(dtype, transposed):
    generator = torch.Generator().manual_seed(0)
    weight = (torch.rand((300, 257), generator=generator) * 2 - 1).to(dtype)
    step = torch.randint(-1, 2, (300, 257), generator=generator, dtype=torch.int8)
    if transposed:
        weight, step = weight.T, step.T
    expected = torch.clamp(weight + step.to(dtype) * -0.3, -0.75, 0.75)
    version = weight._version
    move_weights(weight, step, lr=0.3, clip=0.75)
    assert torch.equal(weight, expected)
    assert weight._version > version


def test_error_feedback_leaves_what_the_step_does_not_take():
    p = torch.tensor([[3.0, -1.0], [1.0, 1.0], [-2.0, 1.0]])
    G = torch.tensor([[1.0, -1.0], [0.0, 1.0], [1.0, 1.0]])
    # mean_k p_k G_k is 2, 1/2, -1/2, and nothing is taken where it is negative.
    expected = torch.tensor([[1.0, 1.0], [1.0, 0.5], [-2.0, 1.0]])
    assert torch.equal(error_feedback(p, G), expected)


def test_running_mean_of_a_constant_is_that_constant():
    state = torch.zeros(2, dtype=torch.float64)
    for step in range(1, 5):
        state, mean = average(state, torch.tensor([2.0, -3.0], dtype=torch.float64), step)
        torch.testing.assert_close(mean, torch.tensor([2.0, -3.0], dtype=torch.float64))


# Bad input

V0, X0 = random_layer(23)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((V0.tolist(), X0), {}, TypeError, "V must be a torch.Tensor or a numpy array"),
        ((torch.from_numpy(V0), X0), {}, TypeError, "X must be .* of the same kind as V"),
        ((V0, torch.from_numpy(X0)), {}, TypeError, "X must be .* of the same kind as V"),
        ((V0, X0), {"memory": torch.zeros(5, 7)}, TypeError, "memory must be"),
        ((V0[0], X0), {}, ValueError, r"V must be a non-empty matrix, but has shape \(5,\)"),
        ((V0[:0], X0[:0]), {}, ValueError, r"V must be a non-empty matrix, but has shape \(0, 5\)"),
        ((V0[:3], X0), {}, ValueError, r"X has shape \(8, 7\) but V has shape \(3, 5\)"),
        ((V0, X0), {"memory": np.zeros((7, 5))}, ValueError, r"memory has shape \(7, 5\), expected \(5, 7\)"),
        ((V0.astype(int), X0), {}, TypeError, "V must hold floating-point numbers, but its dtype is int64"),
        ((V0, X0.astype(complex)), {}, TypeError, "X must hold real numbers"),
        ((V0, X0.astype(str)), {}, TypeError, "X must hold real numbers"),
        ((np.where(V0 > 0, np.nan, V0), X0), {}, ValueError, "V of shape .* finite"),
        ((V0, np.where(X0 > 0, np.inf, X0)), {}, ValueError, "X of shape .* finite"),
        ((V0, X0), {"memory": np.full((5, 7), np.inf)}, ValueError, "memory of shape .* finite"),
        ((V0, X0), {"scale": "step"}, ValueError, "pass that number as scale"),
        ((V0, X0), {"scale": "absolute"}, ValueError, "Invalid scale: 'absolute'"),
        ((V0, X0), {"scale": 0.0}, ValueError, "scale must be a positive number"),
        ((V0, X0), {"scale": -1.0}, ValueError, "Invalid scale: -1.0"),
        ((V0, X0), {"scale": float("nan")}, ValueError, "Invalid scale: nan"),
        ((V0, X0), {"scale": None}, TypeError, "scale must be a number"),
        ((V0, X0), {"kappa": -0.1}, ValueError, "Invalid kappa: -0.1"),
        ((V0, X0), {"kappa": "1"}, TypeError, "kappa must be a number"),
        ((V0, X0), {"domain": "binary"}, ValueError, "Invalid domain: 'binary'"),
        ((V0, X0), {"seed": -1}, ValueError, "Invalid seed: -1"),
        ((V0, X0), {"seed": 2**64}, ValueError, "Invalid seed"),
        ((V0, X0), {"seed": 1.5}, TypeError, "seed must be an integer"),
    ],
)
def test_bad_arguments_are_named(arguments, options, error, message):
    with pytest.raises(error, match=message):
        project(*arguments, **options)


def test_overflowing_gram_matrix_is_refused():
    with pytest.raises(ValueError, match="gram"):
        project(V0.astype(np.float32), np.full_like(X0, 1e30, dtype=np.float32))


def test_raw_form_without_number_of_samples_is_refused():
    with pytest.raises(ValueError, match="num_samples is needed"):
        project_gradient(np.ones((1, 2)), np.eye(2), scale="raw")
