"""Layer inputs are recorded in the backward pass, where they are wanted and nowhere else."""

import copy
import gc
import io
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from qpsbgd import _core
from qpsbgd.capture import BinaryWeight, as_binary_weight, attach, binarize
from qpsbgd.nn import BinaryActivation, BinaryLinear


def live_tensors():
    gc.collect()
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


def record_once(layer):
    x = torch.randn(6, 4)
    layer(x).square().mean().backward()
    return x


@pytest.fixture
def layer():
    return BinaryLinear(4, 3)


def test_backward_pass_records_the_inputs_without_copying_them(layer):
    capture = attach(layer.weight)
    x = record_once(layer)
    (record,) = capture.records
    assert record.inputs.data_ptr() == x.data_ptr()
    assert not record.inputs.requires_grad
    assert record.output_gradient is None
    assert record.source() is x


def test_gradient_is_a_over_n_times_v_transposed_x(layer):
    layer.double()
    capture = attach(layer.weight, keep_output_gradients=True)
    x, target = torch.randn(6, 4).double(), torch.randn(6, 3).double()
    (layer(x) - target).square().sum(dim=1).mean().backward()
    V, X = capture.jacobian_factors()
    torch.testing.assert_close(X, x)
    torch.testing.assert_close(layer.weight.grad, V.T @ X / (6 * 4**0.5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(5, 40), (2, 3, 40), (40,), (0, 40)])
@pytest.mark.parametrize("loss", ["weighted", "sum"])  # the gradient of a sum is one number, seen many times
def test_recorded_gradients_are_those_of_autograd(dtype, shape, loss):
    layer = BinaryLinear(40, 70).to(dtype)
    capture = attach(layer.weight)  # records as long as it lives
    x = torch.randn(shape).to(dtype).requires_grad_()
    z = layer(x)
    objective = z.sum() if loss == "sum" else (z * z.detach().sin()).sum()
    objective.backward()
    assert len(capture.records) == 1
    again = F.linear(x, binarize(layer.weight)) * 40**-0.5
    objective = again.sum() if loss == "sum" else (again * z.detach().sin()).sum()
    for leaf, expected in zip(
        (layer.weight, x), torch.autograd.grad(objective, (layer.weight, x)), strict=True
    ):
        assert leaf.grad.dtype == dtype
        torch.testing.assert_close(leaf.grad, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_recorded_gradients_are_those_of_the_native_kernel_for_any_number_of_threads(dtype):
    # To the last bit, which torch's product, summed in another order, is not.
    layer = BinaryLinear(784, 96).to(dtype)
    capture = attach(layer.weight)  # records as long as it lives
    x, V = torch.randn(128, 784, dtype=dtype), torch.randn(128, 96, dtype=dtype)
    scale = 784**-0.5
    expected = _core.weight_gradient(x.numpy(), V.numpy(), scale, 1)
    torch.testing.assert_close(torch.from_numpy(expected), scale * V.T @ x)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            layer.zero_grad()
            layer(x).backward(V)
            assert np.array_equal(layer.weight.grad.numpy(), expected)
            assert len(capture.records) == 1
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("x", "v", "message"),
    [
        ((0, 3), (0, 2), "X must"),
        ((4,), (4, 2), "X must"),
        ((4, 3), (5, 2), "V must"),
        ((4, 3), (4, 0), "V must"),
    ],
)
def test_fields_of_bad_shapes_are_refused(x, v, message):
    with pytest.raises(ValueError, match=message):
        _core.weight_gradient(np.ones(x), np.ones(v), 1.0, 1)


def test_recorded_gradients_under_autocast_have_the_type_of_the_weight(layer):
    capture = attach(layer.weight)  # records as long as it lives
    x = torch.randn(5, 4)
    with torch.autocast("cpu", torch.bfloat16):
        z = layer(x)
    assert z.dtype == torch.bfloat16
    z.float().square().sum().backward()
    assert len(capture.records) == 1
    assert layer.weight.grad.dtype == torch.float32
    expected = (2 * z.detach().float()).T @ x / 2
    torch.testing.assert_close(layer.weight.grad, expected, rtol=0.03, atol=0.03)


@pytest.mark.filterwarnings("ignore:Using backward\\(\\) with create_graph")
def test_recorded_gradient_can_be_differentiated_by_the_inputs():
    layer = BinaryLinear(4, 3).double()
    capture = attach(layer.weight)  # records as long as it lives
    x, upstream = torch.randn(5, 4).double().requires_grad_(), torch.randn(5, 3).double()
    (layer(x) * upstream).sum().backward(inputs=[layer.weight], create_graph=True)
    assert len(capture.records) == 1
    gradient, layer.weight.grad = layer.weight.grad, None
    (found,) = torch.autograd.grad(gradient.square().sum(), x)
    torch.testing.assert_close(found, upstream @ gradient.detach())


@pytest.mark.parametrize("first", [True, False])  # whose output needs no gradient but for the weight
def test_output_of_a_recorded_layer_may_be_changed_in_place(layer, first):
    capture = attach(layer.weight)
    x = torch.randn(6, 4, requires_grad=not first)
    F.relu_(layer(x)).sum().backward()
    found = layer.weight.grad
    again = F.linear(x.detach(), binarize(layer.weight)) / 2
    (expected,) = torch.autograd.grad(again.relu().sum(), layer.weight)
    torch.testing.assert_close(found, expected)
    assert len(capture.records) == 1


def test_captured_jacobian_equals_jacrev():
    model = nn.Sequential(BinaryLinear(5, 4), nn.Tanh(), BinaryLinear(4, 3)).double()
    captures = [attach(model[i].weight, keep_output_gradients=True) for i in (0, 2)]
    x, y = torch.randn(7, 5).double(), torch.randint(3, (7,))
    nn.functional.cross_entropy(model(x), y).backward()

    def sample_loss(weights, sample, label):
        output = torch.func.functional_call(model, weights, (sample[None],))
        return nn.functional.cross_entropy(output, label[None])

    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    per_sample = torch.func.vmap(torch.func.jacrev(sample_loss), in_dims=(None, 0, 0))(weights, x, y)
    for capture, name in zip(captures, weights, strict=True):
        V, X = capture.jacobian_factors()
        outer = torch.einsum("nm,nd->nmd", V, X) / X.shape[1] ** 0.5
        torch.testing.assert_close(outer, per_sample[name])


def test_inputs_with_more_dimensions_are_recorded_as_rows(layer):
    capture = attach(layer.weight, keep_output_gradients=True)
    x = torch.randn(2, 5, 4)
    layer(x).square().mean(dim=-1).mean().backward()
    V, X = capture.jacobian_factors()
    torch.testing.assert_close(X, x.reshape(10, 4))
    torch.testing.assert_close(layer.weight.grad, V.T @ X / (10 * 2))


def test_single_vector_is_one_row(layer):
    capture = attach(layer.weight)
    layer(torch.randn(4)).sum().backward()
    assert capture.records[0].inputs.shape == (1, 4)


def test_output_gradient_of_a_single_vector_is_one_row(layer):
    capture = attach(layer.weight, keep_output_gradients=True)
    layer(torch.randn(4)).square().sum().backward()
    V, X = capture.jacobian_factors()
    torch.testing.assert_close(layer.weight.grad, V.T @ X / 2)


def test_nothing_is_recorded_without_attached_capture(layer):
    capture = attach(layer.weight)
    capture.remove()
    record_once(layer)
    assert capture.records == []
    assert not capture.attached


@pytest.mark.parametrize("mode", ["eval", "no_grad", "inference", "no_backward", "frozen"])
def test_nothing_is_recorded_in(layer, mode):
    capture = attach(layer.weight)
    x = torch.randn(6, 4, requires_grad=True)
    if mode == "eval":
        layer.eval()
        layer(x).sum().backward()
    elif mode == "no_grad":
        with torch.no_grad():
            layer(x)
    elif mode == "inference":
        with torch.inference_mode():
            layer(x)
    elif mode == "no_backward":
        layer(x)
    else:
        layer.weight.requires_grad_(False)
        layer(x).sum().backward()
    assert capture.records == []


def test_a_hundred_evaluation_passes_leave_memory_flat(layer):
    model = nn.Sequential(layer, BinaryActivation(), BinaryLinear(3, 2))
    captures = [attach(model[i].weight) for i in (0, 2)]
    model.eval()

    x = torch.randn(8, 4)
    model(x)
    before = live_tensors()
    for _ in range(100):
        model(x)
    assert live_tensors() <= before
    assert all(capture.records == [] for capture in captures)


def test_forward_passes_without_backward_leave_memory_flat(layer):
    capture = attach(layer.weight)

    x = torch.randn(8, 4)
    layer(x)
    before = live_tensors()
    for _ in range(100):
        layer(x)
    assert live_tensors() <= before
    assert capture.records == []


def test_every_backward_pass_appends_a_record(layer):
    capture = attach(layer.weight)
    for _ in range(3):
        record_once(layer)
    assert len(capture.records) == 3
    capture.clear()
    assert capture.records == []


def test_both_layers_of_a_tied_weight_record(layer):
    other = BinaryLinear(4, 3)
    other.weight = layer.weight
    capture = attach(layer.weight, keep_output_gradients=True)
    x, z = torch.randn(6, 4), torch.randn(6, 4)
    ((layer(x) - 1).square() + (other(z) + 1).square()).sum(dim=1).mean().backward()
    assert len(capture.records) == 2
    V, X = capture.jacobian_factors()
    torch.testing.assert_close(layer.weight.grad, V.T @ X / (12 * 2))


def test_recording_stops_when_the_capture_is_dropped(layer):
    capture = attach(layer.weight)
    del capture
    gc.collect()
    with torch.enable_grad():
        layer(torch.randn(2, 4)).sum().backward()
    assert attach(layer.weight).records == []


def test_second_capture_replaces_the_first(layer):
    first, second = attach(layer.weight), attach(layer.weight)
    record_once(layer)
    assert not first.attached
    assert first.records == []
    assert len(second.records) == 1
    first.remove()
    assert second.attached


def test_overwritten_input_is_noticed(layer):
    capture = attach(layer.weight)
    x = record_once(layer)
    assert not capture.records[0].overwritten
    x.zero_()
    assert capture.records[0].overwritten


def test_functorch_transforms_of_a_captured_layer_record_nothing(layer):
    capture = attach(layer.weight)
    x = torch.randn(6, 4)
    torch.func.vmap(torch.func.grad(lambda sample: layer(sample).sum()))(x)
    weights = {"weight": layer.weight}
    torch.func.grad(lambda w: torch.func.functional_call(layer, w, (x,)).sum())(weights)
    assert capture.records == []


def test_second_derivatives_pass_through_the_layer(layer):
    capture = attach(layer.weight)
    x = torch.randn(6, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    gradient.square().sum().backward()
    assert layer.weight.grad.isfinite().all()
    assert not any(record.inputs.requires_grad for record in capture.records)


def test_checkpointed_layer_records_once(layer):
    capture = attach(layer.weight, keep_output_gradients=True)
    x = torch.randn(6, 4, requires_grad=True)
    torch.utils.checkpoint.checkpoint(layer, x, use_reentrant=False).square().mean(dim=1).mean().backward()
    V, X = capture.jacobian_factors()
    torch.testing.assert_close(layer.weight.grad, V.T @ X / (6 * 2))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
def test_copies_of_a_capture_are_attached_to_their_own_weight_without_records(layer, duplicate):
    capture = attach(layer.weight, keep_output_gradients=True)
    record_once(layer)
    twin = duplicate(capture)
    assert twin.parameter is not layer.weight
    assert twin.attached
    assert twin.keep_output_gradients
    assert twin.records == []
    assert capture.attached


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
def test_binary_weight_survives(duplicate):
    weight = BinaryWeight(torch.randn(2, 3), requires_grad=False)
    attach(weight)
    twin = duplicate(weight)
    assert type(twin) is BinaryWeight
    assert not twin.requires_grad
    torch.testing.assert_close(twin.data, weight.data)


def test_pickled_weight_keeps_attributes_but_no_capture():
    weight = BinaryWeight(torch.randn(2, 3))
    weight.note = "mine"
    capture = attach(weight)
    twin = pickle.loads(pickle.dumps(weight))
    assert capture.attached
    assert twin.__dict__ == {"note": "mine"}


def test_binary_weight_of_a_binary_weight_shares_its_memory():
    weight = BinaryWeight(torch.randn(2, 3))
    twin = BinaryWeight(weight)
    assert type(twin) is BinaryWeight
    assert twin.data_ptr() == weight.data_ptr()


def test_model_saved_whole_loads_with_binary_weights(layer):
    buffer = io.BytesIO()
    torch.save(layer, buffer)
    buffer.seek(0)
    assert type(torch.load(buffer, weights_only=False).weight) is BinaryWeight


@pytest.mark.parametrize(
    "data", [torch.ones(2, dtype=torch.int64), [1.0], torch.ones(2, dtype=torch.complex64)]
)
def test_binary_weight_of_anything_but_floats_is_refused(data):
    with pytest.raises(TypeError, match="data must be a floating-point tensor"):
        BinaryWeight(data)


def test_attaching_to_a_plain_parameter_is_refused():
    with pytest.raises(TypeError, match="parameter must be a BinaryWeight"):
        attach(nn.Parameter(torch.ones(2, 2)))


@pytest.mark.parametrize("parameter", [torch.ones(2), nn.Parameter(torch.ones(2, dtype=torch.complex64)), 3])
def test_marking_anything_but_a_parameter_is_refused(parameter):
    with pytest.raises(TypeError, match=r"parameter must be a plain floating-point torch\.nn\.Parameter"):
        as_binary_weight(parameter)


def test_marking_keeps_the_object():
    parameter = nn.Parameter(torch.ones(2, 2))
    assert as_binary_weight(as_binary_weight(parameter)) is parameter
    assert type(parameter) is BinaryWeight


def test_factors_without_records_are_refused(layer):
    with pytest.raises(RuntimeError, match="nothing is recorded for the weight of shape"):
        attach(layer.weight).jacobian_factors()


def test_factors_without_output_gradients_are_refused(layer):
    capture = attach(layer.weight)
    record_once(layer)
    with pytest.raises(RuntimeError, match="keep_output_gradients=True"):
        capture.jacobian_factors()


def test_sign_of_zero_is_plus_one_and_its_gradient_passes():
    weight = torch.tensor([0.0, -0.0, -2.0], requires_grad=True)
    binary = binarize(weight)
    (binary * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert binary.tolist() == [1.0, 1.0, -1.0]
    assert weight.grad.tolist() == [1.0, 2.0, 3.0]
