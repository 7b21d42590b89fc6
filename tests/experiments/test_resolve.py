"""The exact neuron re-solve against brute force and autograd."""

import copy
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from oracles import all_spins
from qpsbgd.experiments.classification import Samples
from qpsbgd.experiments.finishing import EXPERIMENT, RESOLVE, Finishing
from qpsbgd.experiments.networks import Mlp
from qpsbgd.experiments.resolve import (
    SignLayer,
    SignNet,
    flip_output,
    fold,
    refit_output,
    resolve,
    resolve_neuron,
)
from qpsbgd.nn import BinaryActivation, BinaryLinear, Scale


def sign_model(*widths, bias=False):
    """A network with batch norms that have seen data and whose parameters have all signs."""
    *hidden, last = itertools.pairwise(widths)
    layers = []
    for inputs, outputs in hidden:
        layers += [BinaryLinear(inputs, outputs, bias=bias), nn.BatchNorm1d(outputs), BinaryActivation()]
    model = nn.Sequential(*layers, BinaryLinear(*last, bias=bias), Scale(2.0))
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    model(3 * torch.randn(32, widths[0]) + 1)
    return model.eval()


def random_net(*widths, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def signs(*shape):
        return torch.randint(2, shape, generator=generator).float() * 2 - 1

    *hidden, last = itertools.pairwise(widths)
    layers = [
        SignLayer(signs(outputs, inputs), torch.randn(outputs, generator=generator) / 3)
        for inputs, outputs in hidden
    ]
    return SignNet(layers, signs(last[1], last[0]), 0.5, torch.zeros(last[1]))


def task(n=80, d=6, seed=1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator)
    return x, (x[:, :3] + 0.3 * x[:, 3:]).argmax(dim=1)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("widths", [(6, 5, 3), (6, 5, 4, 3)])
def test_folded_network_has_the_scores_of_the_model(widths, bias):
    model, (x, _) = sign_model(*widths, bias=bias), task()
    assert (model[1].weight < 0).any()
    torch.testing.assert_close(fold(model).scores(x), model(x).detach())


def test_neuron_without_a_batch_norm_weight_is_constant():
    model, (x, _) = sign_model(6, 5, 3), task()
    model[1].weight.data[:2] = 0.0
    model[1].bias.data[:2] = torch.tensor([1.0, -1.0])
    torch.testing.assert_close(fold(model).scores(x), model(x).detach())


@pytest.mark.parametrize(
    ("norm", "activation"),
    [(nn.BatchNorm1d(3), nn.ReLU()), (nn.BatchNorm1d(3, affine=False), BinaryActivation())],
)
def test_other_networks_are_refused(norm, activation):
    with pytest.raises(TypeError, match=r"model must be BinaryLinear|batch norm must have"):
        fold(nn.Sequential(BinaryLinear(4, 3), norm, activation, BinaryLinear(3, 2), Scale()))


@settings(max_examples=25)
@given(st.integers(0, 200), st.sampled_from([(6, 4, 3), (6, 4, 3, 3)]))
def test_loss_falls_in_every_pass(seed, widths):
    net, (x, y) = random_net(*widths, seed=seed), task()
    losses = [net.loss(x, y)]
    for report in resolve(net, x, y, passes=3, last_flips=2):
        losses.append(report.loss)
    assert all(after <= before + 1e-6 for before, after in itertools.pairwise(losses))  # float32 sums
    assert net.loss(x, y) == pytest.approx(losses[-1], abs=1e-6)
    assert all(set(layer.weights.unique().tolist()) <= {-1.0, 1.0} for layer in net.hidden)


def test_resolving_makes_a_random_network_useful():
    net, (x, y) = random_net(6, 12, 3), task(400)
    before = net.accuracy(x, y)
    resolve(net, x, y, last_flips=5)
    assert net.accuracy(x, y) > max(before, 0.75)


@settings(max_examples=25)
@given(st.integers(0, 200))
def test_neuron_found_is_better_and_no_better_than_the_best_of_all(seed):
    generator = torch.Generator().manual_seed(seed)
    x, D = torch.randn(20, 4, generator=generator), torch.randn(20, generator=generator)
    start = torch.ones(4)
    on = x @ start / 2 >= 0.1
    found = resolve_neuron(x, D, start, 0.1, on)
    best = min(
        float(D[(x @ weights) >= cut].sum())
        for weights in torch.tensor(all_spins(4)).float()
        for cut in [*(x @ weights), torch.inf]
    )
    if found is None:
        assert float(D[on].sum()) >= best - 1e-5
        return
    weights, threshold, now = found
    assert torch.equal(now, x @ weights / 2 >= threshold)
    assert best - 1e-5 <= float(D[now].sum()) < float(D[on].sum())


def test_planted_neuron_is_found_from_one_flip_away():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, 8, generator=generator)
    planted = torch.tensor([1.0, -1, 1, 1, -1, -1, 1, -1])
    z = x @ planted / 8**0.5
    D = torch.where(z >= 0, -1.0, 1.0)
    start = planted.clone()
    start[3] = -1.0
    weights, threshold, on = resolve_neuron(x, D, start, 0.0, x @ start >= 0)
    assert torch.equal(weights, planted)
    assert abs(threshold) < 1e-6
    assert float(D[on].sum()) == float(D[D < 0].sum())


def test_neuron_that_does_not_matter_is_left_as_it_is():
    x, start = torch.randn(20, 4), torch.ones(4)
    assert resolve_neuron(x, torch.zeros(20), start, 0.0, x @ start >= 0) is None


def test_constant_neuron_gets_a_threshold():
    x = torch.randn(50, 4)
    D = torch.where(x.sum(dim=1) >= 0, -1.0, 1.0)
    _, threshold, _ = resolve_neuron(x, D, torch.ones(4), float("inf"), torch.zeros(50, dtype=torch.bool))
    assert abs(threshold) < 1


@pytest.mark.parametrize("seed", range(4))
def test_flip_of_the_output_is_the_best_of_all_single_flips(seed):
    net, (x, y) = random_net(6, 4, 3, seed=seed), task()
    features = net.features(x)
    losses = {}
    for c in range(3):
        for j in range(4):
            other = copy.deepcopy(net)
            other.last[c, j] *= -1
            losses[c, j] = other.loss(x, y)
    start = net.loss(x, y)
    flips = flip_output(net, features, y, most=1)
    assert flips == (min(losses.values()) < start)
    assert net.loss(x, y) == pytest.approx(min(start, *losses.values()), abs=1e-6)


def test_flips_end_where_no_single_one_helps():
    net, (x, y) = random_net(6, 4, 3), task()
    assert flip_output(net, net.features(x), y, most=1000) < 1000
    assert flip_output(net, net.features(x), y, most=1) == 0


def test_refitted_scale_and_bias_are_a_minimum():
    net, (x, y) = random_net(6, 4, 3), task()
    features = net.features(x)
    refit_output(net, features, y)
    scale, bias = torch.tensor(net.scale, requires_grad=True), net.bias.clone().requires_grad_()
    nn.functional.cross_entropy(scale * (features @ net.last.T) + bias, y).backward()
    assert abs(float(scale.grad)) < 1e-3
    assert float(bias.grad.abs().max()) < 1e-3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": torch.ones(5, 4)}, r"inputs has shape \(5, 4\), expected \(n, 6\)"),
        ({"labels": torch.zeros(3, dtype=torch.long)}, r"labels has shape \(3,\), expected \(80,\)"),
        ({"passes": 0}, "passes is 0"),
        ({"tau": 0.0}, r"tau 0\.0"),
        ({"last_flips": -1}, "last_flips -1"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    x, y = task()
    with pytest.raises(ValueError, match=message):
        resolve(random_net(6, 4, 3), **{"inputs": x, "labels": y, **change})


# The experiment

TINY = Finishing(
    name="tiny",
    description="80 points",
    dataset="tiny",
    network=Mlp((6, 8, 3), "sign"),
    batch_size=10,
    steps=20,
    short_steps=5,
    passes=2,
    last_flips=2,
    optimizers={"binaryconnect-adam": {"lr": 0.03}, "binaryconnect-adam" + RESOLVE: {"lr": 0.03}},
)


def finishing_runs():
    samples = Samples(*task(), *task(40, seed=2))
    return samples, [TINY.train(name, {"lr": 0.03}, 0, samples) for name in TINY.optimizers]


def test_experiment_trains_plainly_or_finishes_a_short_training():
    samples, (plain, finished) = finishing_runs()
    short = TINY.replaced(steps=5).train("binaryconnect-adam", {"lr": 0.03}, 0, samples)
    assert plain.curve[-1].step == 20
    assert finished.curve[:5] == short.curve
    assert [point.step for point in finished.curve[5:]] == [6, 7]
    assert finished.metrics["train_loss"] < short.metrics["train_loss"]
    assert plain.metrics.keys() == finished.metrics.keys()
    assert finished.metrics["seconds"] > short.metrics["seconds"]


def test_weights_kept_are_those_of_the_network_that_was_judged():
    samples, (_, finished) = finishing_runs()
    weights = finished.weights
    layer = SignLayer(weights["hidden.0.weights"], weights["hidden.0.thresholds"])
    net = SignNet([layer], weights["last"], float(weights["scale"]), weights["bias"])
    assert net.accuracy(samples.x_judged, samples.y_judged) == finished.metrics["test_accuracy"]


def test_experiment_of_the_catalogue_trains_networks_that_can_be_folded():
    for one in EXPERIMENT.tasks:
        fold(one.network.build(torch.Generator()))
        assert one.steps > one.short_steps
