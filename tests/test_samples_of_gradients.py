"""The samples behind A are those of the backward passes that added to the gradient: no more, no fewer."""

import gc
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from qpsbgd.baselines import BinaryConnect
from qpsbgd.capture import attach
from qpsbgd.nn import Activated, BinaryConv2d, BinaryGCNConv, BinaryLinear
from qpsbgd.optim import QPSBGD

RING = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])


class Ring(nn.Module):
    """A graph convolution on a ring of four nodes."""

    def __init__(self):
        super().__init__()
        self.layer = BinaryGCNConv(4, 3)

    def forward(self, x):
        return self.layer(x, RING)


LAYERS = {
    # model, one sample's shape, samples in it
    "linear": (lambda: BinaryLinear(4, 3), (4,), 1),
    "sequence": (lambda: BinaryLinear(4, 3), (5, 4), 5),
    "convolution": (lambda: BinaryConv2d(2, 4, 3, padding=1), (2, 5, 5), 25),
    "groups": (lambda: BinaryConv2d(4, 4, 2, groups=2), (4, 3, 3), 4),
    "activated": (lambda: Activated(BinaryLinear(4, 3), nn.Tanh()), (4,), 1),
}
every_layer = pytest.mark.parametrize("kind", LAYERS)


def make(kind):
    build, shape, per_item = LAYERS[kind]
    return build(), shape, per_item


def seen_samples(optimizer):
    """What the projection hooks of a step tell of every weight's number of samples."""
    counts = []
    handle = optimizer.register_projection_hook(lambda shown: counts.append(shown.options["num_samples"]))
    optimizer.step()
    handle.remove()
    return set(counts)


def drop_by_model(model, optimizer):
    model.zero_grad()


def drop_in_place(model, optimizer):
    model.zero_grad(set_to_none=False)


def drop_one_by_one(model, optimizer):
    for parameter in model.parameters():
        parameter.grad = None


def drop_by_another(model, optimizer):
    torch.optim.SGD(model.parameters(), lr=0.0).zero_grad()


def drop_and_replace(model, optimizer):
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)


DROPS = [drop_by_model, drop_in_place, drop_one_by_one, drop_by_another, drop_and_replace]


@every_layer
@pytest.mark.parametrize("drop", DROPS)
@pytest.mark.parametrize("variant", ["continuous", "projected"])
def test_samples_of_a_dropped_gradient_do_not_count(kind, drop, variant):
    model, shape, per_item = make(kind)
    optimizer = QPSBGD(model.parameters(), variant=variant)
    model(torch.randn(100, *shape)).square().mean().backward()
    drop(model, optimizer)
    model(torch.randn(8, *shape)).square().mean().backward()
    assert seen_samples(optimizer) == {8 * per_item}


@pytest.mark.parametrize("drop", DROPS)
def test_a_step_is_the_same_however_gradients_are_dropped(drop):
    weights = []
    for forget in (lambda model, optimizer: optimizer.zero_grad(), drop):
        torch.manual_seed(0)
        model = nn.Sequential(BinaryLinear(6, 5), nn.BatchNorm1d(5), BinaryLinear(5, 3))
        optimizer = QPSBGD(model.parameters(), scale="raw")
        for size in (40, 7, 7, 9):
            forget(model, optimizer)
            model(torch.randn(size, 6)).square().mean().backward()
            optimizer.step()
        weights.append([parameter.detach().clone() for parameter in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))


def test_generator_and_discriminator_of_the_tutorial_train_alike_with_either_zero_grad():
    def trained(forget):
        torch.manual_seed(1)
        generator = nn.Sequential(BinaryLinear(3, 8), nn.Tanh(), nn.Linear(8, 6))
        critic = nn.Sequential(BinaryLinear(6, 8), nn.Tanh(), nn.Linear(8, 1))
        optimizers = [QPSBGD(net.parameters(), scale="raw") for net in (critic, generator)]
        for _ in range(4):
            forget(critic, optimizers[0])
            critic(torch.randn(16, 6)).mean().backward()
            made = generator(torch.randn(12, 3))
            (-critic(made.detach())).mean().backward()
            optimizers[0].step()
            forget(generator, optimizers[1])
            critic(made).mean().backward()  # adds to the critic's gradients, which are dropped
            optimizers[1].step()
        return [p.detach() for net in (critic, generator) for p in net.parameters()]

    one = trained(lambda net, optimizer: net.zero_grad())
    other = trained(lambda net, optimizer: optimizer.zero_grad())
    assert all(torch.equal(first, second) for first, second in zip(one, other, strict=True))


@every_layer
def test_gradients_of_the_input_leave_nothing(kind):
    model, shape, per_item = make(kind)
    optimizer = QPSBGD(model.parameters())
    x = torch.randn(16, *shape)
    for _ in range(5):  # projected gradient descent on the input
        x.requires_grad_()
        (slope,) = torch.autograd.grad(model(x).square().mean(), x)
        x = (x + 0.1 * slope.sign()).detach()
    model(x).square().mean().backward()
    assert seen_samples(optimizer) == {16 * per_item}


@every_layer
def test_backward_for_the_input_only_leaves_nothing(kind):
    model, shape, per_item = make(kind)
    optimizer = QPSBGD(model.parameters())
    x = torch.randn(16, *shape, requires_grad=True)
    model(x).square().mean().backward(inputs=[x])
    model(torch.randn(4, *shape)).square().mean().backward()
    assert seen_samples(optimizer) == {4 * per_item}


@every_layer
def test_samples_of_a_gradient_penalty_count_once(kind):
    model, shape, per_item = make(kind)
    optimizer = QPSBGD(model.parameters())
    x = torch.randn(6, *shape, requires_grad=True)
    (slope,) = torch.autograd.grad(model(x).square().sum(), x, create_graph=True)
    slope.square().mean().backward()
    assert seen_samples(optimizer) == {6 * per_item}


@every_layer
def test_samples_of_a_graph_that_is_walked_twice_count_once(kind):
    model, shape, per_item = make(kind)
    optimizer = QPSBGD(model.parameters(), scale="raw")
    z = model(torch.randn(8, *shape))
    z.square().mean().backward(retain_graph=True)
    z.sin().mean().backward()
    assert seen_samples(optimizer) == {8 * per_item}


def test_output_gradients_of_a_graph_that_is_walked_twice_add_up():
    layer = BinaryLinear(4, 3).double()
    capture = attach(layer.weight, keep_output_gradients=True)
    z = layer(torch.randn(8, 4).double())
    z.square().mean().backward(retain_graph=True)
    z.sin().mean().backward()
    V, X = capture.jacobian_factors()
    torch.testing.assert_close(layer.weight.grad, V.T @ X / (8 * 2))


def test_first_pass_of_sharpness_aware_minimisation_does_not_count():
    model = nn.Sequential(BinaryLinear(4, 6), nn.Tanh(), BinaryLinear(6, 2))
    optimizer = QPSBGD(model.parameters())
    x = torch.randn(8, 4)
    model(x).square().mean().backward()
    with torch.no_grad():
        climbed = {p: 0.05 * p.grad / p.grad.norm() for p in model.parameters()}
        for parameter, step in climbed.items():
            parameter.add_(step)
            parameter.grad = None
    model(x).square().mean().backward()
    with torch.no_grad():
        for parameter, step in climbed.items():
            parameter.sub_(step)
    assert seen_samples(optimizer) == {8}


@every_layer
def test_samples_of_all_passes_that_add_up_count(kind):
    model, shape, per_item = make(kind)
    optimizer = QPSBGD(model.parameters())
    for size in (3, 5, 2):
        model(torch.randn(size, *shape)).square().mean().backward()
    assert seen_samples(optimizer) == {10 * per_item}


def test_gradients_that_a_step_leaves_add_up_with_their_samples():
    layer = BinaryLinear(4, 3)
    optimizer = QPSBGD(layer.parameters())
    layer(torch.randn(5, 4)).square().mean().backward()
    assert seen_samples(optimizer) == {5}
    assert seen_samples(optimizer) == {5}  # the same gradient once more
    layer(torch.randn(2, 4)).square().mean().backward()
    assert seen_samples(optimizer) == {7}


@pytest.mark.parametrize("change", ["clip", "unscale", "replace"])
def test_gradients_changed_between_passes_keep_their_samples(change):
    layer = BinaryLinear(4, 3)
    optimizer = QPSBGD(layer.parameters())
    for size in (5, 2):
        layer(torch.randn(size, 4)).square().mean().backward()
        if change == "clip":
            nn.utils.clip_grad_norm_(layer.parameters(), 1e-3)
        elif change == "unscale":
            layer.weight.grad.div_(3)
        else:
            layer.weight.grad = layer.weight.grad / 3
    assert seen_samples(optimizer) == {7}


def test_penalty_on_the_weights_alone_has_no_samples():
    layer = BinaryLinear(4, 3)
    optimizer = QPSBGD(layer.parameters())
    layer(torch.randn(5, 4)).square().mean().backward()
    layer.zero_grad()
    layer.weight.square().sum().backward()
    with pytest.raises(RuntimeError, match="no layer input was captured"):
        optimizer.step()


def test_penalty_beside_the_loss_changes_no_samples():
    layer = BinaryLinear(4, 3)
    optimizer = QPSBGD(layer.parameters())
    (layer(torch.randn(5, 4)).square().mean() + layer.weight.square().sum()).backward()
    layer.weight.abs().sum().backward()
    assert seen_samples(optimizer) == {5}


@pytest.mark.parametrize("use_reentrant", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_checkpointed_layers_count_once(use_reentrant, shared):
    layer = BinaryLinear(4, 4)
    optimizer = QPSBGD(layer.parameters())
    x = torch.randn(6, 4, requires_grad=True)
    y = layer(x).tanh() if shared else x
    checkpoint(lambda y: layer(y).tanh(), y, use_reentrant=use_reentrant).square().mean().backward()
    assert seen_samples(optimizer) == {12 if shared else 6}


def test_step_in_the_backward_pass_finds_its_samples():
    model = nn.Sequential(BinaryLinear(4, 5), nn.Tanh(), BinaryLinear(5, 3))
    optimizers = {p: QPSBGD([p]) for p in model.parameters()}
    counts = []

    def step(parameter):
        counts.append(seen_samples(optimizers[parameter]))
        parameter.grad = None

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(step)
    for size in (5, 6):
        model(torch.randn(size, 4)).square().mean().backward()
    assert counts == [{5}, {5}, {6}, {6}]


def test_thawed_weight_is_recorded():
    layer = BinaryLinear(4, 3)
    layer.weight.requires_grad_(False)
    optimizer = QPSBGD(layer.parameters())
    layer.weight.requires_grad_(True)
    layer(torch.randn(5, 4)).square().mean().backward()
    assert seen_samples(optimizer) == {5}


# Memory


def alive():
    gc.collect()
    tensors = [t for t in gc.get_objects() if issubclass(type(t), torch.Tensor)]
    return sum(t.numel() for t in tensors if type(t).__name__ != "FakeTensor")  # of the compiler's tests


def test_gradients_for_the_weights_that_are_not_accumulated_leave_no_memory():
    layer = BinaryLinear(64, 64)
    optimizer = QPSBGD(layer.parameters())

    def ask():
        torch.autograd.grad(layer(torch.randn(32, 64)).square().mean(), layer.weight)

    ask()
    before = alive()
    for _ in range(50):
        ask()
    assert alive() <= before
    assert not optimizer._captures[layer.weight].records


@pytest.mark.parametrize("variant", ["continuous", "projected"])
def test_resting_optimizer_leaves_memory_flat(variant):
    body, head = BinaryLinear(64, 32), nn.Linear(32, 2)
    optimizer = QPSBGD(body.parameters(), variant=variant)
    other = torch.optim.SGD(head.parameters(), lr=0.1)
    sizes = []
    for _ in range(8):
        other.zero_grad()
        head(body(torch.randn(128, 64))).square().mean().backward()
        other.step()
        sizes.append(sum(record.inputs.numel() for record in optimizer._captures[body.weight].records))
    assert max(sizes) <= 128 * 64
    assert seen_samples(optimizer) == {8 * 128}


def test_accumulation_costs_the_memory_of_one_pass_and_the_matrix():
    d, n = 64, 1024
    peaks = []
    for passes in (1, 16):
        layer = BinaryLinear(d, d)
        optimizer = QPSBGD(layer.parameters())
        peak = 0
        for _ in range(passes):
            before = alive()
            loss = layer(torch.randn(n, d)).square().mean()
            loss.backward()
            del loss
            peak = max(peak, alive())
        peaks.append(peak)
        assert seen_samples(optimizer) == {passes * n}
        del layer, optimizer, before
    one, many = peaks
    assert many <= 1.2 * one + 2 * d * d


def test_accumulated_matrix_is_that_of_all_samples():
    x = torch.randn(30, 6).double()
    shown = []
    for sizes in ((30,), (7, 20, 3)):
        torch.manual_seed(2)
        layer = BinaryLinear(6, 4).double()
        optimizer = QPSBGD(layer.parameters())
        optimizer.register_projection_hook(shown.append)
        bounds = torch.tensor([0, *sizes]).cumsum(0).tolist()
        for first, last in pairwise(bounds):
            (layer(x[first:last]).square().sum() / 30).backward()
        optimizer.step()
    torch.testing.assert_close(torch.from_numpy(shown[0].A), torch.from_numpy(shown[1].A))
    torch.testing.assert_close(shown[0].G, shown[1].G)


def test_curvatures_of_accumulated_passes_are_those_of_all_samples():
    x = torch.randn(30, 6).double()
    states = []
    for sizes in ((30,), (7, 20, 3)):
        torch.manual_seed(2)
        layer = BinaryLinear(6, 4).double()
        optimizer = QPSBGD(layer.parameters(), variant="projected")
        bounds = torch.tensor([0, *sizes]).cumsum(0).tolist()
        for first, last in pairwise(bounds):
            (layer(x[first:last]).square().sum() / 30).backward()
        optimizer.step()
        states.append(optimizer.state[layer.weight])
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name])


def test_a_baseline_records_nothing():
    layer = BinaryLinear(4, 3)
    optimizer = BinaryConnect(layer.parameters())
    layer(torch.randn(5, 4)).square().mean().backward()
    optimizer.step()
    assert not hasattr(layer.weight, "_qpsbgd_capture")
