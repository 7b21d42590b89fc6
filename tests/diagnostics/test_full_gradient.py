"""The full gradient: that of backward, without a trace in the model."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from qpsbgd.capture import BinaryWeight, attach
from qpsbgd.diagnostics import full_gradient
from qpsbgd.nn import BinaryLinear
from training import net_with_dropout, small_net, whole


def test_full_gradient_is_that_of_backward():
    model, (x, y) = small_net(), whole()
    cross_entropy(model(x), y).backward()
    gradients = full_gradient(model, cross_entropy, (x, y))
    assert gradients.keys() == dict(model.named_parameters()).keys()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad)


def test_batches_count_by_their_length():
    layer = BinaryLinear(6, 3)
    x, y = whole()
    parts = list(zip(x.split(40), y.split(40), strict=True))
    whole_gradient = full_gradient(layer, cross_entropy, (x, y))["weight"]
    torch.testing.assert_close(full_gradient(layer, cross_entropy, parts)["weight"], whole_gradient)


def test_full_gradient_leaves_model_and_random_state_as_they_are():
    model, (x, y) = net_with_dropout(), whole()
    captures = [attach(p) for p in model.parameters() if isinstance(p, BinaryWeight)]
    cross_entropy(model(x[:8]), y[:8]).backward()
    before = copy.deepcopy(model.state_dict())
    gradients = [p.grad.clone() for p in model.parameters()]
    modes = [module.training for module in model.modules()]
    randomness = torch.get_rng_state()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), 32, shuffle=True)
    full_gradient(model, cross_entropy, loader)
    assert torch.equal(torch.get_rng_state(), randomness)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(torch.equal(g, p.grad) for g, p in zip(gradients, model.parameters(), strict=True))
    assert [module.training for module in model.modules()] == modes
    assert all(len(capture.records) == 1 for capture in captures)


def test_full_gradient_is_taken_without_dropout():
    model, (x, y) = net_with_dropout(), whole()
    plain = nn.Sequential(model[0], nn.Identity(), model[2])
    one, other = (full_gradient(net, cross_entropy, (x, y)) for net in (model, plain))
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_full_gradient_works_on_a_compiled_model():
    model, data = small_net(), whole()
    compiled = torch.compile(model, backend="eager")
    expected = full_gradient(model, cross_entropy, data)["0.weight"]
    assert torch.equal(full_gradient(compiled, cross_entropy, data)["0.weight"], expected)


@pytest.mark.parametrize(
    ("loss", "data", "names", "message"),
    [
        (cross_entropy, [], None, "no samples"),
        (cross_entropy, whole(1), ["5.weight"], r"\['5.weight'\] are no parameters"),
        (lambda output, target: output, whole(1), None, r"shape \(16, 3\), expected one number"),
    ],
)
def test_full_gradient_refuses_bad_arguments(loss, data, names, message):
    with pytest.raises(ValueError, match=message):
        full_gradient(small_net(), loss, data, names)
