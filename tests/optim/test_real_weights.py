"""QPSBGD on ordinary networks: real weights, steps of -1 and +1 of size lr / sqrt(fan-in)."""

import copy
import io

import numpy as np
import pytest
import torch
from torch import nn

from oracles import best_row_step, relative_scale, row_objective, signs
from qpsbgd import QPSBGD
from qpsbgd.nn import BinaryLinear, to_binary, to_recorded
from qpsbgd.solvers import NativeSolver
from training import states_equal


def network(dtype=torch.float32):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 3))
    return to_recorded(model.to(dtype))


def batches(count, dtype=torch.float32):
    generator = torch.Generator().manual_seed(2)
    for _ in range(count):
        x = torch.randn(32, 6, generator=generator).to(dtype)
        yield x, (x[:, :3] + 0.3 * x[:, 3:]).argmax(dim=1)


def train(model, optimizer, data):
    for x, y in data:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()


def mean_loss(model):
    with torch.no_grad():
        return np.mean([nn.functional.cross_entropy(model(x), y).item() for x, y in batches(10)])


def test_network_learns():
    model = network()
    before = mean_loss(model)
    train(model, QPSBGD(model.parameters(), lr=0.03), batches(60))
    assert mean_loss(model) < 0.35 * before


# One step


def test_kappa_zero_is_sign_sgd_with_momentum_bit_for_bit():
    model = network()
    weights = [model[0].weight, model[3].weight]
    expected = [weight.detach().clone() for weight in weights]
    means = [torch.zeros_like(weight) for weight in weights]
    beta, lr, decay = 0.75, 0.125, 0.25
    optimizer = QPSBGD(model.parameters(), lr=lr, kappa=0.0, betas=(beta, 0.5), weight_decay=decay)
    for x, y in batches(8):
        train(model, optimizer, [(x, y)])
        for mean, weight, known in zip(means, weights, expected, strict=True):
            width = weight.shape[1]
            mean.lerp_(weight.grad * width**-0.5, 1 - beta)
            known.mul_(1 - lr * decay).sub_(lr * width**-0.5 * mean.sign())
            assert torch.equal(weight, known)


def layer_and_samples(d=5, m=3, n=7):
    torch.manual_seed(3)
    layer = to_recorded(nn.Linear(d, m, bias=False, dtype=torch.float64))
    x, target = torch.randn(n, d, dtype=torch.float64), torch.randn(n, m, dtype=torch.float64)
    return layer, x, target


def half_squares(layer, x, target):
    return (layer(x) - target).square().sum(dim=1).mean() / 2


@pytest.mark.parametrize("kappa", [0.5, 3.0, 2000.0])
def test_steps_are_the_best_of_all_for_running_means_of_gradient_and_gram_matrix(kappa):
    layer, _, _ = layer_and_samples()
    lr, betas = 0.1, (0.6, 0.8)
    exact = NativeSolver(method="exact")
    optimizer = QPSBGD(layer.parameters(), lr=lr, kappa=kappa, betas=betas, solver=exact)
    p, A = np.zeros((3, 5)), np.zeros((5, 5))
    generator = np.random.default_rng(0)
    for step in range(1, 6):
        X, target = generator.normal(size=(7, 5)), torch.from_numpy(generator.normal(size=(7, 3)))
        before = layer.weight.detach().clone()
        optimizer.zero_grad()
        half_squares(layer, torch.from_numpy(X), target).backward()
        optimizer.step()
        p = betas[0] * p + (1 - betas[0]) * layer.weight.grad.numpy() / np.sqrt(5)
        A = betas[1] * A + (1 - betas[1]) * X.T @ X / (7 * 5)
        mean_p, mean_A = p / (1 - betas[0] ** step), A / (1 - betas[1] ** step)
        G = (before - layer.weight.detach()).numpy() * np.sqrt(5) / lr
        for row, gradient in zip(G, mean_p, strict=True):
            best = best_row_step(gradient, mean_A, relative_scale(gradient, mean_A, kappa))
            np.testing.assert_allclose(row, best, atol=1e-9)


def test_default_solver_ends_in_a_local_minimum_not_above_the_signs():
    layer, x, target = layer_and_samples(d=9, m=40, n=12)
    optimizer = QPSBGD(layer.parameters(), kappa=8.0)
    seen = []
    optimizer.register_projection_hook(seen.append)
    half_squares(layer, x, target).backward()
    optimizer.step()
    ((_, _, _, p, A, G, _),) = seen
    better = 0
    for gradient, row in zip(p.numpy(), G.numpy(), strict=True):
        scale = relative_scale(gradient, A, 8.0)
        value = row_objective(row, gradient, A, scale)
        assert value <= row_objective(signs(gradient), gradient, A, scale) + 1e-12
        better += value < row_objective(signs(gradient), gradient, A, scale) - 1e-9
        for k in range(9):
            flipped = row.copy()
            flipped[k] *= -1
            assert value <= row_objective(flipped, gradient, A, scale) + 1e-9
    assert better > 20


def test_scale_step_minimises_the_squared_error_after_the_step():
    # Of a linear layer the QUBO is then the loss itself, so that scales and sizes must all be right.
    layer, x, target = layer_and_samples(d=4, m=2)
    lr = 0.7
    optimizer = QPSBGD(
        layer.parameters(), lr=lr, scale="step", memory=None, solver=NativeSolver(method="exact")
    )
    start = layer.weight.detach().clone()
    half_squares(layer, x, target).backward()
    optimizer.step()
    reached = half_squares(layer, x, target).item()
    losses = []
    for number in range(2**8):
        G = torch.tensor([1.0 if number >> bit & 1 else -1.0 for bit in range(8)], dtype=torch.float64)
        with torch.no_grad():
            layer.weight.copy_(start - lr / 2 * G.view(2, 4))
        losses.append(half_squares(layer, x, target).item())
    assert reached == pytest.approx(min(losses), rel=1e-12)


def test_step_of_a_convolution_is_that_of_a_linear_layer_of_its_patches():
    torch.manual_seed(0)
    convolution = to_recorded(nn.Conv1d(2, 3, 4, stride=4, bias=False))
    linear = to_recorded(nn.Linear(8, 3, bias=False))
    with torch.no_grad():
        linear.weight.copy_(convolution.weight.flatten(1))
    x = torch.randn(5, 2, 12)
    patches = x.unfold(2, 4, 4).permute(0, 2, 1, 3).reshape(15, 8)
    target = torch.randn(5, 3, 3)
    for layer, inputs, wanted in (
        (convolution, x, target),
        (linear, patches, target.permute(0, 2, 1).reshape(15, 3)),
    ):
        optimizer = QPSBGD(layer.parameters(), lr=0.25)
        (layer(inputs) - wanted).square().mean().backward()
        optimizer.step()
    torch.testing.assert_close(convolution.weight.flatten(1), linear.weight)
    assert not torch.equal(linear.weight, convolution.weight.new_zeros(3, 8))


def test_accumulated_gradients_step_as_one_batch():
    whole, parts = network(torch.float64), network(torch.float64)
    ((x, y),) = batches(1, torch.float64)
    train(whole, QPSBGD(whole.parameters()), [(x, y)])
    optimizer = QPSBGD(parts.parameters())
    for rows in (slice(0, 8), slice(8, 32)):
        (nn.functional.cross_entropy(parts(x[rows]), y[rows], reduction="sum") / 32).backward()
    optimizer.step()
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_size_of_a_step_is_lr_over_the_root_of_the_fan_in():
    model = network()
    before = copy.deepcopy(model)
    train(model, QPSBGD(model.parameters(), lr=0.5), batches(1))
    for number, width in ((0, 6), (3, 16)):
        moved = (model[number].weight - before[number].weight).abs()
        torch.testing.assert_close(moved, torch.full_like(moved, 0.5 * width**-0.5))


def test_weights_are_not_clipped():
    layer = to_recorded(nn.Linear(4, 2, bias=False))
    torch.nn.init.constant_(layer.weight, 5.0)
    optimizer = QPSBGD(layer.parameters(), lr=0.5, kappa=0.0, clip=1.0)
    layer(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    torch.testing.assert_close(layer.weight.detach(), torch.full((2, 4), 4.75))


# Ties


def test_tied_layers_step_by_the_samples_of_both():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Tanh(), nn.Linear(4, 4, bias=False)).double()
    model[2].weight = model[0].weight
    optimizer = QPSBGD(to_recorded(model).parameters(), memory=None)
    seen = []
    optimizer.register_projection_hook(seen.append)
    x = torch.randn(5, 4, dtype=torch.float64)
    hidden = model[:2](x).detach()
    model(x).square().mean().backward()
    optimizer.step()
    samples = torch.cat([x, hidden])
    np.testing.assert_allclose(seen[0].A, (samples.T @ samples / (10 * 4)).numpy())
    torch.testing.assert_close(seen[0].gradient, model[0].weight.grad / 2)


def test_tied_embedding_takes_binary_steps_by_the_gradient_of_both_uses():
    torch.manual_seed(0)
    embedding, output = nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)
    output.weight = embedding.weight
    optimizer = QPSBGD(to_recorded(nn.ModuleList([embedding, output])).parameters(), kappa=0.0)
    seen = []
    optimizer.register_projection_hook(seen.append)
    output(embedding(torch.tensor([1, 2, 5]))).logsumexp(-1).sum().backward()
    gradient = output.weight.grad.clone()
    optimizer.step()
    assert optimizer.num_qubos == 7
    torch.testing.assert_close(seen[0].G.float(), gradient.sign())


def test_attention_may_go_from_cross_to_self_attention():
    torch.manual_seed(0)
    attention = to_recorded(nn.MultiheadAttention(4, 2, batch_first=True))
    optimizer = QPSBGD(attention.parameters(), solver="native")
    x, memory = torch.randn(3, 5, 4), torch.randn(3, 2, 4)
    for key in (memory, x, memory):
        optimizer.zero_grad()
        attention(x, key, key)[0].square().sum().backward()
        optimizer.step()
        shape = optimizer.state[attention.in_proj_weight]["gram_average"].shape
        assert shape == ((4, 4) if key is x else (3, 4, 4))


# Weight decay


def test_weight_decay_is_that_of_adamw_for_all_other_parameters():
    model, other = network(torch.float64), network(torch.float64)
    optimizer = QPSBGD(model.parameters(), lr=0.25, other_lr=0.05, weight_decay=0.5)
    rest = [p for name, p in other.named_parameters() if name not in ("0.weight", "3.weight")]
    adamw = torch.optim.AdamW(rest, lr=0.05, weight_decay=0.5)
    for x, y in batches(3, torch.float64):
        train(model, optimizer, [(x, y)])
        adamw.zero_grad()
        nn.functional.cross_entropy(other(x), y).backward()
        adamw.step()
        with torch.no_grad():
            other[0].weight.copy_(model[0].weight)
            other[3].weight.copy_(model[3].weight)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one, two)


# State


def test_state_dict_resumes_bit_for_bit():
    straight, first = network(), network()
    train(straight, QPSBGD(straight.parameters(), weight_decay=0.1), batches(9))
    data = list(batches(9))
    before = QPSBGD(first.parameters(), weight_decay=0.1)
    train(first, before, data[:4])
    file = io.BytesIO()
    torch.save((first.state_dict(), before.state_dict()), file)
    file.seek(0)
    weights, state = torch.load(file, weights_only=True)
    resumed = network()
    resumed.load_state_dict(weights)
    after = QPSBGD(resumed.parameters())
    after.load_state_dict(state)
    train(resumed, after, data[4:])
    assert states_equal(straight, resumed)


def test_state_of_a_variant_for_binary_weights_is_refused():
    saved = QPSBGD(BinaryLinear(4, 2, bias=True).parameters(), variant="projected").state_dict()
    optimizer = QPSBGD(to_recorded(nn.Linear(4, 2)).parameters())
    with pytest.raises(ValueError, match="variant 'projected' has no meaning for real weights"):
        optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["variant"] == "continuous"


def test_copied_optimizer_goes_on_by_itself():
    model = network()
    train(model, QPSBGD(model.parameters()), batches(2))
    together = copy.deepcopy((model, QPSBGD(model.parameters())))
    train(*together, batches(2))
    assert together[1].num_qubos == 2 * 19


def test_defaults_are_those_of_real_weights():
    group = QPSBGD(network().parameters()).param_groups[0]
    assert group["memory"] == "momentum"
    assert group["weight_decay"] == 0.0
    binary = QPSBGD(BinaryLinear(2, 2).parameters()).param_groups[0]
    assert binary["betas"] == (0.9, 0.9)
    assert (group["lr"], binary["lr"]) == (0.1, 0.01)
    mixed = [{"params": BinaryLinear(2, 2).parameters()}, {"params": network().parameters()}]
    assert [group["lr"] for group in QPSBGD(mixed).param_groups] == [0.01, 0.1]
    assert QPSBGD(network().named_parameters()).param_groups[0]["lr"] == 0.1
    with pytest.raises(TypeError, match="lr"):
        QPSBGD(network().parameters(), lr="fast")


# Errors


def parameters():
    return network().parameters()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "projected"}, "variant 'projected' has no meaning for real weights, use 'continuous'"),
        ({"jacobian": "post-activation"}, "jacobian 'post-activation' has no meaning for real weights"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"kappa": -1.0}, "kappa"),
        ({"betas": (0.5, 1.0)}, "beta parameter at index 1: 1.0"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        QPSBGD(parameters(), **options)


def test_binary_and_real_weights_go_into_two_groups():
    binary, real = to_binary(nn.Linear(4, 4)), to_recorded(nn.Linear(4, 2))
    model = nn.Sequential(binary, real)
    with pytest.raises(ValueError, match="a parameter group holds binary and real weights"):
        QPSBGD(model.parameters())
    optimizer = QPSBGD(binary.parameters())
    with pytest.raises(ValueError, match=r"weight_decay 0.1 has no meaning for binary weights"):
        optimizer.add_param_group({"params": to_binary(nn.Linear(2, 2)).parameters(), "weight_decay": 0.1})
    assert len(optimizer.param_groups) == 1
    optimizer.add_param_group({"params": real.parameters(), "weight_decay": 0.1})
    assert [group["memory"] for group in optimizer.param_groups] == ["error-feedback", "momentum"]
    model(torch.randn(3, 4)).square().sum().backward()
    optimizer.step()
    assert optimizer.num_qubos == 6


def test_weight_that_is_read_and_not_called_is_refused_and_nothing_moves():
    layer = to_recorded(nn.Linear(4, 2))
    optimizer = QPSBGD(layer.parameters())
    before = layer.weight.detach().clone()
    (torch.ones(1, 4) @ layer.weight.T).sum().backward()
    with pytest.raises(RuntimeError, match=r"real weight of shape \(2, 4\).*the layer was not called"):
        optimizer.step()
    assert torch.equal(layer.weight, before)


def test_model_that_is_marked_too_late_is_refused():
    model = nn.Linear(4, 2)
    optimizer = QPSBGD(model.parameters())
    model(torch.ones(1, 4)).sum().backward()
    with pytest.raises(RuntimeError, match=r"no binary weight among its 2 parameters.*to_recorded"):
        optimizer.step()
    to_recorded(model)(torch.ones(1, 4)).sum().backward()
    with pytest.raises(RuntimeError, match="build the optimizer after to_recorded"):
        optimizer.step()


def test_other_optimizers_train_marked_weights_as_plain_ones():
    plain, marked = nn.Linear(4, 2), nn.Linear(4, 2)
    marked.load_state_dict(plain.state_dict())
    to_recorded(marked)
    x = torch.randn(3, 4)
    for layer in (plain, marked):
        optimizer = torch.optim.AdamW(layer.parameters())
        layer(x).square().sum().backward()
        optimizer.step()
    assert states_equal(plain, marked)


# Steps of one bit a weight


def options_of(kind):
    return {
        "real": {"weight_decay": 0.3},
        "mask": {"domain": "mask"},
        "binary": {"clip": 0.15},
        "projected": {"variant": "projected"},
    }[kind]


@pytest.mark.filterwarnings("ignore:layers without a binary form stay real:UserWarning")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("kind", ["real", "mask", "binary", "projected"])
def test_start_and_packed_steps_are_replayed_to_the_same_bits(kind, dtype):
    torch.manual_seed(0)
    convert = to_recorded if kind in ("real", "mask") else to_binary
    model = convert(
        nn.Sequential(nn.Conv1d(2, 3, 2), nn.Flatten(), nn.Linear(9, 5, bias=False), nn.Linear(5, 2))
    ).to(dtype)
    again = copy.deepcopy(model)
    optimizer = QPSBGD(model.parameters(), lr=0.1, **options_of(kind))
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.7)
    file, packed = io.BytesIO(), []
    for _ in range(6):
        optimizer.zero_grad()
        x = torch.randn(8, 2, 4, dtype=dtype)
        x[:, 1] = 0  # inputs that are always zero: their weights do not move
        model(x).square().sum().backward()
        optimizer.step()
        schedule.step()
        packed.append(optimizer.packed_steps())
    torch.save(packed, file)
    file.seek(0)
    replayed = QPSBGD(again.parameters())
    for steps in torch.load(file, weights_only=True):
        replayed.replay(steps)
    weights = [number for number, p in enumerate(model.parameters()) if p.dim() > 1]
    weights = [number for number in weights if number in {step["parameter"] for step in packed[0]}]
    assert len(weights) >= 2
    for number in weights:
        assert torch.equal(list(model.parameters())[number], list(again.parameters())[number])


def test_packed_step_takes_one_bit_a_weight():
    layer = to_recorded(nn.Linear(80, 50, bias=False))
    optimizer = QPSBGD(layer.parameters())
    assert optimizer.packed_steps() == []
    x = torch.randn(20, 80)
    layer(x).square().sum().backward()
    optimizer.step()
    (step,) = optimizer.packed_steps()
    assert (step["signs"].nbytes, step["still"]) == (500, None)
    optimizer.zero_grad()
    fresh = QPSBGD(layer.parameters())
    x[:, 7] = 0
    layer(x).square().sum().backward()
    fresh.step()
    (step,) = fresh.packed_steps()
    assert (step["still_by"], step["still"].nbytes) == ("lines", 17)


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        ([3], "packed must hold what packed_steps"),
        ([{"parameter": 0}], "packed must hold what packed_steps"),
        ("number", "packed has a step of parameter 7, but there are 2 parameters"),
        ("shape", r"packed has a step of shape \(1, 2\) for parameter 0, which has shape \(2, 4\)"),
    ],
)
def test_foreign_packed_steps_are_refused(packed, message):
    layer = to_recorded(nn.Linear(4, 2))
    optimizer = QPSBGD(layer.parameters())
    layer(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    if isinstance(packed, str):
        (step,) = optimizer.packed_steps()
        packed = [{**step, "parameter": 7} if packed == "number" else {**step, "shape": (1, 2)}]
    before = layer.weight.detach().clone()
    with pytest.raises(ValueError, match=message):
        optimizer.replay(packed)
    assert torch.equal(layer.weight, before)
