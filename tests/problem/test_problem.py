"""Batches of problems: shapes, parts, solutions in order."""

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from oracles import all_spins
from qpsbgd.problem import CSRCouplings, IsingProblem, Solutions, ising_problem, qubo_problem


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
