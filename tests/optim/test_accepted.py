"""What torch's optimizers accept: empty batches, foreign checkpoints, schedules, complex parameters."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributed import checkpoint as distributed_checkpoint
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict
from torch.optim.lr_scheduler import CosineAnnealingLR, CyclicLR, LambdaLR, OneCycleLR

from qpsbgd.baselines import BinaryConnect, Bop, ProxQuant, SignSGD
from qpsbgd.nn import Activated, BinaryConv2d, BinaryGCNConv, BinaryLinear
from qpsbgd.optim import QPSBGD
from qpsbgd.residual import ResidualQPSBGD
from training import batches, small_net, states_equal, train


class ProxQuantOfFifty(ProxQuant):
    def __init__(self, params, **options):
        super().__init__(params, total_steps=50, **options)


OPTIMIZERS = [QPSBGD, BinaryConnect, SignSGD, Bop, ProxQuantOfFifty]
every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS)

LAYERS = {
    "linear": (lambda: BinaryLinear(4, 3, bias=True), (0, 4), (5, 4)),
    "sequence": (lambda: BinaryLinear(4, 3), (0, 7, 4), (5, 7, 4)),
    "convolution": (lambda: BinaryConv2d(2, 4, 3, padding=1, groups=2), (0, 2, 5, 5), (3, 2, 5, 5)),
    "activated": (lambda: Activated(BinaryLinear(4, 3), nn.Tanh()), (0, 4), (5, 4)),
}
VARIANTS = [
    {},
    {"memory": "momentum"},
    {"variant": "projected"},
    {"variant": "projected", "majorizer": "softmax"},
    {"scale": "raw"},
    {"jacobian": "post-activation"},
]


class Graph(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = BinaryGCNConv(4, 3)

    def forward(self, x):
        nodes = torch.arange(len(x))
        return self.layer(x, torch.stack([nodes, nodes.roll(1)]))


# Empty batches


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("kind", [*LAYERS, "graph"])
def test_empty_batch_takes_no_step(kind, options):
    if options.get("jacobian") and kind != "activated":
        pytest.skip("its layer tells no slopes")
    build, empty, full = LAYERS.get(kind, (Graph, (0, 4), (5, 4)))
    model = build()
    optimizer = QPSBGD(model.parameters(), **options)
    model(torch.randn(full)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    before, state = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())
    model(torch.randn(empty)).square().sum().backward()
    optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert str(optimizer.state_dict()["state"]) == str(state["state"])


@pytest.mark.parametrize("options", VARIANTS[:-1], ids=str)
@pytest.mark.parametrize("kind", ["linear", "convolution"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_empty_micro_batch_changes_nothing(kind, options, place):
    build, empty, full = LAYERS[kind]
    trained = []
    for with_empty in (False, True):
        torch.manual_seed(4)
        model = build()
        optimizer = QPSBGD(model.parameters(), **options)
        data = [torch.randn(full), torch.randn(full)]
        if with_empty:
            data.insert(place, torch.randn(empty))
        for x in data:
            model(x).square().sum().backward()
        optimizer.step()
        trained.append(model)
    assert states_equal(*trained)


# Zero gradients without samples


@pytest.mark.parametrize("options", VARIANTS[:4], ids=str)
def test_layer_unused_since_gradients_were_set_to_zero_takes_no_step(options):
    layers = nn.ModuleList([BinaryLinear(4, 3), BinaryLinear(4, 3)])
    optimizer = QPSBGD(layers.parameters(), **options)
    for layer in layers:
        layer(torch.randn(5, 4)).square().sum().backward()
    optimizer.step()
    layers.zero_grad(set_to_none=False)
    before = layers[1].weight.detach().clone()
    layers[0](torch.randn(5, 4)).square().sum().backward()
    optimizer.step()
    assert torch.equal(layers[1].weight, before)


@pytest.mark.parametrize("options", VARIANTS[:3], ids=str)
@pytest.mark.filterwarnings("ignore:torch.distributed is")
def test_fresh_optimizer_resumes_through_distributed_checkpoints(tmp_path, options):
    model, twin = small_net(), small_net()
    optimizer, other = (QPSBGD(net.parameters(), **options) for net in (model, twin))
    train(model, optimizer, batches(3))
    state = {"model": model.state_dict(), "optimizer": get_optimizer_state_dict(model, optimizer)}
    distributed_checkpoint.save(state, checkpoint_id=tmp_path)

    state = {"model": twin.state_dict(), "optimizer": get_optimizer_state_dict(twin, other)}
    distributed_checkpoint.load(state, checkpoint_id=tmp_path)
    twin.load_state_dict(state["model"])
    set_optimizer_state_dict(twin, other, state["optimizer"])
    for net, optim in ((model, optimizer), (twin, other)):
        train(net, optim, batches(3))
    assert states_equal(model, twin)


# State dicts


@every_optimizer
@pytest.mark.parametrize("foreign", [torch.optim.Adam, torch.optim.SGD, *OPTIMIZERS])
def test_state_dict_of_another_optimizer_is_refused_at_once(make, foreign):
    model = small_net()
    optimizer = make(model.parameters())
    state = foreign(model.parameters()).state_dict()
    before = str(optimizer.state_dict())
    if foreign is make:
        optimizer.load_state_dict(state)
        return
    needed = set(optimizer.defaults) - set(state["param_groups"][0])
    if not needed - {"betas", "other_betas", "other_eps"}:
        pytest.skip("its options are a part of the other's")
    with pytest.raises(ValueError, match=f"another optimizer or version: .* which {make.__name__} needs"):
        optimizer.load_state_dict(state)
    assert str(optimizer.state_dict()) == before


@pytest.mark.parametrize("bad", [None, [], {}, {"state": {}}])
def test_what_is_no_state_dict_is_refused(bad):
    optimizer = QPSBGD(small_net().parameters())
    with pytest.raises(ValueError, match="state_dict must be what"):
        optimizer.load_state_dict(bad)


def test_state_dict_of_the_first_version_is_loaded():
    model = small_net()
    optimizer = QPSBGD(model.parameters())
    train(model, optimizer, batches(2))
    state = optimizer.state_dict()
    for group in state["param_groups"]:
        for name in ("variant", "majorizer", "damping", "jacobian", "qpu_seconds", "betas", "base_lr"):
            del group[name]
        del group["other_betas"], group["other_eps"]
    twin = copy.deepcopy(model)
    resumed = QPSBGD(twin.parameters())
    resumed.load_state_dict(state)
    for net, optim in ((model, optimizer), (twin, resumed)):
        train(net, optim, batches(2))
    assert states_equal(model, twin)


@pytest.mark.parametrize("options", VARIANTS[:4], ids=str)
@pytest.mark.parametrize(
    ("saved", "loaded"), [(torch.float32, torch.float64), (torch.float64, torch.float32)]
)
def test_state_goes_from_one_precision_to_another(options, saved, loaded):
    model = small_net(saved)
    optimizer = QPSBGD(model.parameters(), **options)
    train(model, optimizer, batches(2, dtype=saved))
    twin = small_net(loaded)
    resumed = QPSBGD(twin.parameters(), **options)
    resumed.load_state_dict(optimizer.state_dict())
    train(twin, resumed, batches(2, dtype=loaded))
    assert all(parameter.isfinite().all() for parameter in twin.parameters())


# Schedules


@every_optimizer
def test_schedule_to_zero_stops_everything(make):
    model = small_net()
    optimizer = make(model.parameters(), lr=0.1)
    schedule = LambdaLR(optimizer, lambda step: float(step < 2))
    train(model, optimizer, batches(2))
    schedule.step()
    schedule.step()
    if make is Bop:  # whose flips follow the running mean, which stays as it is from now on
        train(model, optimizer, batches(1))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    train(model, optimizer, batches(3))
    assert all(torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))


def test_other_parameters_follow_the_schedule_in_proportion():
    model = small_net()
    optimizer = QPSBGD(model.parameters(), lr=0.04, other_lr=0.02)
    for group in optimizer.param_groups:
        group["lr"] = 0.01
    norm = model[1].weight
    before = norm.detach().clone()
    train(model, optimizer, batches(1))
    # Adam's first step has the size of its rate, where the gradient is well above eps.
    assert (norm - before).abs().max().item() == pytest.approx(0.005, rel=1e-3)


@pytest.mark.parametrize("make", [QPSBGD, BinaryConnect, SignSGD])
@pytest.mark.parametrize("kind", ["one cycle", "cyclic", "cosine"])
def test_schedules_of_torch_work_with_their_defaults(make, kind):
    model = small_net()
    optimizer = make(model.parameters(), lr=0.03)
    schedule = {
        "one cycle": lambda: OneCycleLR(optimizer, max_lr=0.03, total_steps=6),
        "cyclic": lambda: CyclicLR(optimizer, base_lr=0.001, max_lr=0.03),
        "cosine": lambda: CosineAnnealingLR(optimizer, T_max=5),
    }[kind]()
    for data in batches(5):
        train(model, optimizer, [data])
        schedule.step()
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@every_optimizer
@pytest.mark.parametrize("rate", [float("nan"), float("inf"), -1.0, 1e39])
@pytest.mark.parametrize("name", ["lr", "other_lr"])
def test_rate_that_is_no_number_is_refused_before_anything_changes(make, rate, name):
    model = small_net()
    optimizer = make(model.parameters())
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer.param_groups[0][name] = rate
    with pytest.raises(ValueError, match=f"Invalid {name}"):
        train(model, optimizer, batches(1))
    assert all(torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))


# Kinds of parameters and of numbers


@every_optimizer
def test_complex_parameters_take_the_steps_of_torchs_adam(make):
    torch.manual_seed(0)
    layer = BinaryLinear(4, 3)
    phase = nn.Parameter(torch.randn(3, dtype=torch.complex64))
    twin = nn.Parameter(phase.detach().clone())
    optimizer = make([layer.weight, phase], lr=0.01, other_lr=0.02)
    adam = torch.optim.Adam([twin], lr=0.02, foreach=False)
    for _ in range(4):
        optimizer.zero_grad()
        adam.zero_grad()
        z = layer(torch.randn(5, 4)).detach()
        layer(torch.randn(5, 4)).square().sum().backward()
        for parameter in (phase, twin):
            (parameter * z).abs().square().sum().backward()
        optimizer.step()
        adam.step()
    torch.testing.assert_close(phase, twin)


@every_optimizer
def test_half_parameters_train_with_a_larger_eps(make):
    layer = nn.Sequential(BinaryLinear(4, 3), nn.Linear(3, 2)).half()
    optimizer = make(layer.parameters(), other_eps=1e-4, other_betas=(0.9, 0.99))
    for _ in range(3):
        optimizer.zero_grad()
        (layer(torch.randn(5, 4).half()).square().sum() * 1e-3).backward()
        optimizer.step()
    assert all(parameter.isfinite().all() for parameter in layer.parameters())


def test_betas_are_those_of_the_running_means():
    torch.manual_seed(0)
    layer = BinaryLinear(4, 3).double()
    optimizer = QPSBGD(layer.parameters(), memory="momentum", betas=(0.5, 0.25))
    gradients, grams, shown = [], [], []
    optimizer.register_projection_hook(shown.append)
    for _ in range(3):
        optimizer.zero_grad()
        x = torch.randn(6, 4).double()
        layer(x).square().sum().backward()
        gradients.append(layer.weight.grad.clone())
        grams.append(x.T @ x / (6 * 4))
        optimizer.step()
    p = sum(0.5 ** (3 - k) * g for k, g in enumerate(gradients)) / (1 - 0.5**3)
    A = sum(0.75 * 0.25 ** (2 - k) * gram for k, gram in enumerate(grams)) / (1 - 0.25**3)
    torch.testing.assert_close(shown[-1].p, p)
    torch.testing.assert_close(torch.from_numpy(shown[-1].A), A)


@every_optimizer
def test_numbers_of_numpy_are_accepted(make):
    model = small_net()
    optimizer = make(
        model.parameters(), lr=np.float32(0.01), other_lr=np.float64(0.02), maximize=np.bool_(False)
    )
    (group,) = optimizer.param_groups
    assert not any(isinstance(value, np.generic) for value in group.values())
    assert group["lr"] == pytest.approx(0.01)
    before = model[0].weight.detach().clone()
    train(model, optimizer, batches(1))
    assert not torch.equal(model[0].weight, before)


def test_options_of_numpy_are_accepted_and_load_without_pickle(tmp_path):
    model = small_net()
    optimizer = QPSBGD(
        model.parameters(),
        lr=np.float64(0.01),
        kappa=np.float32(1.0),
        clip=np.int64(1),
        seed=np.int64(3),
        betas=[np.float64(0.9), 0.9],
        maximize=np.bool_(True),
    )
    train(model, optimizer, batches(1))
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    loaded = torch.load(tmp_path / "state.pt", weights_only=True)
    assert loaded["param_groups"] == optimizer.state_dict()["param_groups"]
    other = QPSBGD(small_net().parameters())
    other.load_state_dict(loaded)
    assert other.param_groups[0]["seed"] == 3
    assert other.param_groups[0]["betas"] == (0.9, 0.9)


# Captures of other optimizers


@pytest.mark.parametrize("bad", [{"kappa": -1.0}, {"lr": -1.0}])
def test_refused_group_leaves_captures_where_they_were(bad):
    model = small_net()
    optimizer = QPSBGD(model.parameters())
    with pytest.raises(ValueError, match="Invalid"):
        QPSBGD([{"params": [model[0].weight]}, {"params": [model[3].weight], **bad}])
    with pytest.raises(ValueError, match="Invalid"):
        optimizer.add_param_group({"params": [BinaryLinear(2, 2).weight], **bad})
    train(model, optimizer, batches(2))
    assert optimizer.num_qubos == 22


def test_shallow_copy_shares_what_is_recorded():
    model = small_net()
    optimizer = QPSBGD(model.parameters())
    other = copy.copy(optimizer)
    assert other.state is optimizer.state
    train(model, optimizer, batches(2))
    train(model, other, batches(1))
    assert optimizer.num_qubos == 33


def test_residual_optimizer_copies_and_loads_alike():
    x = nn.Parameter(torch.tensor([-1.2, 1.0]))
    optimizer = ResidualQPSBGD([x])
    with pytest.raises(ValueError, match="another optimizer or version"):
        optimizer.load_state_dict(torch.optim.SGD([x]).state_dict())
