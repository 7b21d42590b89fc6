"""p of the QUBOs with its singular values raised to a power."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from qpsbgd import QPSBGD
from qpsbgd.nn import BinaryLinear, to_recorded
from qpsbgd.optim.parallel import chosen
from qpsbgd.step.spectrum import with_singular_values


def by_svd(p, power):
    U, S, V = torch.linalg.svd(p.double(), full_matrices=False)
    kept = (S / S[..., :1]).clamp_min(1e-2) ** (power - 1) * S
    return (U * kept.unsqueeze(-2)) @ V


@given(st.integers(1, 9), st.integers(1, 9), st.floats(0, 1), st.integers(0, 1000))
def test_singular_values_are_raised_to_the_power(rows, columns, power, seed):
    p = torch.randn(2, rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    torch.testing.assert_close(with_singular_values(p, power), by_svd(p, power), rtol=1e-6, atol=1e-6)


def test_power_0_makes_an_orthogonal_matrix_and_power_1_none():
    p = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    flat = with_singular_values(p, 0.0)
    flat = flat / torch.linalg.matrix_norm(flat, 2)
    torch.testing.assert_close(flat @ flat.T, torch.eye(5), rtol=1e-4, atol=1e-5)
    assert with_singular_values(p, 1.0) is p


@pytest.mark.parametrize(
    "p", [torch.zeros(3, 4), torch.zeros(0, 4), torch.ones(3, 4), 1e-30 * torch.ones(4, 3)]
)
def test_matrices_of_low_rank_stay_finite_and_keep_their_direction(p):
    torch.testing.assert_close(with_singular_values(p, 0.5), p)


def test_noise_far_below_the_largest_direction_is_not_blown_up():
    p = torch.diag(torch.tensor([1.0, 1e-6]))
    torch.testing.assert_close(with_singular_values(p, 0.0), torch.diag(torch.tensor([1.0, 1e-4])))


@pytest.mark.parametrize("power", [0.5, 0.0])
def test_rows_and_columns_without_gradient_have_none_after(power):
    p = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    p[2], p[:, 4] = 0, 0
    flat = with_singular_values(p, power)
    assert torch.equal(flat == 0, p == 0)
    torch.testing.assert_close(flat, by_svd(p, power).float(), rtol=1e-4, atol=1e-6)


def trained(steps=4, layer=None, **options):
    """Projections of every step of a layer, and the gradients that they were made of."""
    torch.manual_seed(0)
    layer = to_recorded(nn.Linear(6, 4, bias=False)) if layer is None else layer
    optimizer = QPSBGD(layer.parameters(), lr=0.1, betas=(0.7, 0.9), **options)
    seen = []
    optimizer.register_projection_hook(seen.append)
    for _ in range(steps):
        optimizer.zero_grad()
        (layer(1 + torch.randn(16, 6)) ** 2).mean().backward()
        optimizer.step()
    return layer, seen


@pytest.mark.parametrize("power", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("solver", ["native", "device"])
def test_p_is_made_of_the_running_mean(power, solver):
    _, seen = trained(singular_power=power, solver=solver)
    mean = torch.zeros(4, 6)
    for step, projection in enumerate(seen, start=1):
        mean = 0.7 * mean + 0.3 * projection.gradient
        expected = mean / (1 - 0.7**step)
        torch.testing.assert_close(projection.p, by_svd(expected, power).float(), rtol=1e-4, atol=1e-6)


def test_without_the_qubo_a_step_is_the_signs_of_p():
    _, seen = trained(singular_power=0.5, kappa=0.0)
    for projection in seen:
        assert torch.equal(projection.G.float(), projection.p.sign())


def test_defaults_change_nothing():
    layer, _ = trained()
    same, _ = trained(singular_power=1.0)
    assert torch.equal(layer.weight, same.weight)
    assert not torch.equal(layer.weight, trained(singular_power=0.5)[0].weight)


def test_every_channel_group_has_a_spectrum_of_its_own():
    torch.manual_seed(0)
    net = to_recorded(nn.Conv1d(4, 6, 1, groups=2, bias=False))
    results = {}
    for solver in ("native", "device"):
        model, seen = copy.deepcopy(net), []
        optimizer = QPSBGD(model.parameters(), singular_power=0.5, solver=solver)
        optimizer.register_projection_hook(seen.append)
        (model(torch.ones(3, 4, 5) + torch.arange(5.0)) ** 2).mean().backward()
        optimizer.step()
        gradient = torch.cat([projection.gradient for projection in seen])
        p = torch.cat([projection.p for projection in seen])
        torch.testing.assert_close(p[:3], by_svd(gradient[:3], 0.5).float(), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(p[3:], by_svd(gradient[3:], 0.5).float(), rtol=1e-4, atol=1e-6)
        results[solver] = model.weight
    assert torch.equal(results["native"], results["device"])


@pytest.mark.parametrize("others", [{"memory": "error-feedback"}, {"memory": None}, {"variant": "projected"}])
def test_it_is_refused_without_a_running_mean(others):
    with pytest.raises(
        ValueError, match=r"singular_power 0\.5 needs memory 'momentum' and variant 'continuous'"
    ):
        QPSBGD(BinaryLinear(4, 2).parameters(), singular_power=0.5, **others)


@pytest.mark.parametrize(
    ("option", "error"),
    [
        ({"singular_power": 1.5}, r"singular_power is 1\.5, expected at most 1"),
        ({"singular_power": -0.5}, "singular_power"),
        ({"singular_power": "half"}, "singular_power"),
        ({"singular_power": 0.5, "parallelism": "replicated"}, "does not go with parallelism 'replicated'"),
    ],
)
def test_other_values_are_refused(option, error):
    with pytest.raises((TypeError, ValueError), match=error):
        QPSBGD(to_recorded(nn.Linear(4, 2)).parameters(), **option)


def test_processes_that_round_otherwise_solve_each_row_once():
    weights = [torch.zeros(10, 10)]
    assert chosen("auto", "native", weights, 2) == "replicated"
    assert chosen("auto", "native", weights, 2, rounded=True) == "rows"
    assert chosen("vote", "native", weights, 2, rounded=True) == "vote"


def test_checkpoint_of_before_leaves_the_spectrum():
    layer, _ = trained(1)
    optimizer = QPSBGD(layer.parameters(), singular_power=0.5)
    saved = optimizer.state_dict()
    del saved["param_groups"][0]["singular_power"]
    optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["singular_power"] == 1.0
