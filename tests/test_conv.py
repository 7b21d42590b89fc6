"""The binary convolution: its product, the rows it stands for, and steps on it."""

import copy
import gc

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import oracles
from qpsbgd.capture import BinaryWeight, attach
from qpsbgd.nn import BinaryConv2d, BinaryLinear, Scale, to_binary
from qpsbgd.optim import QPSBGD

# torch's own words on even kernels with padding "same".
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")

OPTIONS = {
    "plain": {"kernel_size": 3},
    "stride": {"kernel_size": 3, "stride": 2},
    "padding": {"kernel_size": (3, 2), "padding": (1, 2)},
    "same": {"kernel_size": (2, 3), "padding": "same"},
    "valid": {"kernel_size": 2, "padding": "valid"},
    "dilation": {"kernel_size": 2, "dilation": (2, 1), "stride": (1, 2)},
    "groups": {"kernel_size": 3, "groups": 2, "padding": 1},
    "depthwise": {"kernel_size": 2, "groups": 4},
    "reflect": {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
    "circular": {"kernel_size": 3, "padding": "same", "padding_mode": "circular"},
}


@pytest.fixture(params=OPTIONS.values(), ids=OPTIONS)
def layer(request):
    return BinaryConv2d(4, 8, **request.param).double()


def images(count=3):
    return torch.randn(count, 4, 6, 7, dtype=torch.float64)


def fan_in(layer):
    return layer.weight[0].numel()


def signs_of(layer):
    return torch.where(layer.weight >= 0, 1.0, -1.0).double()


def plain_twin(layer):
    """A torch convolution of the same options."""
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
    options = {name: getattr(layer, name) for name in (*names, "padding_mode")}
    return nn.Conv2d(**options, bias=False, dtype=torch.float64)


@pytest.mark.parametrize("training", [True, False])
def test_output_is_a_times_the_convolution_with_the_signs(layer, training):
    twin = plain_twin(layer)
    with torch.no_grad():
        twin.weight.copy_(signs_of(layer))
    x = images()
    torch.testing.assert_close(layer.train(training)(x), twin(x) / fan_in(layer) ** 0.5)


def test_unfolded_rows_times_signs_are_the_output(layer):
    capture = attach(layer.weight, keep_output_gradients=True)
    x = images()
    z = layer(x)
    z.sum().backward()
    _, X = capture.jacobian_factors()
    X = X.reshape(layer.groups, -1, fan_in(layer))
    B = signs_of(layer).reshape(layer.groups, -1, fan_in(layer))
    rows = torch.einsum("gnd,gmd->ngm", X, B).flatten(1) / fan_in(layer) ** 0.5
    torch.testing.assert_close(rows, z.permute(0, 2, 3, 1).reshape(-1, 8))


def test_gradient_is_a_over_n_times_v_transposed_x(layer):
    capture = attach(layer.weight, keep_output_gradients=True)
    layer(images()).square().mean().backward()
    V, X = (t.reshape(layer.groups, -1, t.shape[-1]) for t in capture.jacobian_factors())
    n, d = X.shape[1:]
    gradient = torch.einsum("gnm,gnd->gmd", V, X) / (n * d**0.5)
    torch.testing.assert_close(layer.weight.grad, gradient.reshape(layer.weight.shape))
    assert capture.records[0].num_samples == n


def test_sums_of_factors_over_an_image_are_its_gradient_by_vmap(layer):
    x, target = images(), torch.randn(8, dtype=torch.float64)
    capture = attach(layer.weight, keep_output_gradients=True)

    def loss(weight, sample):
        z = torch.func.functional_call(layer, {"weight": weight}, (sample[None],))
        return torch.tanh(z).mean(dim=(2, 3)).mul(target).sum(dim=1).mean()

    torch.tanh(layer(x)).mean(dim=(2, 3)).mul(target).sum(dim=1).mean().backward()
    V, X = (t.reshape(layer.groups, len(x), -1, t.shape[-1]) for t in capture.jacobian_factors())
    places, d = X.shape[2:]
    # V is n = images * places times the gradient, so a factor of 1 / places is left of the mean.
    per_image = torch.einsum("gilm,gild->igmd", V, X) / (places * d**0.5)
    expected = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(layer.weight.detach(), x)
    torch.testing.assert_close(per_image.reshape(expected.shape), expected)


def test_factors_are_the_jacobian_of_the_output(layer):
    x = images(1)
    capture = attach(layer.weight, keep_output_gradients=True)
    layer(x).sum().backward()
    _, X = capture.jacobian_factors()
    X = X.reshape(layer.groups, -1, fan_in(layer))

    def output(weight):
        return torch.func.functional_call(layer, {"weight": weight}, (x,))[0].flatten(1)

    jacobian = torch.autograd.functional.jacobian(output, layer.weight.detach()).flatten(2)
    jacobian = jacobian.unflatten(2, (8, -1))  # (output channel, place, weight row, d)
    per_group = 8 // layer.groups
    for j in range(8):
        torch.testing.assert_close(jacobian[j, :, j], X[j // per_group] / fan_in(layer) ** 0.5)
        assert jacobian[j, :, [k for k in range(8) if k != j]].abs().max() == 0


def test_capture_keeps_the_image_and_not_its_unfolding():
    layer = BinaryConv2d(4, 8, 3)
    capture = attach(layer.weight)
    x = torch.randn(3, 4, 6, 7)
    layer(x).sum().backward()
    (record,) = capture.records
    assert record.inputs.data_ptr() == x.data_ptr()
    assert record.inputs.shape == x.shape
    assert record.source() is x


def test_blocks_of_images_are_bounded_and_complete(monkeypatch):
    layer = BinaryConv2d(4, 8, 3, groups=2)
    capture = attach(layer.weight)
    layer(torch.randn(10, 4, 6, 7)).sum().backward()
    (record,) = capture.records
    (whole,) = [X for X, _ in record.blocks()]
    monkeypatch.setitem(attach.__globals__, "_BLOCK_ELEMENTS", 3 * whole.numel() // 10)
    blocks = [X for X, _ in record.blocks()]
    assert [X.shape[1] for X in blocks] == [60, 60, 60, 20]
    torch.testing.assert_close(torch.cat(blocks, dim=1), whole)


def first_step(layer, x, **options):
    """Gradient, and the step G that QPSBGD takes, both as (groups, m / groups, d)."""
    optimizer = QPSBGD(layer.parameters(), lr=0.5, clip=1e9, **options)
    before = layer.weight.detach().clone()
    optimizer.zero_grad()
    torch.tanh(layer(x)).mean().backward()
    gradient = layer.weight.grad.clone()
    optimizer.step()
    step = (before - layer.weight.detach()) / 0.5
    shape = (layer.groups, -1, fan_in(layer))
    return optimizer, gradient.reshape(shape), step.reshape(shape).round()


@pytest.mark.parametrize("memory", ["error-feedback", "momentum", None])
@pytest.mark.parametrize("groups", [1, 2])
def test_step_descends_each_groups_own_qubo(groups, memory):
    layer = BinaryConv2d(4, 6, 2, groups=groups).double()
    x = images()
    capture = attach(layer.weight, keep_output_gradients=True)
    layer(x).sum().backward()
    _, X = capture.jacobian_factors()
    X = X.reshape(groups, -1, fan_in(layer)).numpy()
    optimizer, gradient, step = first_step(layer, x, memory=memory)
    kappa = 0.5 if memory == "momentum" else 1.0
    for g in range(groups):
        _, gram = oracles.gradient_and_gram(np.zeros((X.shape[1], 1)), X[g])
        for p, G in zip(gradient[g].numpy(), step[g].numpy(), strict=True):
            scale = oracles.relative_scale(p, gram, kappa)
            start = oracles.row_objective(oracles.signs(p), p, gram, scale)
            reached = oracles.row_objective(G, p, gram, scale)
            assert set(np.abs(G)) == {1.0}
            assert reached <= start + 1e-12
            for k in range(len(G)):  # no single flip improves
                flipped = G.copy()
                flipped[k] *= -1
                assert oracles.row_objective(flipped, p, gram, scale) >= reached - 1e-12
    assert optimizer.num_qubos == 6


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"memory": "momentum"},
        {"variant": "projected", "memory": "momentum"},
        {"variant": "projected", "memory": None, "majorizer": "softmax"},
    ],
    ids=["error_feedback", "momentum", "gauss_newton", "majoriser"],
)
def test_one_by_one_convolution_steps_like_a_linear_layer(options):
    conv, linear = BinaryConv2d(6, 4, 1), BinaryLinear(6, 4)
    with torch.no_grad():
        linear.weight.copy_(conv.weight.flatten(1))
    optimizers = [QPSBGD(layer.parameters(), lr=0.1, **options) for layer in (conv, linear)]
    generator = torch.Generator().manual_seed(3)
    for _ in range(4):
        x = torch.randn(5, 6, 3, 2, generator=generator)
        rows = x.permute(0, 2, 3, 1).reshape(-1, 6)
        for layer, inputs, optimizer in zip((conv, linear), (x, rows), optimizers, strict=True):
            optimizer.zero_grad()
            (layer(inputs) - 1).square().mean().backward()
            optimizer.step()
    torch.testing.assert_close(conv.weight.flatten(1), linear.weight)


@pytest.mark.parametrize(
    "options",
    [{"memory": "error-feedback"}, {"memory": "momentum"}, {"memory": "momentum", "variant": "projected"}],
    ids=["error_feedback", "momentum", "projected"],
)
def test_state_dict_of_a_grouped_layer_resumes_exactly(options):
    def train(layer, optimizer, start, stop):
        for step in range(start, stop):
            x = torch.randn(4, 4, 5, 5, generator=torch.Generator().manual_seed(step))
            optimizer.zero_grad()
            (layer(x) - 1).square().mean().backward()
            optimizer.step()

    layer = BinaryConv2d(4, 6, 3, groups=2)
    optimizer = QPSBGD(layer.parameters(), **options)
    train(layer, optimizer, 0, 3)
    twin = copy.deepcopy(layer)
    resumed = QPSBGD(twin.parameters(), **options)
    resumed.load_state_dict(optimizer.state_dict())
    train(layer, optimizer, 3, 6)
    train(twin, resumed, 3, 6)
    assert torch.equal(layer.weight, twin.weight)


def test_single_image_without_batch_dimension():
    layer = BinaryConv2d(4, 6, 3, bias=True).double()
    x = images(1)[0]
    torch.testing.assert_close(layer(x), layer(x[None])[0])
    optimizer = QPSBGD(layer.parameters())
    layer(x).square().mean().backward()
    optimizer.step()


def test_tied_weight_gathers_the_rows_of_both_layers():
    layer, other = BinaryConv2d(4, 6, 3).double(), BinaryConv2d(4, 6, 3, stride=2, padding=1).double()
    other.weight = layer.weight
    capture = attach(layer.weight, keep_output_gradients=True)
    (layer(images()).square().mean() + other(images()).square().mean()).backward()
    V, X = capture.jacobian_factors()
    assert len(X) == 3 * 4 * 5 + 3 * 3 * 4
    gradient = V.T @ X / (len(X) * fan_in(layer) ** 0.5)
    torch.testing.assert_close(layer.weight.grad, gradient.reshape(layer.weight.shape))


def test_evaluation_and_unused_passes_leave_memory_flat():
    layer = BinaryConv2d(4, 6, 3)
    capture = attach(layer.weight)
    x = torch.randn(2, 4, 5, 5)
    for training in (False, True):
        layer.train(training)
        layer(x)
        gc.collect()
        before = sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())
        for _ in range(20):
            layer(x)
        gc.collect()
        assert sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects()) == before
    assert capture.records == []


def test_state_dict_is_that_of_a_torch_convolution():
    plain, binary = nn.Conv2d(4, 6, 3), BinaryConv2d(4, 6, 3, bias=True)
    binary.load_state_dict(plain.state_dict())
    plain.load_state_dict(binary.state_dict())
    torch.testing.assert_close(binary.weight.data, plain.weight.data)


def test_device_and_dtype_are_those_asked_for():
    layer = BinaryConv2d(4, 6, 3, bias=True, device="meta", dtype=torch.float64)
    assert layer.weight.is_meta
    assert layer.weight.dtype == layer.bias.dtype == torch.float64
    assert type(layer.to_empty(device="cpu").weight) is BinaryWeight


def test_initial_weights_lie_within_a_tenth_and_the_bias_is_zero():
    layer = BinaryConv2d(8, 32, 3, bias=True)
    assert 0.09 < layer.weight.abs().max() <= 0.1
    assert layer.bias.abs().max() == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_weights_of_other_dtypes_train(dtype):
    layer = BinaryConv2d(2, 3, 2, dtype=dtype)
    optimizer = QPSBGD(layer.parameters(), lr=0.125)
    before = layer.weight.detach().clone()
    layer(torch.randn(4, 2, 5, 5, dtype=dtype)).square().mean().backward()
    optimizer.step()
    assert layer.weight.dtype == dtype
    assert set((layer.weight - before).abs().float().flatten().mul(8).round().tolist()) == {1.0}


def test_to_binary_keeps_a_convolution_and_its_options():
    conv = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2, padding_mode="reflect")
    weight, bias = conv.weight, conv.bias
    model = to_binary(nn.Sequential(conv, nn.Flatten()))
    assert model[0] is conv
    assert type(conv) is BinaryConv2d
    assert conv.weight is weight
    assert conv.bias is bias
    x = torch.randn(2, 4, 6, 7)
    padded = F.pad(x, (1, 1, 1, 1), mode="reflect")
    signs = torch.where(weight >= 0, 1.0, -1.0)
    expected = F.conv2d(padded, signs, None, 2, 0, 1, 2) / 18**0.5 + bias[:, None, None]
    torch.testing.assert_close(conv(x), expected)


def test_to_binary_refuses_a_convolution_tied_to_another_kind_of_layer():
    transposed = nn.ConvTranspose2d(6, 4, 3, bias=False)
    conv = nn.Conv2d(4, 6, 3, bias=False)
    transposed.weight = conv.weight
    with pytest.raises(ValueError, match=r"a convolution shares its weight with '1' \(ConvTranspose2d\)"):
        to_binary(nn.Sequential(conv, transposed))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"in_channels": 0}, "in_channels must be a positive integer, but is 0"),
        ({"out_channels": 2.0}, "out_channels must be a positive integer"),
        ({"kernel_size": 0}, "kernel_size must be a positive integer"),
        ({"kernel_size": (1, 2, 3)}, "kernel_size must be an integer or a pair"),
        ({"stride": (1, -1)}, "stride must be a positive integer"),
        ({"dilation": 0}, "dilation must be a positive integer"),
        ({"groups": 3}, "divisible by groups"),
        ({"padding": "full"}, "Invalid padding string"),
        ({"padding_mode": "mirror"}, "padding_mode must be one of"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        BinaryConv2d(**{"in_channels": 4, "out_channels": 6, "kernel_size": 3, **options})


def accuracy_of_small_net(seed):
    torch.manual_seed(seed)
    x = torch.randn(64, 1, 6, 6)
    y = (x[:, 0, :3].mean(dim=(1, 2)) > x[:, 0, 3:].mean(dim=(1, 2))).long()
    model = nn.Sequential(
        BinaryConv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), BinaryLinear(128, 2), Scale()
    )
    optimizer = QPSBGD(model.parameters(), lr=0.02)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return float((model(x).argmax(dim=1) == y).float().mean())


def test_small_convolutional_net_learns():
    # One seed scatters by .025 around .97.
    assert sum(accuracy_of_small_net(seed) for seed in range(6)) / 6 > 0.94
