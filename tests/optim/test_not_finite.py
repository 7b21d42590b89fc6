"""Numbers that are not finite, in the middle of a training: named, or the step is left out and counted."""

import copy

import pytest
import torch
from torch import nn

from qpsbgd.baselines import BinaryConnect, Bop, ProxQuant, SignSGD
from qpsbgd.nn import BinaryConv2d, BinaryLinear, to_recorded
from qpsbgd.optim import QPSBGD
from qpsbgd.residual import ResidualQPSBGD
from same import same

NAN, INF = float("nan"), float("inf")
KINDS = {
    "continuous": lambda params, **more: QPSBGD(params, **more),
    "momentum": lambda params, **more: QPSBGD(params, memory="momentum", **more),
    "projected": lambda params, **more: QPSBGD(params, variant="projected", **more),
    "neal": lambda params, **more: QPSBGD(params, solver="neal", **more),
}
BASELINES = {
    "binaryconnect": lambda params: BinaryConnect(params),
    "signsgd": lambda params: SignSGD(params),
    "bop": lambda params: Bop(params),
    "proxquant": lambda params: ProxQuant(params, total_steps=100),
}


def net():
    torch.manual_seed(1)
    return nn.Sequential(
        BinaryConv2d(1, 3, 2),
        nn.Flatten(),
        nn.BatchNorm1d(27),
        BinaryLinear(27, 8),
        nn.Tanh(),
        nn.Linear(8, 2),
    )


def train(model, optimizer, steps, x=None):
    for step in range(steps):
        torch.manual_seed(step)
        optimizer.zero_grad()
        data = torch.randn(6, 1, 4, 4) if x is None else x
        nn.functional.cross_entropy(model(data), torch.arange(6) % 2).backward()
        optimizer.step()


def everything(model, optimizer):
    """All that a step may change, but for the statistics of batch norm, which the forward pass changes."""
    weights = [parameter.detach().clone() for parameter in model.parameters()]
    return weights, copy.deepcopy(optimizer.state_dict())


@pytest.mark.parametrize("make", [*KINDS.values(), *BASELINES.values()], ids=[*KINDS, *BASELINES])
@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("name", ["0.weight", "3.weight", "5.bias"])
def test_gradient_is_named_with_its_step_and_nothing_changes(make, value, name):
    model = net()
    optimizer = make(model.named_parameters())
    train(model, optimizer, 2)
    model(torch.randn(6, 1, 4, 4)).square().mean().backward()
    parameter = model.get_parameter(name)
    parameter.grad.view(-1)[1] = value
    before = everything(model, optimizer)
    with pytest.raises(
        ValueError, match=rf"gradient of the parameter '{name}' of shape .* in step 3: {value} "
    ):
        optimizer.step()
    assert same(everything(model, optimizer), before)


def test_without_names_the_shape_and_the_step_are_told():
    layer = BinaryLinear(3, 2)
    optimizer = QPSBGD(layer.parameters())
    layer(torch.ones(1, 3)).sum().backward()
    layer.weight.grad[1, 2] = INF
    with pytest.raises(
        ValueError,
        match=r"parameter of shape \(2, 3\) is not finite in step 1: inf at \(1, 2\), 1 of 6 entries",
    ):
        optimizer.step()


class HidesInput(torch.autograd.Function):
    """The layer's output without what is not finite in it: its gradients are finite, its input is not."""

    @staticmethod
    def forward(ctx, z):
        return torch.nan_to_num(z, 0.0, 0.0, 0.0)

    @staticmethod
    def backward(ctx, gradient):
        return gradient


@pytest.mark.parametrize("value", [NAN, INF, 1e30])
@pytest.mark.parametrize(
    ("kind", "width"), [*((kind, 6) for kind in KINDS), ("continuous", 2000), ("momentum", 900)]
)
def test_input_is_named_by_its_weight_and_nothing_changes(kind, width, value):
    model = nn.Sequential(BinaryLinear(width, 3), nn.BatchNorm1d(3))
    optimizer = KINDS[kind](model.named_parameters())
    for bad in (False, True):
        optimizer.zero_grad()
        x = torch.randn(5, width)
        if bad:
            x[2, 1] = value
        HidesInput.apply(model[0](x)).square().sum().backward()
        model[0].weight.grad.nan_to_num_(0.0, 0.0, 0.0)
        if bad:
            break
        optimizer.step()
    before = everything(model, optimizer)
    with pytest.raises(ValueError, match=r"step 2 of the parameter '0.weight' of shape") as caught:
        optimizer.step()
    assert "finite" in str(caught.value) or "overflow" in str(caught.value)
    assert same(everything(model, optimizer), before)


def test_real_weights_are_named_too():
    model = to_recorded(nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)))
    optimizer = QPSBGD([(name, p) for name, p in model.named_parameters() if p.ndim == 2])
    x = torch.randn(5, 4)
    x[0, 0] = NAN
    model(x).sum().backward()
    with pytest.raises(ValueError, match=r"parameter '0.weight' of shape .* in step 1"):
        optimizer.step()


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("where", ["gradient", "input"])
def test_skipped_steps_are_counted_and_the_rest_is_as_if_they_had_never_been(make, where):
    def run(bad_steps):
        model = net()
        optimizer = make(model.named_parameters(), nonfinite="skip")
        for step in range(6):
            if step in bad_steps:
                optimizer.zero_grad()
                norms = copy.deepcopy(model[2].state_dict())
                x = torch.randn(6, 1, 4, 4)
                x[0, 0, 0, 0] = NAN if where == "input" else 1.0
                model(x).sum().backward()
                model[3].weight.grad[0, 0] = NAN
                optimizer.step()
                model[2].load_state_dict(norms)
            else:
                train(
                    model,
                    optimizer,
                    1,
                    torch.randn(6, 1, 4, 4, generator=torch.Generator().manual_seed(step)),
                )
        return everything(model, optimizer), optimizer

    (weights, state), optimizer = run({1, 3})
    assert optimizer.num_skipped == 2
    model = net()
    plain = make(model.named_parameters())
    for step in (0, 2, 4, 5):
        train(model, plain, 1, torch.randn(6, 1, 4, 4, generator=torch.Generator().manual_seed(step)))
    assert same(weights, [parameter.detach() for parameter in model.parameters()])
    expected = plain.state_dict()
    assert same(state["state"], expected["state"])
    assert state["param_groups"][0]["step"] == expected["param_groups"][0]["step"] == 4


def test_number_of_skipped_steps_is_saved_and_earlier_checkpoints_have_none():
    layer = BinaryLinear(3, 2)
    optimizer = QPSBGD(layer.parameters(), nonfinite="skip")
    layer.weight.grad = torch.full((2, 3), NAN)
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    other = QPSBGD(layer.parameters())
    other.load_state_dict(state)
    assert other.num_skipped == 1
    for group in state["param_groups"]:
        del group["num_skipped"], group["nonfinite"]
    other.load_state_dict(state)
    assert other.num_skipped == 0
    assert other.param_groups[0]["nonfinite"] == "raise"
    with pytest.raises(ValueError, match="Invalid nonfinite"):
        QPSBGD(layer.parameters(), nonfinite="ignore")


def test_errors_of_other_kinds_are_not_skipped():
    layer = BinaryLinear(3, 2)
    optimizer = QPSBGD(layer.parameters(), nonfinite="skip")
    layer.weight.grad = torch.ones(2, 3)
    with pytest.raises(RuntimeError, match="no layer input was captured"):
        optimizer.step()
    assert optimizer.num_skipped == 0


def test_jacobian_of_named_real_parameters_is_named():
    named = [("offset", nn.Parameter(torch.ones(2))), ("slope", nn.Parameter(torch.zeros(2)))]
    optimizer = ResidualQPSBGD(named)
    with pytest.raises(ValueError, match=r"Jacobian of shape \(2, 2\) by the parameter 'slope' of shape"):
        optimizer.step(lambda offset, slope: offset + slope.sqrt())
    assert torch.equal(named[0][1], torch.ones(2))
