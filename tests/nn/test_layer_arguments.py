"""Layers take the sizes, flags and batches that torch's own layers take."""

import numpy as np
import pytest
import torch
from torch import nn

from qpsbgd import QPSBGD
from qpsbgd.capture import attach
from qpsbgd.nn import (
    Activated,
    BinaryActivation,
    BinaryConv2d,
    BinaryGCNConv,
    BinaryLinear,
    to_binary,
    to_recorded,
)

NO_EDGES = torch.zeros(2, 0, dtype=torch.long)


@pytest.mark.parametrize("integer", [np.int64, np.uint8, np.int32, torch.tensor])
def test_sizes_are_integers_of_any_kind(integer):
    linear = BinaryLinear(integer(4), integer(3))
    graph = BinaryGCNConv(integer(4), integer(3))
    convolution = BinaryConv2d(
        integer(4), integer(6), integer(3), integer(2), integer(1), integer(1), groups=integer(2)
    )
    for layer in (linear, graph, convolution):
        numbers = [
            number
            for value in vars(layer).values()
            for number in (value if isinstance(value, tuple) else (value,))
        ]
        assert not any(isinstance(number, (np.generic, torch.Tensor)) for number in numbers)
    assert linear(torch.ones(2, 4)).shape == graph(torch.ones(2, 4), NO_EDGES).shape == (2, 3)
    assert repr(convolution) == repr(BinaryConv2d(4, 6, 3, 2, 1, groups=2))


@pytest.mark.parametrize("pair", [list, tuple, np.array, torch.Size])
def test_height_and_width_come_in_any_sequence(pair):
    layer = BinaryConv2d(2, 3, pair([3, 2]), stride=pair([1, 2]), padding=pair([0, 1]), dilation=pair([1, 1]))
    assert repr(layer) == repr(BinaryConv2d(2, 3, (3, 2), (1, 2), (0, 1)))
    assert (
        layer(torch.ones(1, 2, 5, 6)).shape
        == nn.Conv2d(2, 3, [3, 2], [1, 2], [0, 1])(torch.ones(1, 2, 5, 6)).shape
    )


def test_flags_are_truths_of_any_kind():
    yes, no = np.True_, np.bool_(False)
    assert BinaryLinear(4, 3, yes).bias is not None
    assert BinaryConv2d(4, 3, 2, bias=no).bias is None
    graph = BinaryGCNConv(4, 3, improved=yes, cached=no, add_self_loops=yes, normalize=yes, bias=yes)
    flags = (graph.improved, graph.cached, graph.add_self_loops, graph.normalize)
    assert flags == (True, False, True, True)
    assert {type(flag) for flag in flags} == {bool}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": 1.5}, "padding must be an integer of at least 0 or a pair of them, but is 1.5"),
        ({"padding": (-1, 0)}, r"padding must be an integer of at least 0 .* but is \(-1, 0\)"),
        ({"padding": [1, 2, 3]}, r"padding must be an integer or a pair of them, but is \[1, 2, 3\]"),
        ({"kernel_size": [3, 0]}, r"kernel_size must be a positive integer or a pair .* but is \[3, 0\]"),
        ({"stride": True}, "stride must be a positive integer or a pair of them, but is True"),
        ({"groups": np.float64(2)}, "groups must be a positive integer"),
    ],
)
def test_other_sizes_are_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        BinaryConv2d(**{"in_channels": 4, "out_channels": 6, "kernel_size": 3, **options})


EMPTY = {
    "linear": (lambda: BinaryLinear(4, 3, bias=True), (0, 4)),
    "linear, empty inside": (lambda: BinaryLinear(4, 3), (2, 0, 4)),
    "convolution": (lambda: BinaryConv2d(4, 6, 3, bias=True), (0, 4, 5, 6)),
    "groups": (lambda: BinaryConv2d(4, 6, 3, groups=2), (0, 4, 5, 6)),
    "reflect": (lambda: BinaryConv2d(4, 6, 3, padding=1, padding_mode="reflect"), (0, 4, 5, 6)),
    "circular": (lambda: BinaryConv2d(4, 6, 3, padding="same", padding_mode="circular"), (0, 4, 5, 6)),
    "activated": (lambda: Activated(BinaryLinear(4, 3), nn.BatchNorm1d(3), nn.Hardtanh()), (0, 4)),
    "activated convolution": (
        lambda: Activated(BinaryConv2d(4, 6, 3, groups=2), nn.BatchNorm2d(6), BinaryActivation()),
        (0, 4, 5, 6),
    ),
}


@pytest.mark.parametrize(("make", "shape"), EMPTY.values(), ids=EMPTY)
@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_empty_batches_go_forward_and_backward(make, shape, recorded, training):
    layer = make().train(training)
    weights = [p for name, p in layer.named_parameters() if name.endswith("weight") and p.dim() > 1]
    captures = [attach(w, keep_output_gradients=True, keep_slopes=True) for w in weights if recorded]
    x = torch.ones(shape, requires_grad=True)
    output = layer(x)
    output.sum().backward()
    assert output.numel() == 0
    assert x.grad.shape == shape
    assert all(torch.equal(p.grad, torch.zeros_like(p)) for p in layer.parameters())
    assert all(record.num_samples == 0 for capture in captures for record in capture.records)


def test_empty_graphs_go_forward_and_backward():
    for layer in (BinaryGCNConv(4, 3, bias=True), BinaryGCNConv(4, 3, cached=True)):
        capture = attach(layer.weight)
        layer(torch.ones(0, 4, requires_grad=True), NO_EDGES).sum().backward()
        assert torch.equal(layer.weight.grad, torch.zeros(3, 4))
        assert all(record.num_samples == 0 for record in capture.records)


def test_unfolding_of_no_images_has_no_rows():
    layer = BinaryConv2d(4, 6, (3, 2), groups=2)
    unfolding = layer._unfolding()
    x, z = torch.ones(0, 4, 5, 6), torch.ones(0, 6, 3, 5)
    assert unfolding.num_samples(x) == 0
    assert unfolding.input_samples(x).shape == (2, 0, 12)
    assert unfolding.output_samples(z).shape == (2, 0, 3)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors:UserWarning")
def test_layer_without_inputs_made_binary_gives_its_bias():
    layer = to_binary(nn.Linear(0, 3))
    assert torch.equal(layer(torch.ones(2, 0)), layer.bias.expand(2, 3))


@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")  # torch's own
def test_forward_mode_of_signs_passes_where_backward_mode_does():
    z = torch.tensor([-1.5, -1.0, -0.2, 0.0, 1.0, 1.1])
    _, tangent = torch.func.jvp(BinaryActivation(), (z,), (torch.full((6,), 2.0),))
    assert tangent.tolist() == [0.0, 2.0, 2.0, 2.0, 2.0, 0.0]
    layer = BinaryLinear(4, 3)
    x = torch.randn(2, 4)

    def output(weight):
        return torch.func.functional_call(layer, {"weight": weight}, (x,))

    weight = layer.weight.detach()
    torch.testing.assert_close(torch.func.jacfwd(output)(weight), torch.func.jacrev(output)(weight))


@pytest.mark.parametrize("mark", [to_binary, to_recorded])
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_layer_without_inputs_trains_beside_others(mark):
    model = mark(nn.Sequential(nn.Linear(0, 3), nn.Linear(3, 2)))
    model[0].bias.data.fill_(1.0)
    optimizer = QPSBGD(model.parameters())
    before = model[1].weight.detach().clone()
    model(torch.randn(4, 0)).square().mean().backward()
    optimizer.step()
    assert model[0].weight.shape == (3, 0)
    assert not torch.equal(before, model[1].weight.detach())
