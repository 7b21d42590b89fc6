"""Binary layers, and plain models turned into binary ones."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from qpsbgd.capture import BinaryWeight, attach
from qpsbgd.nn import BinaryActivation, BinaryConv2d, BinaryLinear, Scale, to_binary


def test_output_is_a_times_inputs_times_signs():
    layer = BinaryLinear(3, 2, bias=True)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.5, -0.1, 0.0], [-1.0, 0.2, -0.3]]))
        layer.bias.copy_(torch.tensor([1.0, 2.0]))
    x = torch.tensor([[1.0, 2.0, 4.0]])
    expected = torch.tensor([[3.0, -3.0]]) / 3**0.5 + torch.tensor([1.0, 2.0])
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer.eval()(x), expected)


@pytest.mark.parametrize("training", [True, False])
def test_gradient_of_the_weight_is_straight_through(training):
    layer = BinaryLinear(4, 3).double().train(training)
    x, upstream = torch.randn(5, 4).double(), torch.randn(5, 3).double()
    layer(x).backward(upstream)
    torch.testing.assert_close(layer.weight.grad, upstream.T @ x / 2)


def test_gradient_of_the_input_goes_through_the_signs():
    layer = BinaryLinear(4, 3)
    x, upstream = torch.randn(5, 4, requires_grad=True), torch.randn(5, 3)
    layer(x).backward(upstream)
    torch.testing.assert_close(x.grad, upstream @ torch.where(layer.weight >= 0, 1.0, -1.0) / 2)


def test_attached_capture_changes_neither_output_nor_gradient():
    layer = BinaryLinear(4, 3)
    x = torch.randn(5, 4)
    results = []
    for keep in (None, False, True):
        capture = None if keep is None else attach(layer.weight, keep_output_gradients=keep)
        layer.zero_grad()
        output = layer(x)
        output.square().sum().backward()
        results.append((output.detach(), layer.weight.grad.clone()))
        del capture
    assert all(torch.equal(output, results[0][0]) for output, _ in results)
    for _, gradient in results[1:]:  # summed in another order
        torch.testing.assert_close(gradient, results[0][1])


def test_balanced_sums_of_signs_are_exactly_zero():
    layer = BinaryLinear(6, 1)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    x = torch.tensor([[1.0, -1.0, 1.0, -1.0, -1.0, 1.0]])
    assert layer(x).item() == 0.0


def test_initial_weights_lie_within_a_tenth():
    weight = BinaryLinear(50, 40).weight
    assert weight.abs().max() <= 0.1
    assert weight.abs().max() > 0.09


def test_state_dict_is_that_of_a_linear_layer():
    linear, binary = nn.Linear(4, 3), BinaryLinear(4, 3, bias=True)
    binary.load_state_dict(linear.state_dict())
    linear.load_state_dict(binary.state_dict())
    torch.testing.assert_close(binary.weight.data, linear.weight.data)


def test_state_dict_loads_from_a_file_with_weights_only():
    layer, buffer = BinaryLinear(4, 3), io.BytesIO()
    torch.save(layer.state_dict(), buffer)
    buffer.seek(0)
    other = BinaryLinear(4, 3)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(other.weight, layer.weight)
    assert type(other.weight) is BinaryWeight


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: layer.double(),
        lambda layer: layer.to(torch.bfloat16),
        lambda layer: layer.to("meta").to_empty(device="cpu"),
        copy.deepcopy,
        lambda layer: pickle.loads(pickle.dumps(layer)),
        lambda layer: layer.load_state_dict(nn.Linear(4, 3, bias=False).state_dict(), assign=True) and layer,
        lambda layer: setattr(layer, "weight", nn.Parameter(torch.ones(3, 4))) or layer,
    ],
    ids=["double", "bfloat16", "to_empty", "deepcopy", "pickle", "assigned_state", "assigned_parameter"],
)
def test_weight_stays_binary_after(change):
    assert type(change(BinaryLinear(4, 3)).weight) is BinaryWeight


def test_pruned_layer_can_be_converted():
    layer = prune.l1_unstructured(BinaryLinear(4, 3), "weight", amount=2)
    assert layer.double()(torch.ones(2, 4).double()).shape == (2, 3)


def test_repr_shows_the_sizes():
    assert repr(BinaryLinear(4, 3)) == "BinaryLinear(4, 3, bias=False)"


@pytest.mark.parametrize(
    ("sizes", "name"), [((0, 3), "in_features"), ((4, -1), "out_features"), ((4, 2.0), "out")]
)
def test_bad_sizes_are_refused(sizes, name):
    with pytest.raises(ValueError, match=f"{name}.* must be a positive integer"):
        BinaryLinear(*sizes)


def test_device_and_dtype_are_those_asked_for():
    layer = BinaryLinear(4, 3, True, device="meta", dtype=torch.float64)
    assert layer.weight.dtype == layer.bias.dtype == torch.float64
    assert layer.weight.is_meta


def test_activation_is_sign_with_clipped_gradient():
    z = torch.tensor([-1.5, -1.0, -0.2, 0.0, 1.0, 1.1], requires_grad=True)
    output = BinaryActivation()(z)
    output.sum().backward()
    assert output.tolist() == [-1.0, -1.0, -1.0, 1.0, 1.0, 1.0]
    assert z.grad.tolist() == [0.0, 1.0, 1.0, 1.0, 1.0, 0.0]


def test_layers_work_under_vmap_and_grad():
    model = nn.Sequential(BinaryLinear(4, 3), BinaryActivation(), BinaryLinear(3, 1), Scale())
    x = torch.randn(5, 4)
    single = torch.stack([torch.func.grad(lambda v: model(v).sum())(row) for row in x])
    batched = torch.func.vmap(torch.func.grad(lambda v: model(v).sum()))(x)
    torch.testing.assert_close(batched, single)


def test_scale_is_learnable():
    scale = Scale(3.0)
    scale(torch.tensor([1.0, 2.0])).sum().backward()
    assert scale.scale.grad.item() == 3.0


@pytest.mark.parametrize("init", [float("nan"), float("inf")])
def test_scale_refuses(init):
    with pytest.raises(ValueError, match="init must be a finite number"):
        Scale(init)


def test_to_binary_swaps_linear_and_convolution_layers_everywhere_and_nothing_else():
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4)), nn.Linear(4, 2)
    )
    assert to_binary(model) is model
    assert [type(layer) for layer in model] == [BinaryConv2d, nn.Flatten, nn.Sequential, BinaryLinear]
    assert type(model[2][0]) is BinaryLinear
    assert model(torch.randn(3, 1, 4, 4)).shape == (3, 2)


def test_to_binary_of_one_layer_keeps_parameters_and_settings():
    linear = nn.Linear(4, 3, dtype=torch.float64).eval()
    linear.weight.requires_grad_(False)
    weight, bias, values = linear.weight, linear.bias, linear.weight.clone()
    binary = to_binary(linear)
    assert type(binary) is BinaryLinear
    assert binary.weight is weight
    assert binary.bias is bias
    assert torch.equal(binary.weight, values)
    assert not binary.weight.requires_grad
    assert not binary.training
    assert type(weight) is BinaryWeight


def test_to_binary_keeps_hooks_and_ties():
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    calls = []
    first.register_forward_hook(lambda *_: calls.append(1))
    model = to_binary(nn.Sequential(first, second))
    model(torch.randn(2, 4))
    assert model[0].weight is model[1].weight
    assert calls == [1]


def test_to_binary_twice_is_to_binary_once():
    model = to_binary(to_binary(nn.Sequential(nn.Linear(4, 3))))
    assert type(model[0]) is BinaryLinear


def test_to_binary_leaves_subclasses_of_linear_as_they_are():
    attention = to_binary(nn.MultiheadAttention(4, 2), skip=[""])
    assert type(attention.out_proj) is not BinaryLinear
    with pytest.warns(UserWarning, match="stay real"):
        attention = to_binary(nn.MultiheadAttention(4, 2))
    assert type(attention.out_proj) is not BinaryLinear


def test_to_binary_refuses_a_weight_shared_with_an_embedding():
    embedding, linear = nn.Embedding(5, 4), nn.Linear(4, 5)
    linear.weight = embedding.weight
    with pytest.raises(ValueError, match=r"shares its weight with '0' \(Embedding\)"):
        to_binary(nn.Sequential(embedding, linear))
    assert type(linear) is nn.Linear


@pytest.mark.parametrize("module", [torch.ones(2), nn.Linear])
def test_to_binary_refuses_what_is_no_module(module):
    with pytest.raises(TypeError, match=r"module must be a torch\.nn\.Module"):
        to_binary(module)


@pytest.mark.filterwarnings("ignore")  # torch warns about its own compiler
def test_evaluation_compiles_to_one_graph():
    model = nn.Sequential(BinaryLinear(4, 3), BinaryActivation(), BinaryLinear(3, 2)).eval()
    x = torch.randn(5, 4)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), model(x))
