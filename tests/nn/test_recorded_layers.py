"""`to_recorded` marks torch's layers: they compute the same bits as before, and record their inputs."""

import copy
import io

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from qpsbgd import QPSBGD
from qpsbgd.capture import attach
from qpsbgd.nn import RealWeight, to_binary, to_recorded

# torch builds its rules of forward mode with its own deprecated compiler.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")


class Attention(nn.Module):
    """Self-attention, or attention to keys and values that are made of the input."""

    def __init__(self, kind, **options):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, **options)
        self.kind = kind

    def forward(self, x):
        key = {"self": x, "shared": x[:, :2] + 1, "cross": x[:, :3] + 1, "other width": x[:, :3, :5]}
        value = {"self": x, "shared": None, "cross": x[:, :3] - 1, "other width": x[:, :3, :6]}
        k, v = key[self.kind], value[self.kind]
        output, weights = self.attention(x, k, k if v is None else v, average_attn_weights=False)
        return output.sum(-1) + weights.sum()


class Recurrent(nn.Module):
    """Outputs and last states of a recurrent layer or cell as one tensor."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        output, last = self.layer(x) if isinstance(self.layer, nn.RNNBase) else (self.layer(x), ())
        states = [*output, *last] if isinstance(output, tuple) else [output, *last]
        return torch.cat([state.flatten() for state in states])


class TiedEmbedding(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 6)
        self.output = nn.Linear(6, 7)
        self.output.weight = self.embedding.weight

    def forward(self, x):
        return self.output(torch.tanh(self.embedding(x.abs().long().sum(-1) % 7)))


def tied_layers():
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6))
    model[2].weight = model[0].weight
    return model


MODELS = {
    "linear": lambda: (nn.Linear(6, 3), (5, 6)),
    "linear, inputs of three dimensions": lambda: (nn.Linear(6, 3, bias=False), (5, 2, 6)),
    "convolution": lambda: (nn.Conv2d(2, 3, 2, padding=1), (5, 2, 4, 3)),
    "convolution with groups": lambda: (
        nn.Conv2d(4, 6, 2, groups=2, padding=1, padding_mode="reflect"),
        (5, 4, 4, 3),
    ),
    "sequence convolution": lambda: (
        nn.Conv1d(4, 6, 3, stride=2, dilation=2, groups=2, padding=3, padding_mode="circular"),
        (5, 4, 9),
    ),
    "self-attention": lambda: (Attention("self", batch_first=True), (4, 3, 8)),
    "attention with one key and value": lambda: (
        Attention("shared", batch_first=True, add_bias_kv=True),
        (4, 3, 8),
    ),
    "cross-attention": lambda: (Attention("cross", batch_first=True, dropout=0.2), (4, 5, 8)),
    "attention of other widths": lambda: (
        Attention("other width", batch_first=True, kdim=5, vdim=6),
        (4, 5, 8),
    ),
    "transformer": lambda: (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.1), (4, 5, 8)),
    "LSTM": lambda: (
        Recurrent(nn.LSTM(6, 4, num_layers=3, dropout=0.3, bidirectional=True, proj_size=2)),
        (5, 2, 6),
    ),
    "GRU": lambda: (Recurrent(nn.GRU(6, 4, num_layers=2, batch_first=True, bias=False)), (5, 2, 6)),
    "RNN of one sequence": lambda: (Recurrent(nn.RNN(6, 4, nonlinearity="relu")), (5, 6)),
    "LSTM cell": lambda: (Recurrent(nn.LSTMCell(6, 4)), (5, 6)),
    "tied layers": lambda: (tied_layers(), (5, 6)),
    "tied embedding": lambda: (TiedEmbedding(), (5, 6)),
    "network": lambda: (nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)), (5, 6)),
}


@pytest.fixture(params=MODELS.values(), ids=MODELS)
def model_and_input(request):
    torch.manual_seed(0)
    model, shape = request.param()
    return model.double(), torch.randn(shape, dtype=torch.float64)


def smooth(output):
    """A loss whose gradients of every order differ from number to number."""
    numbers = torch.arange(output.numel(), dtype=output.dtype).reshape(output.shape)
    return (output * (1 + numbers).cos()).sin().sum()


def plain_and_recorded(model, measure):
    """Results of ``measure(model)`` for the plain model, and with an attached optimizer."""
    results = []
    for recorded in (False, True):
        twin = copy.deepcopy(model)
        optimizer = QPSBGD(to_recorded(twin).parameters()) if recorded else None
        torch.manual_seed(7)
        results.append(measure(twin))
        del optimizer
    return results


def assert_same_bits(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a, b)


def test_outputs_and_gradients_have_the_assert_same_bits(model_and_input):
    model, x = model_and_input

    def measure(m):
        inputs = x.clone().requires_grad_()
        output = m(inputs)
        smooth(output).backward()
        grads = [parameter.grad for parameter in m.parameters()]
        return [output.detach(), *grads, inputs.grad if inputs.grad is not None else inputs]

    assert_same_bits(*plain_and_recorded(model, measure))


def test_gradients_of_second_order_have_the_assert_same_bits(model_and_input):
    model, x = model_and_input

    def measure(m):
        weights = [p for p in m.parameters() if p.dim() > 1]
        first = torch.autograd.grad(smooth(m(x)), weights, create_graph=True)
        return torch.autograd.grad(sum(smooth(g) for g in first), weights)

    assert_same_bits(*plain_and_recorded(model, measure))


def test_evaluation_without_gradients_has_the_assert_same_bits(model_and_input):
    # Among them torch's fused attention and encoder, which read the weights themselves.
    model, x = model_and_input
    with torch.no_grad():
        assert_same_bits(*plain_and_recorded(model.eval(), lambda m: [m(x)]))


def test_forward_mode_has_the_assert_same_bits(model_and_input):
    model, x = model_and_input

    def of_input(m):
        with forward_ad.dual_level():
            output = m(forward_ad.make_dual(x, torch.cos(x)))
            tangent = forward_ad.unpack_dual(output).tangent
            return [torch.zeros_like(output) if tangent is None else tangent.detach()]

    def of_weights(m):
        with forward_ad.dual_level():
            for name, p in list(m.named_parameters()):
                *path, last = name.split(".")
                dual = forward_ad.make_dual(p, torch.cos(p.detach()))
                if hasattr(p, "_qpsbgd_capture"):
                    dual._qpsbgd_capture = p._qpsbgd_capture
                layer = m.get_submodule(".".join(path))
                del layer._parameters[last]
                object.__setattr__(layer, last, dual)
            return [forward_ad.unpack_dual(m(x)).tangent.detach()]

    assert_same_bits(*plain_and_recorded(model, of_input))
    assert_same_bits(*plain_and_recorded(model, of_weights))


def test_functional_transforms_have_the_assert_same_bits(model_and_input):
    model, x = model_and_input
    model.eval()

    def measure(m):
        parameters = {name: p.detach() for name, p in m.named_parameters()}
        loss = torch.func.grad(lambda values: smooth(torch.func.functional_call(m, values, (x,))))
        return list(loss(parameters).values())

    assert_same_bits(*plain_and_recorded(model, measure))


def test_checkpointed_layers_record_once(model_and_input):
    model, x = model_and_input

    def measure(m):
        smooth(checkpoint(m, x, use_reentrant=False)).backward()
        return [parameter.grad for parameter in m.parameters()]

    assert_same_bits(*plain_and_recorded(model, measure))


@pytest.mark.parametrize("repeats", [1, 2])
def test_checkpointed_passes_count_as_their_samples_once(repeats):
    layer = to_recorded(nn.Linear(6, 3))
    seen = []
    optimizer = QPSBGD(layer.parameters())
    optimizer.register_projection_hook(lambda projection: seen.append(projection.options["num_samples"]))
    for _ in range(repeats):
        checkpoint(layer, torch.randn(5, 6), use_reentrant=False).square().mean().backward()
    optimizer.step()
    assert seen == [5 * repeats]


def test_autocast_computes_the_assert_same_bits():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 2)), torch.randn(5, 6)

    def measure(m):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = m(x)
        output.float().square().sum().backward()
        return [output.detach(), *(p.grad for p in m.parameters())]

    assert_same_bits(*plain_and_recorded(model, measure))


@pytest.mark.filterwarnings("ignore")  # torch warns about its own compiler
@pytest.mark.parametrize("name", ["network", "convolution", "transformer"])
def test_compiled_model_trains_as_the_plain_one(name):
    torch._dynamo.reset()
    results = []
    for backend in (None, "eager"):
        torch.manual_seed(0)
        model, shape = MODELS[name]()
        model = to_recorded(model.double())
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            if isinstance(module, nn.MultiheadAttention):
                module.dropout = 0.0
        optimizer = QPSBGD(model.parameters())
        called = model if backend is None else torch.compile(model, backend=backend)
        for x in torch.randn(3, *shape, dtype=torch.float64):
            optimizer.zero_grad()
            smooth(called(x)).backward()
            optimizer.step()
        assert optimizer.num_qubos > 0
        results.append(list(model.parameters()))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


# What is recorded


def recorded_inputs(model, x, weight):
    """X (groups, n, d) of the samples behind the weight's gradient."""
    capture = attach(weight)
    smooth(model(x)).backward()
    (record,) = capture.records
    return torch.cat([block for block, _ in record.blocks()], dim=1)


@pytest.mark.parametrize("name", ["convolution", "convolution with groups", "sequence convolution"])
def test_samples_of_a_convolution_times_its_weight_are_its_outputs(name):
    torch.manual_seed(0)
    layer, shape = MODELS[name]()
    layer, x = to_recorded(layer.double()), torch.randn(shape, dtype=torch.float64)
    X = recorded_inputs(layer, x, layer.weight)
    rows = layer.weight.detach().reshape(layer.groups, -1, X.shape[-1])
    Z = (X @ rows.mT).reshape(layer.groups, len(x), -1, rows.shape[1]).permute(1, 0, 3, 2)
    outputs = layer(x).detach() - layer.bias.detach().reshape(-1, *[1] * (x.dim() - 2))
    torch.testing.assert_close(Z.reshape(outputs.shape), outputs)


def test_one_sequence_without_a_batch_is_recorded_as_a_batch_of_one():
    layer = to_recorded(nn.Conv1d(2, 3, 2))
    x = torch.randn(2, 5)
    assert torch.equal(recorded_inputs(layer, x, layer.weight), recorded_inputs(layer, x[None], layer.weight))


def test_packed_projection_records_query_key_and_value_with_their_own_numbers_of_samples():
    torch.manual_seed(0)
    attention = to_recorded(nn.MultiheadAttention(4, 2, batch_first=True))
    query, key, value = torch.randn(3, 5, 4), torch.randn(3, 2, 4), torch.randn(3, 2, 4)
    capture = attach(attention.in_proj_weight)
    attention(query, key, value)[0].sum().backward()
    X = capture.records[0].unfolding.input_samples(capture.records[0].inputs[None])
    assert X.shape == (3, 15, 4)
    for rows, came in zip(X, (query, key, value), strict=True):
        samples = came.reshape(-1, 4)
        torch.testing.assert_close(rows.T @ rows / 15, samples.T @ samples / len(samples))


def test_output_projection_records_what_it_multiplies():
    torch.manual_seed(0)
    attention, x = to_recorded(nn.MultiheadAttention(4, 2)), torch.randn(5, 3, 4)
    capture = attach(attention.out_proj.weight)
    output = attention(x, x, x)[0]
    output.sum().backward()
    X = capture.records[0].inputs
    expected = output.detach().reshape(-1, 4) - attention.out_proj.bias
    torch.testing.assert_close(X @ attention.out_proj.weight.T, expected)


def test_layers_record_in_evaluation_mode_too_where_gradients_are_computed():
    layer = to_recorded(nn.Linear(4, 2)).eval()
    optimizer = QPSBGD(layer.parameters())
    layer(torch.randn(3, 4)).sum().backward()
    optimizer.step()
    assert optimizer.num_qubos == 2


# Nothing is lost


def test_objects_hooks_ties_and_state_dict_keys_stay():
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Conv1d(1, 2, 3))
    model[2].weight = model[0].weight
    called = []
    model[0].register_forward_hook(lambda *_: called.append(1))
    before = [(name, id(value)) for name, value in model.named_parameters(remove_duplicate=False)]
    keys = list(model.state_dict())
    assert to_recorded(model) is model
    assert [(name, id(value)) for name, value in model.named_parameters(remove_duplicate=False)] == before
    assert list(model.state_dict()) == keys
    assert isinstance(model[0], nn.Linear)
    assert isinstance(model[3], nn.Conv1d)
    model[:3](torch.ones(1, 6))
    assert called == [1]


def marked(model):
    return {name for name, p in model.named_parameters() if isinstance(p, RealWeight)}


def changed(way, model):
    if way == "deepcopy":
        return copy.deepcopy(model)
    if way == "dtype":
        return model.double().float()
    if way == "meta":
        return model.to("meta").to_empty(device="cpu")
    if way == "assigned state dict":
        model.load_state_dict({k: v.clone() for k, v in model.state_dict().items()}, assign=True)
        return model
    if way == "safe file":
        weights = io.BytesIO()
        torch.save(dict(model.named_parameters()), weights)
        weights.seek(0)
        for name, parameter in torch.load(weights, weights_only=True).items():
            *path, last = name.split(".")
            setattr(model.get_submodule(".".join(path)), last, parameter)
        return model
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize(
    "way", ["deepcopy", "dtype", "meta", "assigned state dict", "safe file", "whole file"]
)
def test_weights_stay_marked(way):
    model = to_recorded(nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16), nn.Conv2d(1, 2, 3)))
    names = marked(model)
    assert len(names) == 5
    attached = QPSBGD(model.parameters())
    assert marked(changed(way, model)) == names
    del attached


def test_saved_weights_load_into_the_plain_model():
    model = to_recorded(nn.TransformerEncoderLayer(8, 2, 16))
    plain = nn.TransformerEncoderLayer(8, 2, 16)
    plain.load_state_dict(model.state_dict())
    assert torch.equal(plain.linear1.weight, model.linear1.weight)


def test_other_layers_and_weights_that_are_computed_stay_plain():
    class Own(nn.Linear):
        pass

    model = nn.Sequential(
        Own(4, 4),
        nn.Embedding(3, 4),
        nn.ConvTranspose1d(1, 1, 2),
        parametrizations.weight_norm(nn.Linear(4, 4)),
    )
    assert not marked(to_recorded(model))
    assert type(model[0]) is Own


def test_skipped_modules_stay_plain_with_all_that_is_inside():
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4)), nn.Linear(4, 4))
    assert marked(to_recorded(model, skip=["0", "1"])) == {"2.weight"}
    with pytest.raises(ValueError, match="skip names '3', which is no module"):
        to_recorded(model, skip=["3"])


def test_binary_layers_stay_binary():
    model = nn.Sequential(to_binary(nn.Linear(4, 4)), nn.Linear(4, 4))
    to_recorded(model)
    assert marked(model) == {"1.weight"}


def test_what_cannot_be_marked_is_refused():
    with pytest.raises(TypeError, match=r"module must be a torch\.nn\.Module, but is list"):
        to_recorded([nn.Linear(4, 4)])
    model = nn.Sequential(to_binary(nn.Linear(4, 4, bias=False)), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    with pytest.raises(TypeError, match=r"plain floating-point torch\.nn\.Parameter, but is BinaryWeight"):
        to_recorded(model)
    with pytest.raises(TypeError, match="data must be a floating-point tensor, but is torch"):
        RealWeight(torch.ones(2, dtype=torch.int64))


def test_arithmetic_of_a_marked_weight_is_that_of_a_plain_parameter():
    weight = to_recorded(nn.Linear(4, 3)).weight
    x = torch.randn(2, 4)
    assert type(x @ weight.T) is torch.Tensor
    np.testing.assert_array_equal((x @ weight.T).detach(), x @ weight.detach().T)
