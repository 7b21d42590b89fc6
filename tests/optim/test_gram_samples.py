"""`gram_samples`: a random part of the samples counts in a Gram matrix."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from qpsbgd.nn import Activated, BinaryConv2d, BinaryLinear, to_recorded
from qpsbgd.nn.convolution import image_unfolding
from qpsbgd.optim import QPSBGD
from qpsbgd.step.sampling import SampleDraw, drawn_places

CONVOLUTIONS = {
    "plain": BinaryConv2d(3, 4, 3),
    "padded": BinaryConv2d(2, 4, (3, 2), padding=(2, 1)),
    "same": BinaryConv2d(2, 4, 3, padding="same", padding_mode="reflect"),
    "strides": BinaryConv2d(2, 4, (2, 3), stride=(2, 3)),
    "dilation": BinaryConv2d(2, 4, (2, 3), dilation=(3, 2), padding=1),
    "groups": BinaryConv2d(4, 6, 2, groups=2, stride=2),
}


def gram_of(model, x, solver="native", **options):
    """A of the first step of a layer, as a hook sees it."""
    seen = []
    optimizer = QPSBGD(model.parameters(), solver=solver, **options)
    optimizer.register_projection_hook(lambda projection: seen.append(np.array(projection.A)))
    model(x).square().mean().backward()
    optimizer.step()
    return np.array(seen)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_places_are_unfolded_as_all_of_them_are(name):
    layer = CONVOLUTIONS[name]
    unfolding, x = image_unfolding(layer), torch.randn(3, layer.in_channels, 9, 8)
    whole = unfolding.input_samples(x)
    places = torch.randperm(whole.shape[1])[:17].sort().values
    assert torch.equal(unfolding.input_samples_at(x, places), whole[:, places])


def test_sequences_are_unfolded_at_places_too():
    torch.manual_seed(0)
    model, x = to_recorded(nn.Sequential(nn.Conv1d(3, 4, 3, stride=2))), torch.randn(5, 3, 20)
    full, part = (gram_of(copy.deepcopy(model), x, gram_samples=count)[0] for count in (45, 44))
    assert not np.array_equal(full, part)
    np.testing.assert_allclose(part, full, atol=0.1)


def test_places_are_in_order_and_in_every_stretch():
    for seed in range(5):
        places = drawn_places(7, 49, seed, torch.device("cpu"))
        assert [int(place) // 7 for place in places] == list(range(7))
    assert drawn_places(50, 50, 0, torch.device("cpu")).tolist() == list(range(50))


@pytest.mark.parametrize("solver", ["native", "device"])
@pytest.mark.parametrize("groups", [1, 2])
def test_mean_over_many_draws_is_the_whole_matrix(solver, groups):
    torch.manual_seed(0)
    layer, x = BinaryConv2d(2, 4, 2, groups=groups), torch.randn(6, 2, 5, 5)
    full = gram_of(copy.deepcopy(layer), x, solver)
    draws = [gram_of(copy.deepcopy(layer), x, solver, gram_samples=24, seed=seed) for seed in range(80)]
    assert not np.array_equal(draws[0], draws[1])
    error = np.std(draws, axis=0) / len(draws) ** 0.5
    assert (np.abs(np.mean(draws, axis=0) - full) < 4.5 * error).all()


def test_matrix_of_a_part_is_that_of_these_samples():
    x, layer = torch.randn(40, 6), BinaryLinear(6, 3)
    seen = gram_of(layer, x, gram_samples=10, seed=3)[0]
    draw = SampleDraw({"gram_samples": 10, "seed": 3, "step": 0}, 0)
    entropy = np.random.SeedSequence([3, 0, 0, 2**32]).generate_state(1, np.uint64)
    part = x[drawn_places(10, 40, int(entropy[0]), x.device)]
    np.testing.assert_allclose(seen, (part.T @ part / 60).numpy(), rtol=1e-5, atol=1e-7)
    assert pickle.loads(pickle.dumps(draw))._options == {"gram_samples": 10, "seed": 3, "step": 0}


def test_steps_draw_other_samples_and_the_same_again():
    x, runs = torch.randn(40, 6), []
    for _ in range(2):
        torch.manual_seed(0)
        layer, seen = BinaryLinear(6, 3), []
        optimizer = QPSBGD(layer.parameters(), gram_samples=10)
        optimizer.register_projection_hook(lambda projection, seen=seen: seen.append(projection.A.copy()))
        for _ in range(2):
            optimizer.zero_grad()
            layer(x).square().mean().backward()  # a static input: its matrix is not kept
            optimizer.step()
        runs.append(seen)
    assert not np.array_equal(runs[0][0], runs[0][1])
    np.testing.assert_array_equal(runs[0], runs[1])


@pytest.mark.parametrize("solver", ["native", "device"])
def test_more_samples_than_there_are_is_all_of_them(solver):
    x, layer = torch.randn(40, 6), BinaryLinear(6, 3)
    full, same = (gram_of(copy.deepcopy(layer), x, solver, gram_samples=count) for count in (None, 40))
    np.testing.assert_array_equal(full, same)


@pytest.mark.parametrize("solver", ["native", "device"])
def test_every_pass_has_its_draw_and_its_weight_where_gradients_add_up(solver):
    """Passes of 90 and 10 equal samples: their parts count as 9 to 1."""
    layer = BinaryLinear(4, 3)
    seen = []
    optimizer = QPSBGD(layer.parameters(), solver=solver, gram_samples=8)
    optimizer.register_projection_hook(lambda projection: seen.append(np.array(projection.A)))
    for value, count in ((1.0, 90), (2.0, 10), (1.0, 90), (2.0, 10)):
        layer(torch.full((count, 4), value)).square().sum().backward()
    optimizer.step()
    np.testing.assert_allclose(seen[0], np.full((4, 4), (0.9 + 0.4) / 4), rtol=1e-5)


def test_samples_of_passes_that_add_up_change_from_step_to_step():
    layer, x, seen = BinaryLinear(4, 3), torch.randn(60, 4), []
    optimizer = QPSBGD(layer.parameters(), gram_samples=8)
    optimizer.load_state_dict(optimizer.state_dict())  # a fresh parameter group, with the present step
    optimizer.register_projection_hook(lambda projection: seen.append(projection.A.copy()))
    for _ in range(2):
        optimizer.zero_grad()
        for _ in range(3):
            layer(x).square().mean().backward()
        optimizer.step()
    assert not np.array_equal(seen[0], seen[1])


def test_wide_layers_descend_by_the_samples_that_count():
    torch.manual_seed(0)
    x, layer = torch.randn(80, 2048), BinaryLinear(2048, 3)
    weights = []
    for count in (None, 40):
        own = copy.deepcopy(layer)
        optimizer = QPSBGD(own.parameters(), lr=0.1, gram_samples=count)
        own(x).sin().mean().backward()
        optimizer.step()
        weights.append(own.weight.detach())
    assert not torch.equal(*weights)


@pytest.mark.parametrize("options", [{}, {"memory": "momentum"}, {"variant": "projected"}, {"gram_every": 3}])
@pytest.mark.parametrize("solver", ["native", "device"])
def test_training_by_a_part_of_the_places_descends(solver, options):
    torch.manual_seed(0)
    model = nn.Sequential(BinaryConv2d(2, 8, 3), nn.ReLU(), nn.Flatten(), nn.BatchNorm1d(288))
    model.append(BinaryLinear(288, 4))
    optimizer = QPSBGD(model.parameters(), 0.05, solver=solver, gram_samples=200, **options)
    x, y = torch.randn(64, 2, 8, 8), torch.randint(4, (64,))
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.4


@pytest.mark.parametrize("value", [0, -5])
def test_number_below_one_is_refused(value):
    with pytest.raises(ValueError, match=f"Invalid gram_samples: {value}"):
        QPSBGD(BinaryLinear(4, 3).parameters(), gram_samples=value)


def test_slopes_need_all_samples():
    model = Activated(BinaryLinear(4, 3), nn.Tanh())
    with pytest.raises(ValueError, match="gram_samples"):
        QPSBGD(model.parameters(), jacobian="post-activation", gram_samples=10)
