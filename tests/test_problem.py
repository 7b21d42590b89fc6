"""Batches of problems: shapes, parts, solutions in order, and checks of arguments."""

from concurrent.futures import Executor, Future, ThreadPoolExecutor

import dimod
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from oracles import all_spins
from qpsbgd import NativeSampler, solve_ising, solve_qubo
from qpsbgd.problem import CSRCouplings, IsingProblem, Solutions, checks, ising_problem, qubo_problem
from qpsbgd.solvers import DimodSolver, NativeSolver, NoisySolver, QPUSolver, native
from qpu_samplers import mock

EXACT = NativeSolver(method="exact")


def random_batch(b=3, n=5, seed=0, **options):
    rng = np.random.default_rng(seed)
    return ising_problem(rng.normal(size=(b, n)), rng.normal(size=(b, n, n)), **options)


def one_matrix_in_a_stack(make):
    rng = np.random.default_rng(1)
    h, J = rng.normal(size=(3, 5)), rng.normal(size=(1, 5, 5))
    return (
        (ising_problem(h, J), ising_problem(h, J[0]))
        if make == "ising"
        else (qubo_problem(J, h), qubo_problem(J[0], h))
    )


# --- shapes: J is (n, n), (b, n, n) or sparse, and nothing else


@pytest.mark.parametrize("make", ["ising", "qubo"])
def test_one_matrix_in_a_stack_is_shared_by_all_fields(make):
    stacked, plain = one_matrix_in_a_stack(make)
    assert stacked.J.shape == (5, 5)
    spins = np.broadcast_to(all_spins(5), (3, 32, 5))
    np.testing.assert_array_equal(stacked.energies(spins), plain.energies(spins))
    for index in range(3):
        assert stacked.to_bqm(index) == plain.to_bqm(index)
    assert list(stacked.to_bqms()) == list(plain.to_bqms())


@pytest.mark.parametrize("make", ["ising", "qubo"])
@pytest.mark.parametrize(
    "solver",
    [
        EXACT,
        DimodSolver(dimod.ExactSolver()),
        NoisySolver(EXACT, num_spin_reversal_transforms=1),
        QPUSolver(mock(), num_reads=20),
        QPUSolver(mock(), num_reads=20, block_size=3),
    ],
    ids=["native", "dimod", "noisy", "qpu", "qpu in blocks"],
)
def test_every_solver_takes_one_matrix_in_a_stack(make, solver):
    stacked, plain = one_matrix_in_a_stack(make)
    answer, expected = solver.solve(stacked, seed=3), solver.solve(plain, seed=3)
    np.testing.assert_array_equal(answer.samples, expected.samples)
    np.testing.assert_array_equal(answer.energies, expected.energies)


def test_executor_takes_one_matrix_in_a_stack():
    rng = np.random.default_rng(1)
    h, J = rng.normal(size=(5, 4)), rng.normal(size=(1, 4, 4))
    with ThreadPoolExecutor(2) as executor:
        split = solve_ising(h, J, seed=1, executor=executor)
        split_bits = solve_qubo(J, h, seed=1, executor=executor)
    np.testing.assert_array_equal(split.energies, solve_ising(h, J[0], seed=1).energies)
    np.testing.assert_array_equal(split_bits.energies, solve_qubo(J[0], h, seed=1).energies)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"h": np.zeros(2)}, r"h has shape \(2,\), expected \(b, n\)"),
        ({"J": np.zeros((1, 2, 2))}, r"J has shape \(1, 2, 2\), expected \(2, 2\) or \(3, 2, 2\)"),
        ({"J": np.zeros((3, 3))}, r"J has shape \(3, 3\), expected \(2, 2\)"),
        ({"J": CSRCouplings(4, *3 * [np.zeros(5)])}, "J is for 4 spins, expected 2"),
        ({"offset": np.zeros(1)}, r"offset has shape \(1,\), expected \(3,\)"),
        ({"initial_states": np.ones((3, 2))}, r"initial_states has shape \(3, 2\), expected \(3, reads, 2\)"),
        ({"initial_states": np.ones((1, 4, 2))}, r"initial_states has shape \(1, 4, 2\)"),
    ],
)
def test_problem_of_arrays_that_do_not_fit_cannot_be_made(arrays, message):
    with pytest.raises(ValueError, match=message):
        IsingProblem(**{"h": np.zeros((3, 2)), "J": np.zeros((2, 2)), "offset": np.zeros(3), **arrays})


# --- parts of a batch


@pytest.mark.parametrize("couplings", ["own", "shared", "sparse"])
@pytest.mark.parametrize("chosen", [slice(0, 2), slice(1, 3), slice(2, 3)])
def test_rows_are_a_batch_of_their_own(couplings, chosen):
    rng = np.random.default_rng(2)
    J = {"own": rng.normal(size=(3, 4, 4)), "shared": rng.normal(size=(4, 4))}
    J["sparse"] = scipy.sparse.csr_matrix(J["shared"])
    starts = rng.choice([-1, 1], size=(3, 2, 4))
    whole = ising_problem(rng.normal(size=(3, 4)), J[couplings], initial_states=starts, num_reads=2)
    part = whole.rows(chosen)
    assert part.num_problems == chosen.stop - chosen.start
    np.testing.assert_array_equal(part.initial_states, starts[chosen])
    np.testing.assert_allclose(part.energies(starts[chosen]), whole.energies(starts)[chosen])


# --- sparse couplings


@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_triplets_are_the_entries_of_the_matrix(seed, n):
    rng = np.random.default_rng(seed)
    matrix = scipy.sparse.random(n, n, density=0.4, format="csr", random_state=seed)
    problem = ising_problem(rng.normal(size=n), matrix)
    rows, columns, values = problem.J.triplets()
    expected = matrix.tocoo()
    np.testing.assert_array_equal(rows, expected.row)
    np.testing.assert_array_equal(columns, expected.col)
    np.testing.assert_array_equal(values, expected.data)
    shuffled = rng.permutation(len(rows))
    again = CSRCouplings.of_triplets(n, rows[shuffled], columns[shuffled], values[shuffled])
    dense = scipy.sparse.csr_matrix((again.data, again.indices, again.indptr), shape=(n, n))
    np.testing.assert_array_equal(dense.toarray(), matrix.toarray())
    assert (again.indptr.dtype, again.indices.dtype) == (np.int64, np.int32)


# --- solutions


@pytest.mark.parametrize("binary", [False, True])
def test_solutions_are_sorted_by_energy_with_their_samples(binary):
    rng = np.random.default_rng(3)
    h, J = rng.normal(size=(2, 4)), rng.normal(size=(4, 4))
    problem = qubo_problem(J, h) if binary else ising_problem(h, J)
    spins = np.array([rng.permutation(all_spins(4)) for _ in range(2)], dtype=np.int8)
    answer = Solutions.of(problem, spins, info={"method": "all"})
    assert np.all(np.diff(answer.energies, axis=1) >= 0)
    assert set(np.unique(answer.samples)) == ({0, 1} if binary else {-1, 1})
    back = 2 * answer.samples - 1 if binary else answer.samples
    np.testing.assert_array_equal(problem.energies(back), answer.energies)
    assert answer.info == {"method": "all"}
    known = Solutions.of(problem, spins, energies=problem.energies(spins))
    np.testing.assert_array_equal(known.samples, answer.samples)


def test_equal_energies_keep_the_order_of_the_reads():
    problem = ising_problem([0.0, 1.0], np.zeros((2, 2)))
    spins = np.array([[[1, 1], [1, -1], [-1, -1], [-1, 1]]], dtype=np.int8)
    assert Solutions.of(problem, spins).samples[0].tolist() == [[1, -1], [-1, -1], [1, 1], [-1, 1]]


SOLVERS = {
    "native": NativeSolver(num_reads=2),
    "dimod": DimodSolver(dimod.ExactSolver()),
    "noisy": NoisySolver(NativeSolver(num_reads=2)),
    "descended noisy": NoisySolver(NativeSolver(num_reads=2), postprocess="descent"),
    "qpu": QPUSolver(mock(), num_reads=2),
    "qpu in blocks": QPUSolver(mock(), num_reads=2, block_size=3),
}


@pytest.mark.parametrize("name", SOLVERS)
def test_timing_has_one_shape_in_every_solver(name):
    info = SOLVERS[name].solve(random_batch(), seed=0).info
    names = ["preprocessing_ns", "sampling_ns", "postprocessing_ns"]
    assert list(info["timing"]) == ([*names, "qpu_access_ns"] if name.startswith("qpu") else names)
    assert all(isinstance(value, int) and value >= 0 for value in info["timing"].values())
    assert info["timing"]["sampling_ns"] > 0
    assert isinstance(info["method"], str)
    assert "sweeps" in info
    sampleset = NativeSampler().sample(dimod.BinaryQuadraticModel({0: 1.0}, {}, 0.0, "SPIN"))
    assert list(sampleset.info["timing"]) == names


# --- executors


class Threads:
    """Notes the threads that the native core is asked to use."""

    def __init__(self, monkeypatch, processors):
        self.used = []
        solve_dense = native._core.solve_dense

        def noting(*arguments):
            self.used.append(arguments[11])
            return solve_dense(*arguments)

        monkeypatch.setattr(native, "default_num_threads", lambda: processors)
        monkeypatch.setattr(native._core, "solve_dense", noting)


class Elsewhere(Executor):
    """Stands for workers on other machines; works at once."""

    _max_workers = 4

    def submit(self, function, /, *arguments):
        future = Future()
        future.set_result(function(*arguments))
        return future


@pytest.mark.parametrize(("workers", "problems", "share"), [(4, 20, 2), (3, 20, 2), (4, 2, 4), (20, 20, 1)])
def test_workers_on_this_machine_share_its_processors(monkeypatch, workers, problems, share):
    threads = Threads(monkeypatch, processors=8)
    with ThreadPoolExecutor(workers) as executor:
        solve_ising(np.ones((problems, 2)), np.zeros((2, 2)), seed=0, executor=executor)
    assert threads.used == [share] * min(workers, problems)


def test_workers_elsewhere_use_their_machine_and_given_threads_are_kept(monkeypatch):
    threads = Threads(monkeypatch, processors=8)
    solve_ising(np.ones((8, 2)), np.zeros((2, 2)), seed=0, executor=Elsewhere())
    assert threads.used == [8] * 4
    threads.used.clear()
    with ThreadPoolExecutor(2) as executor:
        solve_ising(np.ones((8, 2)), np.zeros((2, 2)), seed=0, executor=executor, num_threads=3)
    assert threads.used == [3, 3]


# --- checks of arguments


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (lambda value: checks.check_integer("a", value, 1), np.int16(2)),
        (lambda value: checks.check_number("a", value, 0.0, 3.0), np.float32(2)),
        (lambda value: checks.check_positive("a", value), np.float64(2)),
        (checks.seed_or_random, np.uint8(2)),
        (checks.check_seed, np.uint64(2)),
    ],
)
def test_numpy_numbers_are_numbers(check, value):
    checked = check(value)
    assert checked == 2
    assert type(checked) in (int, float)


@pytest.mark.parametrize(
    "check",
    [
        lambda value: checks.check_fraction("a", value),
        lambda value: checks.check_nonnegative("a", value),
        lambda value: checks.check_learning_rate("a", value),
        lambda value: checks.check_betas("betas", (value, value)),
        checks.check_scale,
        checks.check_clip,
    ],
)
def test_numpy_numbers_are_options_of_optimizers(check):
    check(np.float32(0.5))
    for value in (True, np.True_, [0.5], None, 0.5j):
        with pytest.raises(TypeError, match="must be a number"):
            check(value)


def test_numpy_booleans_are_booleans():
    assert checks.check_bool("a", np.False_) is False
    with pytest.raises(TypeError, match="maximize must be a bool, but is 1"):
        checks.check_bool("maximize", 1)


@pytest.mark.parametrize(
    ("check", "error", "message"),
    [
        (lambda: checks.check_integer("a", 1.0), TypeError, "a must be an integer, but is 1.0"),
        (lambda: checks.check_integer("a", 0, 1), ValueError, "a must be at least 1, but is 0"),
        (lambda: checks.check_integer("a", 9, 1, 8), ValueError, "a must be at most 8, but is 9"),
        (lambda: checks.check_number("a", np.inf), ValueError, "a must be finite, but is inf"),
        (lambda: checks.check_number("a", 2, 0, 1), ValueError, "a must be from 0 to 1, but is 2"),
        (lambda: checks.check_number("a", 0, positive=True), ValueError, "a must be positive, but is 0"),
        (lambda: checks.check_positive("a", np.nan), ValueError, "a must be positive and finite, but is nan"),
        (lambda: checks.check_member("a", ["b"], ("b", "c")), ValueError, "a must be one of b, c, but is"),
        (lambda: checks.check_choice("a", ["b"], ("b", "c")), ValueError, r"Invalid a: \['b'\]"),
        (lambda: checks.check_count("a", 0), ValueError, r"Invalid a: 0 \(expected at least 1\)"),
        (lambda: checks.check_count("a", 1.0), TypeError, "a must be an integer, but is float"),
        (
            lambda: checks.check_clip(0.0, optional=True),
            ValueError,
            "Invalid clip: 0.0 .* number or None",
        ),
        (
            lambda: checks.check_clip("1", optional=True),
            TypeError,
            "clip must be a number or None, but is str",
        ),
    ],
)
def test_errors_name_the_argument_and_what_came(check, error, message):
    with pytest.raises(error, match=message):
        check()
