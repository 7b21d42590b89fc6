"""Sparse matrices of every format: right, or refused with the argument and the entry that is wrong."""

import numpy as np
import pytest
import scipy.sparse as sp

from qpsbgd import solve_ising, solve_qubo
from qpsbgd.problem import ising_problem

FORMATS = ["csr", "csc", "coo", "bsr", "dia", "lil", "dok"]
DENSE = np.array([[0.0, 1.5, 0.0, -2.0], [0.0, 0.0, 3.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.5, 0.0, 0.0, 0.0]])


def csr(data=(1.0, 2.0, 3.0), indices=(1, 2, 0), indptr=(0, 1, 2, 3, 3), n=4):
    """Rows whose parts are not checked by scipy."""
    matrix = sp.csr_matrix((n, n))
    matrix.data, matrix.indices, matrix.indptr = np.array(data), np.array(indices), np.array(indptr)
    return matrix


@pytest.mark.parametrize("make", [sp.coo_matrix, sp.coo_array])
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "dtype", [np.float64, np.float32, np.int8, np.uint16, np.int64, np.longdouble, ">f8"]
)
def test_every_format_and_dtype_is_read(make, form, dtype):
    dense = (
        np.rint(DENSE).astype(dtype) if np.dtype(dtype).kind != "u" else np.abs(np.rint(DENSE)).astype(dtype)
    )
    try:
        matrix = make(dense).asformat(form)
    except ValueError:
        pytest.skip("scipy itself does not make this one")
    found, expected = ising_problem(np.ones(4), matrix), ising_problem(np.ones(4), dense)
    spins = np.array([[[1, -1, 1, 1], [-1, -1, 1, -1]]])
    np.testing.assert_array_equal(found.energies(spins), expected.energies(spins))


@pytest.mark.parametrize("index", [4, -1, 2**31, 2**32 + 1, 2**40, -(2**32)])
def test_column_out_of_range_is_named(index):
    matrix = csr(indices=np.array([1, index, 0], dtype=np.int64))
    for call in (lambda: solve_ising(np.zeros(4), matrix), lambda: solve_qubo(matrix)):
        with pytest.raises(ValueError, match=rf"column index {index} at entry 1, expected 0 to 3"):
            call()


@pytest.mark.parametrize("form", ["csc", "coo", "bsr"])
@pytest.mark.parametrize("index", [4, -1, 2**31 - 1])
def test_index_out_of_range_is_found_before_scipy_follows_it(form, index):
    matrix = sp.coo_matrix(DENSE).asformat(form)
    if form == "coo":
        matrix.row = matrix.row.copy()
        matrix.row[2] = index
    else:
        matrix.indices = matrix.indices.copy()
        matrix.indices[-1] = index
    with pytest.raises(ValueError, match=rf"sparse J has .*index {index} at entry"):
        solve_ising(np.zeros(4), matrix)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"indptr": (0, 2, 1, 3, 3)}, r"indptr\[2\] = 1 after 2; it must not fall"),
        ({"indptr": (0, 1, 2, 3)}, r"indptr of shape \(4,\), expected \(5,\)"),
        ({"indptr": (0, 1, 2, 3, 9)}, r"indptr\[4\] = 9, expected 3"),
        ({"indptr": (0, 1, 2, 2, 2)}, r"indptr\[4\] = 2, expected 3"),
        ({"indptr": (1, 1, 2, 3, 3)}, r"indptr\[0\] = 1, expected 0"),
        ({"indptr": (0, -1, 2, 3, 3)}, r"indptr\[1\] = -1 after 0"),
        ({"data": (1.0, 2.0)}, "indices of length 3, data of length 2"),
        ({"data": (1.0, np.nan, 3.0)}, r"sparse J of shape \(3,\) has nan at \(1,\)"),
    ],
)
def test_broken_parts_are_named(parts, message):
    with pytest.raises(ValueError, match=message):
        solve_ising(np.zeros(4), csr(**parts))


@pytest.mark.parametrize(
    "parts",
    [
        {"indptr": (0.0, 1.0, 2.0, 3.0, 3.0)},
        {"indices": (1.0, 2.0, 0.0)},
        {"data": np.array([1.0, 2.0, 3.0j])},
        {"data": np.array(["1", "2", "3"])},
        {"data": np.array([1, 2, None], dtype=object)},
    ],
)
def test_parts_of_other_kinds_are_refused(parts):
    with pytest.raises(TypeError, match="J"):
        solve_ising(np.zeros(4), csr(**parts))


def test_masked_data_is_refused():
    matrix = csr()
    matrix.data = np.ma.masked_equal([1.0, 2.0, 3.0], 2.0)
    with pytest.raises(ValueError, match="J has masked entries"):
        solve_ising(np.zeros(4), matrix)


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr"])
def test_repeated_entries_are_summed(form):
    if form == "coo":
        matrix = sp.coo_matrix(([1.0, 2.0, 4.0], ([0, 0, 1], [1, 1, 0])), shape=(2, 2))
    elif form == "bsr":
        matrix = sp.bsr_matrix((np.array([[[1.0]], [[2.0]], [[4.0]]]), [1, 1, 0], [0, 2, 3]), shape=(2, 2))
    else:
        matrix = getattr(sp, f"{form}_matrix")(([1.0, 2.0, 4.0], [1, 1, 0], [0, 2, 3]), shape=(2, 2))
    assert solve_ising(np.zeros(2), matrix).best_energies.tolist() == [-7.0]


def test_repeated_small_integers_do_not_wrap():
    matrix = sp.coo_matrix((np.array([100, 100], dtype=np.int8), ([0, 0], [1, 1])), shape=(2, 2))
    assert solve_ising(np.zeros(2), matrix).best_energies.tolist() == [-200.0]


def test_rows_need_not_be_sorted():
    one, other = csr((1.0, 2.0), (3, 1), (0, 2, 2, 2, 2)), csr((2.0, 1.0), (1, 3), (0, 2, 2, 2, 2))
    spins = np.array([[[1, -1, 1, 1]]])
    assert ising_problem(np.zeros(4), one).energies(spins) == ising_problem(np.zeros(4), other).energies(
        spins
    )


@pytest.mark.parametrize("shape", [(3, 4), (0, 0)])
def test_matrix_that_is_not_square_is_refused(shape):
    with pytest.raises(ValueError, match="J"):
        ising_problem(np.zeros(3), sp.csr_matrix(shape))


def test_more_spins_than_indices_can_count_are_refused():
    with pytest.raises(ValueError, match="at most 2147483647 spins"):
        solve_qubo(sp.coo_matrix((2**40, 2**40)))
