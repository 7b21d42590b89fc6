"""Running means by the native pass: the bits that torch's own operations give."""

import numpy as np
import pytest
import torch

from qpsbgd import _core
from qpsbgd.step.memory import average, running_means

SIZES = [(1, 1), (3, 5), (4, 16), (7, 33), (300, 257)]


def same_bits(one, two):
    return one.dtype == two.dtype and one.shape == two.shape and one.tobytes() == two.tobytes()


@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "default"), reason="torch rounds twice here"
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("decay", [0.0, 0.3, 0.5, 0.9, 0.999])
def test_native_means_are_those_of_torch_to_the_last_bit(dtype, decay):
    torch.manual_seed(0)
    for m, d in SIZES:
        state = {}
        p_state = A_state = None
        for step in (1, 2, 3):
            p, A = torch.randn(m, d, dtype=dtype), torch.randn(d, d, dtype=dtype).numpy()
            p_state, p_mean = average(p_state, p, step, decay)
            A_state, A_mean = average(A_state, torch.from_numpy(A), step, decay)
            found_p, found_A, state = running_means(p, A, state, (decay, decay))
            assert same_bits(found_p.numpy(), p_mean.numpy())
            assert same_bits(found_A, A_mean.numpy())
            assert same_bits(state["gradient_average"].numpy(), p_state.numpy())
            assert same_bits(state["gram_average"].numpy(), A_state.numpy())
            assert state["step"] == step


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threads_and_rows_that_are_apart_change_no_bit(dtype):
    rng = np.random.default_rng(0)
    wide = rng.normal(size=(700, 400)).astype(dtype)
    values, past = wide[:, :301], rng.normal(size=(700, 301)).astype(dtype)
    how = {"weight": 0.2, "correction": 0.36}
    state, mean = _core.running_mean(values.copy(), past, num_threads=1, **how)
    for threads in (1, 2, 3):
        again, mean_again = _core.running_mean(values, past, num_threads=threads, **how)
        assert same_bits(again, state)
        assert same_bits(mean_again, mean)
    assert np.allclose(state, past + 0.2 * (values - past), rtol=1e-5, atol=1e-6)
    assert np.allclose(mean, state / 0.36, rtol=1e-5, atol=1e-6)


def test_state_of_the_step_before_is_left_as_it_was():
    """A step that fails later must find it there."""
    p, A = torch.ones(2, 3), np.eye(3, dtype=np.float32)
    _, _, before = running_means(p, A, {}, (0.5, 0.5))
    kept = {name: value.clone() for name, value in before.items() if name != "step"}
    running_means(5 * p, 7 * A, before, (0.5, 0.5))
    assert all(torch.equal(before[name], value) for name, value in kept.items())
    assert torch.equal(p, torch.ones(2, 3))
    assert np.array_equal(A, np.eye(3))


@pytest.mark.parametrize(
    ("values", "past", "message"),
    [
        (np.zeros(3), None, r"values must have shape \(m, d\)"),
        (np.zeros((2, 3)), np.zeros((3, 2)), "past must have the shape of values"),
        (np.zeros((3, 4)).T, None, "values must have contiguous rows"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(values, past, message):
    with pytest.raises(ValueError, match=message):
        _core.running_mean(values, past, weight=0.1, correction=1.0, num_threads=1)
