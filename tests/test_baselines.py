"""The baselines, each against its formula."""

import copy
import io

import pytest
import torch
from torch import nn

from qpsbgd.baselines import BinaryConnect, SignSGD
from qpsbgd.nn import BinaryLinear

ALL = [
    lambda p, **options: BinaryConnect(p, **options),
    lambda p, **options: BinaryConnect(p, base="sgd", momentum=0.9, **options),
    lambda p, **options: BinaryConnect(p, base="sign", **options),
    lambda p, **options: SignSGD(p, **options),
    lambda p, **options: SignSGD(p, momentum=0.9, error_feedback=True, **options),
]
IDS = ["adam", "sgd", "sign", "signsgd", "signum_with_feedback"]


def layer_with(values):
    layer = BinaryLinear(len(values[0]), len(values))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(values))
    return layer


def step_with(optimizer, layer, gradient):
    layer.weight.grad = torch.tensor(gradient)
    optimizer.step()
    return layer.weight.detach()


def test_sgd_base_on_a_step_by_hand():
    layer = layer_with([[0.5, -0.9]])
    optimizer = BinaryConnect(layer.parameters(), lr=0.1, base="sgd")
    torch.testing.assert_close(step_with(optimizer, layer, [[1.0, 3.0]]), torch.tensor([[0.4, -1.0]]))


def test_sign_base_on_a_step_by_hand():
    layer = layer_with([[0.5, -0.95, 0.2]])
    optimizer = BinaryConnect(layer.parameters(), lr=0.1, base="sign")
    torch.testing.assert_close(
        step_with(optimizer, layer, [[7.0, 0.1, 0.0]]), torch.tensor([[0.4, -1.0, 0.2]])
    )


def test_adam_base_on_a_step_by_hand():
    layer = layer_with([[0.5, -0.95]])
    optimizer = BinaryConnect(layer.parameters(), lr=0.1)
    # The first step of Adam is lr g / (|g| + eps).
    torch.testing.assert_close(step_with(optimizer, layer, [[-3.0, 0.2]]), torch.tensor([[0.6, -1.0]]))


@pytest.mark.parametrize(
    ("ours", "torchs"),
    [
        (
            lambda p: BinaryConnect(p, lr=0.03, betas=(0.8, 0.99), eps=1e-6),
            lambda p: torch.optim.Adam(p, lr=0.03, betas=(0.8, 0.99), eps=1e-6, foreach=False),
        ),
        (lambda p: BinaryConnect(p, lr=0.03, base="sgd"), lambda p: torch.optim.SGD(p, lr=0.03)),
        (
            lambda p: BinaryConnect(p, lr=0.03, base="sgd", momentum=0.9),
            lambda p: torch.optim.SGD(p, lr=0.03, momentum=0.9),
        ),
    ],
    ids=["adam", "sgd", "sgd_with_momentum"],
)
def test_binary_connect_is_the_torch_optimizer_with_clipping(ours, torchs):
    layer = layer_with([[0.5, -0.9, 0.1]])
    reference = nn.Parameter(layer.weight.detach().clone())
    optimizer, other = ours(layer.parameters()), torchs([reference])
    for _ in range(10):
        gradient = torch.randn(1, 3)
        layer.weight.grad, reference.grad = gradient.clone(), gradient.clone()
        optimizer.step()
        other.step()
        with torch.no_grad():
            reference.clamp_(-1, 1)
        torch.testing.assert_close(layer.weight.data, reference.data)


def test_sign_sgd_on_a_step_by_hand():
    layer = layer_with([[0.5, -0.95, 0.2]])
    optimizer = SignSGD(layer.parameters(), lr=0.1)
    torch.testing.assert_close(
        step_with(optimizer, layer, [[7.0, 0.1, 0.0]]), torch.tensor([[0.4, -1.0, 0.2]])
    )


def test_signum_steps_by_the_sign_of_the_running_mean():
    layer = layer_with([[0.0]])
    optimizer = SignSGD(layer.parameters(), lr=0.1, momentum=0.5)
    # The running means are 0.5, 0.05 and -0.175, before the correction for their start.
    assert step_with(optimizer, layer, [[1.0]]).item() == pytest.approx(-0.1)
    assert step_with(optimizer, layer, [[-0.4]]).item() == pytest.approx(-0.2)
    assert step_with(optimizer, layer, [[-0.4]]).item() == pytest.approx(-0.1)


def test_error_feedback_adds_what_the_sign_left_behind():
    layer = layer_with([[0.0, 0.0]])
    optimizer = SignSGD(layer.parameters(), lr=0.1, error_feedback=True)
    # p = (3, 1) leaves (3, 1) - 2 (1, 1) = (1, -1).
    torch.testing.assert_close(step_with(optimizer, layer, [[3.0, 1.0]]), torch.tensor([[-0.1, -0.1]]))
    torch.testing.assert_close(optimizer.state[layer.weight]["residual"], torch.tensor([[1.0, -1.0]]))
    # p = (0.5, -0.5) has the sign (1, -1), though the gradient has (-1, 1).
    torch.testing.assert_close(step_with(optimizer, layer, [[-0.5, 0.5]]), torch.tensor([[-0.2, 0.0]]))


@pytest.mark.parametrize("make", ALL, ids=IDS)
def test_other_parameters_take_adam_unclipped(make):
    model = nn.Sequential(BinaryLinear(4, 3), nn.Linear(3, 2))
    with torch.no_grad():
        model[1].weight.fill_(5.0)
    reference = copy.deepcopy(model[1])
    optimizer = make(model.parameters(), lr=0.1, other_lr=0.02)
    adam = torch.optim.Adam(reference.parameters(), lr=0.02, foreach=False)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(5, 4)).square().sum().backward()
        for one, other in zip(model[1].parameters(), reference.parameters(), strict=True):
            other.grad = one.grad.clone()
        optimizer.step()
        adam.step()
    torch.testing.assert_close(model[1].weight, reference.weight)
    torch.testing.assert_close(model[1].bias, reference.bias)


@pytest.mark.parametrize("make", ALL, ids=IDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_resumed_training_is_equal_bit_for_bit(make, dtype):
    def steps(layer, optimizer, seed):
        generator = torch.Generator().manual_seed(seed)
        for _ in range(4):
            layer.weight.grad = torch.randn(3, 4, generator=generator).to(dtype)
            optimizer.step()

    layer = BinaryLinear(4, 3, dtype=dtype)
    optimizer = make(layer.parameters(), lr=0.02)
    steps(layer, optimizer, 1)
    file = io.BytesIO()
    torch.save({"layer": layer.state_dict(), "optimizer": optimizer.state_dict()}, file)
    steps(layer, optimizer, 2)

    resumed = BinaryLinear(4, 3, dtype=dtype)
    other = make(resumed.parameters(), lr=1.0)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    resumed.load_state_dict(saved["layer"])
    other.load_state_dict(saved["optimizer"])
    steps(resumed, other, 2)
    assert torch.equal(layer.weight, resumed.weight)


@pytest.mark.parametrize("make", ALL, ids=IDS)
def test_maximize_steps_the_other_way(make):
    layers = [layer_with([[0.1, -0.2]]) for _ in range(2)]
    for layer, sign in zip(layers, (1.0, -1.0), strict=True):
        optimizer = make(layer.parameters(), lr=0.1, maximize=sign < 0)
        step_with(optimizer, layer, [[sign * 1.0, sign * -2.0]])
    torch.testing.assert_close(layers[0].weight.data, layers[1].weight.data)


@pytest.mark.parametrize("make", ALL, ids=IDS)
def test_model_without_binary_weights_is_refused(make):
    with pytest.raises(RuntimeError, match="no binary weight among its 2 parameters"):
        make(nn.Linear(4, 2).parameters()).step()


@pytest.mark.parametrize("make", ALL, ids=IDS)
def test_gradient_that_is_not_finite_is_refused(make):
    layer = layer_with([[0.1, -0.2]])
    with pytest.raises(ValueError, match=r"gradient of the parameter of shape \(1, 2\) is not finite"):
        step_with(make(layer.parameters()), layer, [[1.0, float("nan")]])
    torch.testing.assert_close(layer.weight.data, torch.tensor([[0.1, -0.2]]))


@pytest.mark.parametrize(
    ("make", "options", "error", "message"),
    [
        (BinaryConnect, {"lr": -1.0}, ValueError, "Invalid lr: -1.0"),
        (BinaryConnect, {"base": "lion"}, ValueError, "Invalid base: 'lion'"),
        (BinaryConnect, {"momentum": 1.0}, ValueError, "Invalid momentum: 1.0"),
        (BinaryConnect, {"momentum": "0.9"}, TypeError, "momentum must be a number"),
        (BinaryConnect, {"betas": (0.9, 1.0)}, ValueError, "Invalid beta parameter at index 1: 1.0"),
        (BinaryConnect, {"betas": 0.9}, TypeError, "betas must be a pair of numbers"),
        (BinaryConnect, {"eps": -1e-8}, ValueError, "Invalid eps: -1e-08"),
        (BinaryConnect, {"clip": -1.0}, ValueError, "Invalid clip: -1.0"),
        (SignSGD, {"momentum": -0.1}, ValueError, "Invalid momentum: -0.1"),
        (SignSGD, {"error_feedback": "yes"}, TypeError, "error_feedback must be a bool"),
        (SignSGD, {"other_lr": float("inf")}, ValueError, "Invalid other_lr: inf"),
        (SignSGD, {"maximize": None}, TypeError, "maximize must be a bool"),
    ],
)
def test_bad_options_are_named(make, options, error, message):
    with pytest.raises(error, match=message):
        make(BinaryLinear(4, 2).parameters(), **options)
