"""Arrays of every kind become float32 or float64 without losing a number, or are refused by name."""

import numpy as np
import pytest
import torch

from qpsbgd import NativeSampler, project, solve_ising, solve_qubo
from qpsbgd.problem import ising_problem, qubo_problem
from qpsbgd.problem.arrays import real_array

MASKED = np.ma.masked_array(np.eye(3), mask=np.eye(3, dtype=bool))
ROW = MASKED[0]


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("h", lambda: solve_ising(ROW, np.zeros((3, 3)))),
        ("J", lambda: solve_ising(np.zeros(3), MASKED)),
        ("J", lambda: solve_ising(np.zeros(3), [MASKED, MASKED])),
        ("J", lambda: solve_ising(np.zeros(3), [ROW, ROW, ROW])),
        ("J", lambda: solve_ising(np.zeros(2), [[0.0, np.ma.masked], [0.0, 0.0]])),
        ("Q", lambda: solve_qubo(MASKED)),
        ("linear", lambda: solve_qubo(np.zeros((3, 3)), ROW)),
        (
            "initial_states",
            lambda: solve_ising(
                np.zeros(3), np.zeros((3, 3)), initial_states=np.ma.masked_equal([[1, -1, 1]], 1)
            ),
        ),
        ("spins", lambda: ising_problem(np.zeros(3), np.zeros((3, 3))).energies(MASKED[None])),
        ("V", lambda: project(MASKED, np.ones((3, 4)))),
        ("X", lambda: project(np.ones((3, 4)), MASKED)),
        ("memory", lambda: project(np.ones((3, 3)), np.ones((3, 3)), memory=MASKED)),
        ("slopes", lambda: project(np.ones((3, 3)), np.ones((3, 3)), slopes=MASKED)),
    ],
)
def test_masked_entries_are_refused_by_name(name, call):
    with pytest.raises(ValueError, match=f"{name} has masked entries"):
        call()


def test_masked_initial_states_of_the_sampler_are_refused():
    states = (np.ma.masked_equal([[1, -1]], 1), ["a", "b"])
    with pytest.raises(ValueError, match="initial_states has masked entries"):
        NativeSampler().sample_ising({"a": 1, "b": 1}, {}, initial_states=states)


def test_mask_that_hides_nothing_is_no_mask():
    open_mask = np.ma.masked_array(np.eye(3), mask=False)
    assert solve_qubo(-open_mask, seed=0).best_energies.tolist() == [-3.0]


@pytest.mark.parametrize("value", [2**53 + 1, -(2**53) - 1, 2**63 - 1, 2**64 - 1])
def test_integers_that_float64_does_not_hold_are_refused(value):
    with pytest.raises(ValueError, match=rf"Q of shape \(2, 2\) has {value} at \(0, 1\)"):
        qubo_problem(np.array([[0, value], [0, 0]], dtype=np.uint64 if value >= 2**63 else np.int64))


@pytest.mark.parametrize("value", [2**53, 2**62, -(2**63), 2**63])
def test_large_integers_that_float64_holds_are_kept(value):
    dtype = np.uint64 if value >= 2**63 else np.int64
    assert int(qubo_problem(np.array([[0, value], [0, 0]], dtype=dtype)).J[0, 1]) == value


@pytest.mark.parametrize("value", [2**64, 10**400])
def test_integers_beyond_64_bits_are_refused(value):
    with pytest.raises(TypeError, match=r"J must hold real numbers, .*beyond 64 bits"):
        ising_problem([0, 0], [[0, value], [0, 0]])


@pytest.mark.parametrize("value", [[1j], ["a"], [None], np.zeros(2, "M8[s]"), np.zeros(2, "f4,f4")])
def test_what_is_no_real_number_is_refused(value):
    with pytest.raises(TypeError, match="h must hold real numbers"):
        ising_problem(value, np.zeros((2, 2)))


def test_tensor_that_needs_a_gradient_is_read():
    assert ising_problem([0.0], torch.ones(1, 1, requires_grad=True)).J.tolist() == [[1.0]]


@pytest.mark.parametrize("dtype", [">f8", ">f4", ">i8", ">i2", np.longdouble, np.float16, bool])
def test_other_dtypes_become_native_floats(dtype):
    array = np.array([[0, 1], [1, 0]]).astype(dtype)
    made = real_array("J", array)
    assert made.dtype in (np.float32, np.float64)
    assert made.dtype.isnative
    np.testing.assert_array_equal(made, array.astype(np.float64))


def test_extended_numbers_that_overflow_are_refused():
    if np.finfo(np.longdouble).max == np.finfo(np.float64).max:
        pytest.skip("long double is float64 here")
    with pytest.raises(ValueError, match=r"h of shape \(1,\) has inf"):
        ising_problem(np.array([np.finfo(np.longdouble).max]), [[0.0]])


@pytest.mark.parametrize("dtype", [">f8", np.longdouble])
def test_projection_does_not_round_wide_floats_to_float32(dtype):
    V, X = np.array([[1.0], [-1.0]]), np.array([[1.0 + 1e-12], [1.0]])
    assert project(V, X).tolist() == [[1.0]]
    assert project(V, X.astype(dtype)).tolist() == [[1.0]]  # in float32 the gradient is 0


def test_projection_does_not_round_wide_integers_to_float32():
    V, X = np.array([[1.0], [-1.0]], dtype=np.float32), np.array([[2**24 + 1], [2**24]])
    assert project(V, X).tolist() == [[1.0]]
    tensors = torch.from_numpy(V), torch.from_numpy(X)
    assert project(*tensors).tolist() == [[1.0]]


# --- energies that overflow

HUGE = 1e308


@pytest.mark.parametrize(
    ("names", "call"),
    [
        ("Q", lambda: solve_qubo([[HUGE, HUGE], [0, HUGE]])),
        ("Q and linear", lambda: solve_qubo(np.zeros((2, 2)), [HUGE, HUGE])),
        ("h and J", lambda: solve_ising([HUGE, HUGE], np.zeros((2, 2)))),
        ("h and J", lambda: solve_ising([0, 0], [[0, HUGE], [HUGE, 0]])),
        ("the coefficients of bqm", lambda: NativeSampler().sample_ising({0: HUGE, 1: HUGE}, {})),
        ("the coefficients of bqm", lambda: NativeSampler().sample_qubo({(0, 1): HUGE, (0, 0): HUGE})),
    ],
)
def test_energies_that_overflow_are_refused(names, call):
    with pytest.raises(ValueError, match=f"{names} are too large: an energy overflows float64"):
        call()


def test_problem_that_overflows_is_named():
    with pytest.raises(ValueError, match="problem 1 adds up to inf"):
        ising_problem([[0, 0], [HUGE, HUGE]], np.zeros((2, 2)))


def test_many_large_numbers_of_both_signs_are_summed_before_they_are_refused():
    assert solve_ising(np.full(64, 1e305), np.zeros((64, 64)), seed=0).best_energies == pytest.approx(
        [-6.4e306]
    )
