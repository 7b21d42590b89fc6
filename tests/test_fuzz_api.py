"""Random calls of the public functions: right energies, or an error that names what is wrong. Nothing else.

2,000 calls by default; QPSBGD_FUZZ_CALLS asks for more, QPSBGD_FUZZ_SEED for others.
"""

import os
import re

import dimod
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from odd_arrays import LAYOUTS, REAL, laid_out, numbers, odd_array, odd_sparse
from oracles import all_spins, gradient_and_gram, relative_scale, row_objective, signs
from qpsbgd import NativeSampler, project, solve_ising, solve_qubo

CALLS = int(os.environ.get("QPSBGD_FUZZ_CALLS", "2000"))
SEED = int(os.environ.get("QPSBGD_FUZZ_SEED", "0"))
PARTS = 20
NAMES = r"\b(h|J|Q|linear|initial_states|bqm|V|X|memory|slopes|gradient|gram)\b"
"""Arguments, and what `project` makes of them: every error names one."""
METHODS = ["auto", "exact", "descent", "anneal", "tabu"]


def doubles(value):
    if scipy.sparse.issparse(value):
        return value.astype(np.float64).toarray()
    return np.asarray(value).astype(np.float64)


def energies(states, quadratic, linear):
    """By the definition, in float64: (b, reads) of states (b, reads, n)."""
    quadratic, linear = doubles(quadratic), np.atleast_2d(doubles(linear))
    x = states.astype(np.float64)
    return np.einsum("brn,brn->br", x @ quadratic, x) + np.einsum(
        "brn,bn->br", x, np.broadcast_to(linear, x[:, 0].shape)
    )


def rounding(quadratic, linear):
    """Of sums in another order; a quarter of a number near the smallest loses its last two bits."""
    quadratic, linear = doubles(quadratic), doubles(linear)
    count = quadratic.shape[-1] ** 2
    return 1e-11 * (np.abs(quadratic).max() * count + np.abs(linear).sum()) + 1e-322 * count


def assert_right(solution, quadratic, linear, values):
    assert set(np.unique(solution.samples)) <= set(values)
    found = energies(solution.samples, quadratic, linear)
    np.testing.assert_allclose(solution.energies, found, rtol=0, atol=rounding(quadratic, linear))
    assert np.all(np.diff(solution.energies, axis=1) >= 0)
    n = solution.samples.shape[-1]
    if solution.info["proven_optimal"] and n <= 8:
        every = all_spins(n) if -1 in values else (all_spins(n) + 1) // 2
        every = np.broadcast_to(every, (len(solution.samples), *every.shape))
        least = energies(every, quadratic, linear).min(axis=1)
        np.testing.assert_allclose(solution.best_energies, least, rtol=0, atol=rounding(quadratic, linear))


def options(rng):
    return {
        "method": rng.choice(METHODS),
        "num_reads": int(rng.integers(1, 4)),
        "num_sweeps": int(rng.integers(1, 6)),
        "seed": int(rng.integers(2**63)),
        "num_threads": int(rng.choice([1, 2, 10**6])) if rng.random() < 0.2 else 1,
    }


def couplings(rng, n, b):
    if rng.random() < 0.35:
        return odd_sparse(rng, n)
    return odd_array(rng, (b, n, n) if rng.random() < 0.3 else (n, n))


def call_ising(rng):
    n, b = int(rng.integers(1, 9)) if rng.random() < 0.8 else 24, int(rng.integers(1, 4))
    h, J = odd_array(rng, (b, n)), couplings(rng, n, b)
    starts = odd_array(rng, (b, n)) if rng.random() < 0.1 else None
    arguments = options(rng)
    solution = yield lambda: solve_ising(h, J, initial_states=starts, **arguments)
    assert_right(solution, J, h, (-1, 1))


def call_qubo(rng):
    n, b = int(rng.integers(1, 9)), int(rng.integers(1, 4))
    Q = couplings(rng, n, b)
    linear = odd_array(rng, (b, n)) if rng.random() < 0.5 else None
    arguments = options(rng)
    solution = yield lambda: solve_qubo(Q, linear, **arguments)
    assert_right(solution, Q, np.zeros(solution.samples.shape[-1]) if linear is None else linear, (0, 1))


def call_sampler(rng):
    n = int(rng.integers(1, 9))
    linear, quadratic = numbers(rng, n, "f8"), np.triu(numbers(rng, (n, n), "f8"), 1)
    if rng.random() < 0.1:
        linear[rng.integers(n)] = rng.choice([np.nan, np.inf, 1e308])
    rows, columns = np.triu_indices(n, 1)
    pairs = rows, columns, quadratic[rows, columns]
    vartype, order, arguments = rng.choice(["SPIN", "BINARY"]), list(range(n)), options(rng)
    bqm = dimod.BinaryQuadraticModel.from_numpy_vectors(linear, pairs, 0.0, vartype, variable_order=order)
    answer = yield lambda: NativeSampler().sample(bqm, **arguments)
    samples = answer.record.sample[:, [answer.variables.index(i) for i in order]]
    found = energies(samples[None].astype(np.int8), quadratic, linear)[0]
    np.testing.assert_allclose(answer.record.energy, found, rtol=0, atol=rounding(quadratic, linear))


def call_project(rng):
    n, d, m = (int(size) for size in rng.integers(1, 7, size=3))
    arguments = {"V": odd_array(rng, (n, m)), "X": odd_array(rng, (n, d))}
    if rng.random() < 0.3:
        arguments["memory"] = odd_array(rng, (m, d))
    if rng.random() < 0.3:
        arguments["slopes"] = odd_array(rng, (n, m))
    kappa = float(rng.choice([0.0, 1.0, 8.0]))
    G = yield lambda: project(**arguments, kappa=kappa)
    assert G.shape == (arguments["V"].shape[1], arguments["X"].shape[1])
    assert G.dtype == arguments["V"].dtype
    assert set(np.unique(G.astype(np.float64))) <= {-1.0, 0.0, 1.0}


FUNCTIONS = [call_ising, call_qubo, call_sampler, call_project]


def answers(steps):
    """Make the call that is yielded; send its answer to be checked, or check its error. True if answered."""
    call = next(steps)
    message = None
    try:
        answer = call()
    except (TypeError, ValueError, MemoryError) as error:
        message = str(error)
    if message is not None:
        assert re.search(NAMES, message), f"no argument is named: {message}"
        return False
    with pytest.raises(StopIteration):
        steps.send(answer)
    return True


@pytest.mark.parametrize("part", range(PARTS))
def test_random_calls_are_right_or_say_what_is_wrong(part):
    answered = 0
    for number in range(part, CALLS, PARTS):
        rng = np.random.default_rng([SEED, number])
        steps = FUNCTIONS[number // PARTS % len(FUNCTIONS)](rng)
        try:
            answered += answers(steps)
        except BaseException as error:
            error.add_note(f"in call {number} of seed {SEED}")
            raise
    assert answered > CALLS / PARTS / 5  # or it would look at errors alone


# --- every dtype and layout gives the answer of plain float64

kinds = st.tuples(st.sampled_from(REAL), st.sampled_from(LAYOUTS))
property_test = settings(max_examples=40, deadline=None, derandomize=True)


def pair(rng, shape, kind):
    """The same numbers as plain float64 and as the dtype and layout say; exact in both."""
    dtype, layout = kind
    array = rng.integers(0 if np.dtype(dtype).kind in "ub" else -3, 2, size=shape).astype(dtype)
    return array.astype(np.float64), laid_out(array, layout)


@property_test
@given(kinds, kinds, st.sampled_from(METHODS), st.integers(0, 2**32))
def test_ising_does_not_depend_on_dtype_or_layout(of_h, of_J, method, seed):
    rng = np.random.default_rng(seed)
    (h, odd_h), (J, odd_J) = pair(rng, (3, 9), of_h), pair(rng, (9, 9), of_J)
    settings_ = {"method": method, "num_reads": 2, "num_sweeps": 4, "seed": 1, "num_threads": 1}
    one, other = solve_ising(h, J, **settings_), solve_ising(odd_h, odd_J, **settings_)
    np.testing.assert_array_equal(one.energies, other.energies)
    np.testing.assert_array_equal(one.samples, other.samples)


@property_test
@given(kinds, kinds, st.sampled_from(METHODS), st.integers(0, 2**32))
def test_qubo_does_not_depend_on_dtype_or_layout(of_Q, of_linear, method, seed):
    rng = np.random.default_rng(seed)
    (Q, odd_Q), (linear, odd_linear) = pair(rng, (3, 9, 9), of_Q), pair(rng, (3, 9), of_linear)
    settings_ = {"method": method, "num_reads": 2, "num_sweeps": 4, "seed": 1, "num_threads": 1}
    one, other = solve_qubo(Q, linear, **settings_), solve_qubo(odd_Q, odd_linear, **settings_)
    np.testing.assert_array_equal(one.energies, other.energies)
    np.testing.assert_array_equal(one.samples, other.samples)


@property_test
@given(
    st.sampled_from(["f4", "f8", ">f4", ">f8", "g", "f2"]),
    kinds,
    st.sampled_from(LAYOUTS[:-1]),
    st.integers(0, 2**32),
)
def test_projection_does_not_depend_on_dtype_or_layout(dtype, of_X, layout, seed):
    rng = np.random.default_rng(seed)
    (V, odd_V), (X, odd_X) = pair(rng, (8, 3), (dtype, layout)), pair(rng, (8, 6), of_X)
    G = project(odd_V, np.asarray(odd_X))
    g, A = gradient_and_gram(V, X)
    for j in range(3):
        scale = relative_scale(g[j], A)
        if np.abs(g[j]).sum() > 0 and np.isfinite(scale) and np.all(G[j] != 0):
            found, start = row_objective(G[j], g[j], A, scale), row_objective(signs(g[j]), g[j], A, scale)
            assert found <= start + 1e-5 * (1 + abs(start))


@property_test
@given(st.sampled_from(LAYOUTS), st.sampled_from(["SPIN", "BINARY"]), st.integers(0, 2**32 - 1))
def test_sampler_takes_initial_states_of_every_layout(layout, vartype, seed):
    rng = np.random.default_rng(seed)
    bqm = dimod.generators.gnm_random_bqm(9, 20, vartype, random_state=int(seed))
    states = rng.integers(0, 2, size=(2, 9)).astype(np.int8)
    states = states if vartype == "BINARY" else 2 * states - np.int8(1)
    settings_ = {"num_reads": 2, "num_sweeps": 4, "seed": 1, "num_threads": 1, "method": "descent"}
    one = NativeSampler().sample(bqm, initial_states=states, **settings_)
    other = NativeSampler().sample(bqm, initial_states=laid_out(states, layout), **settings_)
    assert np.array_equal(one.record, other.record)
    np.testing.assert_allclose(one.record.energy, bqm.energies((one.record.sample, one.variables)), atol=1e-9)
