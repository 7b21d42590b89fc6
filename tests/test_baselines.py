"""The baselines, each against its formula."""

import copy
import io

import pytest
import torch
from torch import nn

from qpsbgd import QPSBGD
from qpsbgd.baselines import BinaryConnect, Bop, ProxQuant, SignSGD
from qpsbgd.nn import BinaryLinear

ALL = [
    lambda p, **options: BinaryConnect(p, **options),
    lambda p, **options: BinaryConnect(p, base="sgd", momentum=0.9, **options),
    lambda p, **options: BinaryConnect(p, base="sign", **options),
    lambda p, **options: SignSGD(p, **options),
    lambda p, **options: SignSGD(p, momentum=0.9, error_feedback=True, **options),
    lambda p, **options: ProxQuant(p, total_steps=10, **options),
    lambda p, **options: Bop(p, threshold=1e-4, **options),
]
IDS = ["adam", "sgd", "sign", "signsgd", "signum_with_feedback", "proxquant", "bop"]


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


def test_prox_quant_on_two_steps_by_hand():
    layer = layer_with([[0.5, -0.9, 0.02]])
    optimizer = ProxQuant(layer.parameters(), lr=0.1, base="sgd", total_steps=4, strength=1.0)
    # λ_1 = 2/20: (0.4, -1.0 after the clip, -0.08) move by 0.1 towards (1, -1, -1).
    torch.testing.assert_close(
        step_with(optimizer, layer, [[1.0, 3.0, 1.0]]), torch.tensor([[0.5, -1.0, -0.18]])
    )
    # λ_2 = 4/20: (0.5, -0.9, -0.18), and the second is less than 0.2 from -1.
    torch.testing.assert_close(
        step_with(optimizer, layer, [[0.0, -1.0, 0.0]]), torch.tensor([[0.7, -1.0, -0.38]])
    )


def test_prox_quant_solves_the_proximal_problem():
    # prox(w) = argmin over u of (u - w)²/2 + λ ||u| - 1|, on a fine grid.
    w = torch.linspace(-1, 1, 41)[None]
    layer = layer_with(w.tolist())
    optimizer = ProxQuant(layer.parameters(), lr=0.0, base="sgd", total_steps=1, strength=0.3)
    moved = step_with(optimizer, layer, torch.zeros_like(w).tolist())
    grid = torch.linspace(-1, 1, 4001)[:, None]
    objective = (grid - w).square() / 2 + 0.3 * (grid.abs() - 1).abs()
    found = (moved - w).square() / 2 + 0.3 * (moved.abs() - 1).abs()
    torch.testing.assert_close(found[0], objective.min(dim=0).values, atol=1e-5, rtol=0)


def test_prox_quant_moves_weights_by_its_strength_whatever_the_number_of_steps():
    for steps in (1, 7, 100):
        layer = layer_with([[0.1, -0.2]])
        optimizer = ProxQuant(layer.parameters(), lr=0.0, total_steps=steps, strength=0.5)
        for _ in range(steps):
            moved = step_with(optimizer, layer, [[0.0, 0.0]])
        torch.testing.assert_close(moved, torch.tensor([[0.6, -0.7]]))


def test_prox_quant_takes_gradients_at_the_real_weights_and_evaluates_the_signs():
    layer = layer_with([[0.5, -0.25]])
    x = torch.tensor([[2.0, 4.0]])
    optimizer = ProxQuant(layer.parameters(), total_steps=10)
    factor = 2**-0.5
    assert layer(x).item() == pytest.approx(factor * (0.5 * 2 - 0.25 * 4))
    layer(x).square().sum().backward()
    torch.testing.assert_close(layer.weight.grad, 2 * layer(x).detach() * factor * x)
    assert layer.eval()(x).item() == pytest.approx(factor * (2 - 4))
    del optimizer
    assert layer.train()(x).item() == pytest.approx(factor * (2 - 4))


def test_copies_of_prox_quant_relax_the_copied_weights():
    model = nn.Sequential(BinaryLinear(2, 1))
    optimizer = ProxQuant(model.parameters(), total_steps=10)
    copied_model, copied = copy.deepcopy((model, optimizer))
    with torch.no_grad():
        copied_model[0].weight.fill_(0.25)
    assert copied_model(torch.ones(1, 2)).item() == pytest.approx(0.5 * 2**-0.5)
    del copied
    assert copied_model(torch.ones(1, 2)).item() == pytest.approx(2 * 2**-0.5)


def test_qpsbgd_over_relaxed_weights_says_that_nothing_was_captured():
    layer = BinaryLinear(2, 1)
    relaxing = ProxQuant(layer.parameters(), total_steps=10)
    optimizer = QPSBGD(layer.parameters())
    layer(torch.ones(3, 2)).sum().backward()
    with pytest.raises(RuntimeError, match="no layer input was captured"):
        optimizer.step()
    del relaxing


def test_bop_on_three_steps_by_hand():
    layer = layer_with([[0.5, -0.9, 0.3, -0.2]])
    optimizer = Bop(layer.parameters(), lr=0.5, threshold=0.1)
    # m = (0.5, 0.5, 0.05, -0.5): the first has the weight's sign and is above 0.1, so is the last.
    torch.testing.assert_close(
        step_with(optimizer, layer, [[1.0, 1.0, 0.1, -1.0]]), torch.tensor([[-1.0, -1.0, 1.0, 1.0]])
    )
    # m = (0.25, 0.25, 0.225, -0.25): only the third is above 0.1 with the weight's sign.
    torch.testing.assert_close(
        step_with(optimizer, layer, [[0.0, 0.0, 0.4, 0.0]]), torch.tensor([[-1.0, -1.0, -1.0, 1.0]])
    )
    # m = (-0.125, 0.125, 0.1125, 0.075): -1 flips back; 0.075 is below the threshold.
    torch.testing.assert_close(
        step_with(optimizer, layer, [[-0.5, 0.0, 0.0, 0.4]]), torch.tensor([[1.0, -1.0, -1.0, 1.0]])
    )


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
        (Bop, {"threshold": -1.0}, ValueError, "Invalid threshold: -1.0"),
        (Bop, {"lr": 1.5}, ValueError, "Invalid lr: 1.5"),
        (ProxQuant, {"total_steps": 0}, ValueError, "Invalid total_steps: 0"),
        (ProxQuant, {"total_steps": 1.5}, TypeError, "total_steps must be an integer"),
        (ProxQuant, {"total_steps": 5, "strength": -1}, ValueError, "Invalid strength: -1"),
        (ProxQuant, {"total_steps": 5, "base": "sign"}, ValueError, "Invalid base: 'sign'"),
    ],
)
def test_bad_options_are_named(make, options, error, message):
    with pytest.raises(error, match=message):
        make(BinaryLinear(4, 2).parameters(), **options)
