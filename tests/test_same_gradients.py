"""An attached optimizer changes no output and no gradient, of any order, in any mode of torch.

Every measurement runs twice on copies of one model: alone, and with a `QPSBGD` that records its layers.
Numbers are in double precision where nothing else is said. Gradients of recorded layers may be summed in
another order, so they are compared within `torch.testing.assert_close`'s tolerances (1e-7 in double).
"""

import copy

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from qpsbgd.nn import Activated, BinaryActivation, BinaryConv2d, BinaryGCNConv, BinaryLinear, to_binary
from qpsbgd.optim import QPSBGD

# torch builds its rules of forward mode with its own deprecated compiler.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")

EDGES = torch.tensor([[0, 1, 1, 2, 3, 4, 0], [1, 0, 2, 1, 4, 3, 4]])


class OnGraph(nn.Module):
    """A graph layer on a fixed graph, so that it has one input like the others."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x, EDGES)


MODELS = {
    "linear": lambda: (BinaryLinear(6, 3), torch.randn(5, 6)),
    "linear with bias, inputs of three dimensions": lambda: (BinaryLinear(6, 3, True), torch.randn(5, 2, 6)),
    "convolution": lambda: (BinaryConv2d(2, 3, 2, padding=1), torch.randn(5, 2, 4, 3)),
    "convolution with groups": lambda: (
        BinaryConv2d(4, 6, 2, groups=2, bias=True, padding=1, padding_mode="reflect"),
        torch.randn(5, 4, 4, 3),
    ),
    "graph": lambda: (OnGraph(BinaryGCNConv(6, 3)), torch.randn(5, 6)),
    "graph with a cache": lambda: (OnGraph(BinaryGCNConv(6, 3, cached=True, bias=True)), torch.randn(5, 6)),
    "activated linear": lambda: (
        Activated(BinaryLinear(6, 3), nn.LayerNorm(3), nn.SiLU()),
        torch.randn(5, 6),
    ),
    "activated convolution": lambda: (
        Activated(BinaryConv2d(4, 6, 2, groups=2), nn.Softplus()),
        torch.randn(5, 4, 4, 3),
    ),
    "network": lambda: (
        nn.Sequential(BinaryLinear(6, 4), nn.Tanh(), BinaryLinear(4, 4), nn.Softplus(), BinaryLinear(4, 2)),
        torch.randn(5, 6),
    ),
    "binary activation": lambda: (
        nn.Sequential(BinaryLinear(6, 4), nn.LayerNorm(4), BinaryActivation(), BinaryLinear(4, 2)),
        torch.randn(5, 6),
    ),
    "tied layers": lambda: (tied(), torch.randn(5, 6)),
}


def tied():
    model = nn.Sequential(BinaryLinear(6, 6), nn.Tanh(), BinaryLinear(6, 6))
    model[2].weight = model[0].weight
    return model


OPTIONS = {
    "default": {},
    "post-activation": {"jacobian": "post-activation"},
    "projected": {"variant": "projected", "memory": "momentum"},
}


@pytest.fixture(params=MODELS.values(), ids=MODELS)
def model_and_input(request):
    model, x = request.param()
    return model.double(), x.double()


@pytest.fixture
def forward_model_and_input(model_and_input):
    """Those that torch can differentiate forwards, which it cannot do with a product of a sparse matrix."""
    if isinstance(model_and_input[0], OnGraph):
        pytest.skip("torch has no rule of forward mode for products of sparse matrices")
    return model_and_input


@pytest.fixture(params=OPTIONS.values(), ids=OPTIONS)
def options(request):
    return request.param


def smooth(output):
    """A loss whose gradients of every order differ from number to number."""
    return (
        (output * (1 + torch.arange(output.numel(), dtype=output.dtype).reshape(output.shape)).cos())
        .sin()
        .sum()
    )


def same_alone_and_attached(model, measure, options=None, **tolerances):
    """Compare the results of ``measure(model)``, nested tuples of tensors, alone and with an optimizer."""
    results = []
    for attached in (False, True):
        twin = copy.deepcopy(model).train()
        optimizer = QPSBGD(twin.parameters(), **(options or {})) if attached else None
        torch.manual_seed(7)
        results.append(measure(twin))
        del optimizer
    torch.testing.assert_close(results[1], results[0], **tolerances)
    return results[1]


def gradients(model, loss, *inputs, **options):
    """Gradients with respect to all parameters and `inputs`, as autograd.grad gives them."""
    return torch.autograd.grad(loss, [*model.parameters(), *inputs], **options)


def grads(model):
    return [parameter.grad for parameter in model.parameters()]


# Gradients of the first order


def test_outputs_are_equal_to_the_last_bit(model_and_input, options):
    model, x = model_and_input
    same_alone_and_attached(model, lambda m: m(x), options, rtol=0, atol=0)


def test_gradients_are_those_without_an_optimizer(model_and_input, options):
    model, x = model_and_input

    def measure(m):
        inputs = x.clone().requires_grad_()
        smooth(m(inputs)).backward()
        return [*grads(m), inputs.grad]

    same_alone_and_attached(model, measure, options)


def test_gradients_of_chosen_inputs_are_those_without_an_optimizer(model_and_input):
    model, x = model_and_input

    def measure(m):
        inputs = x.clone().requires_grad_()
        loss = smooth(m(inputs))
        (of_input,) = torch.autograd.grad(loss, inputs, retain_graph=True)
        (of_weight,) = torch.autograd.grad(loss, [next(m.parameters())], retain_graph=True)
        loss.backward(retain_graph=True)
        loss.backward()
        return [of_input, of_weight, *grads(m)]

    same_alone_and_attached(model, measure)


def test_frozen_parameters_get_no_gradient(model_and_input):
    model, x = model_and_input

    def measure(m):
        weight = next(m.parameters()).requires_grad_(False)
        inputs = x.clone().requires_grad_()
        smooth(m(inputs)).backward()
        assert weight.grad is None
        return inputs.grad

    same_alone_and_attached(model, measure)


# Gradients of gradients


def test_gradient_of_an_input_gradient_is_that_of_the_formula():
    layer = BinaryLinear(1, 1)
    layer.weight.data.fill_(0.5)
    optimizer = QPSBGD(layer.parameters())  # attached as long as it lives
    x = torch.full((1, 1), 2.0, requires_grad=True)
    # y = (x B)^2, g = dy/dx = 2 x B^2, and dg/dW = 4 x B with dB/dW = 1.
    (g,) = torch.autograd.grad(layer(x).square(), x, create_graph=True)
    g.backward()
    assert layer.weight.grad.item() == 8.0
    del optimizer


def test_gradients_of_input_gradients_are_those_without_an_optimizer(model_and_input, options):
    model, x = model_and_input

    def measure(m):
        inputs = x.clone().requires_grad_()
        loss = smooth(m(inputs))
        (g,) = torch.autograd.grad(loss, inputs, create_graph=True)
        (loss + g.square().sum()).backward()
        return [*grads(m), inputs.grad]

    same_alone_and_attached(model, measure, options)


def test_gradients_of_parameter_gradients_are_those_without_an_optimizer(model_and_input):
    model, x = model_and_input

    def measure(m):
        inputs = x.clone().requires_grad_()
        first = gradients(m, smooth(m(inputs)), inputs, create_graph=True)
        penalty = sum((g.square() * (i + 1)).sum() for i, g in enumerate(first))
        return gradients(m, penalty, inputs, allow_unused=True)

    same_alone_and_attached(model, measure)


def test_residual_of_a_differential_equation_has_the_gradients_without_an_optimizer():
    model = nn.Sequential(BinaryLinear(1, 8, True), nn.Tanh(), BinaryLinear(8, 8, True), nn.Tanh())
    model = nn.Sequential(model, BinaryLinear(8, 1, True)).double()
    t = torch.linspace(0, 1, 9, dtype=torch.float64)[:, None]

    def measure(m):
        time = t.clone().requires_grad_()
        u = m(time)
        (du,) = torch.autograd.grad(u.sum(), time, create_graph=True)
        (ddu,) = torch.autograd.grad(du.sum(), time, create_graph=True)
        (ddu + 3 * u + du * u).square().mean().backward()
        return grads(m)

    same_alone_and_attached(model, measure)


# torch.func and forward mode


def test_jvp_and_vjp_are_those_without_an_optimizer(forward_model_and_input):
    model, x = forward_model_and_input

    def measure(m):
        output, tangent = torch.func.jvp(m, (x,), (torch.ones_like(x),))
        again, pullback = torch.func.vjp(m, x)
        return [output, tangent, again, *pullback(torch.ones_like(again))]

    same_alone_and_attached(model, measure)


def test_jacobians_of_all_parameters_are_those_without_an_optimizer(forward_model_and_input):
    model, x = forward_model_and_input

    def measure(m):
        def loss(parameters, inputs):
            return smooth(torch.func.functional_call(m, parameters, (inputs,)))

        state = {name: p.detach() for name, p in m.named_parameters()}
        found = torch.func.jacrev(loss, argnums=(0, 1))(state, x)
        forwards = torch.func.jacfwd(loss, argnums=(0, 1))(state, x)
        torch.testing.assert_close(forwards, found)
        return [*found[0].values(), found[1]]

    same_alone_and_attached(model, measure)


def test_gradients_of_functional_calls_are_those_without_an_optimizer(model_and_input):
    model, x = model_and_input

    def measure(m):
        def loss(parameters, inputs):
            return smooth(torch.func.functional_call(m, parameters, (inputs,)))

        first, of_input = torch.func.grad(loss, argnums=(0, 1))(dict(m.named_parameters()), x)
        return [*first.values(), of_input]

    same_alone_and_attached(model, measure)


def test_batched_gradients_of_inputs_are_those_without_an_optimizer():
    model = MODELS["network"]()[0].double()
    x = torch.randn(7, 5, 6, dtype=torch.float64)

    def measure(m):
        return torch.func.vmap(torch.func.grad(lambda rows: smooth(m(rows))))(x)

    same_alone_and_attached(model, measure)


def test_hessians_of_inputs_and_weights_are_those_without_an_optimizer():
    model = nn.Sequential(BinaryLinear(3, 4), nn.Tanh(), BinaryLinear(4, 1)).double()
    x = torch.randn(2, 3, dtype=torch.float64)

    def measure(m):
        def loss(weight, inputs):
            return smooth(torch.func.functional_call(m, {"0.weight": weight}, (inputs,)))

        of_both = torch.func.hessian(loss, argnums=(0, 1))(m[0].weight.detach(), x)
        of_input = torch.autograd.functional.hessian(lambda inputs: smooth(m(inputs)), x)
        return [*of_both[0], *of_both[1], of_input]

    same_alone_and_attached(model, measure)


def test_forward_mode_of_inputs_is_that_without_an_optimizer(forward_model_and_input):
    model, x = forward_model_and_input

    def measure(m):
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(x, torch.ones_like(x))
            return forward_ad.unpack_dual(m(dual)).tangent

    same_alone_and_attached(model, measure)


def test_forward_over_reverse_is_that_without_an_optimizer():
    model, x = (
        nn.Sequential(BinaryLinear(6, 4), nn.Tanh(), BinaryLinear(4, 2)).double(),
        torch.randn(5, 6).double(),
    )

    def measure(m):
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(x.clone().requires_grad_(), torch.ones_like(x))
            (g,) = torch.autograd.grad(smooth(m(dual)), dual, create_graph=True)
            return forward_ad.unpack_dual(g).tangent

    same_alone_and_attached(model, measure)


# Checkpoints and hooks


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_gradients_are_those_without_an_optimizer(model_and_input, reentrant, options):
    model, x = model_and_input

    def measure(m):
        inputs = x.clone().requires_grad_()
        smooth(checkpoint(m, inputs, use_reentrant=reentrant)).backward()
        return [*grads(m), inputs.grad]

    same_alone_and_attached(model, measure, options)


def test_tensor_hooks_see_and_change_the_gradients_without_an_optimizer(model_and_input):
    model, x = model_and_input

    def measure(m):
        seen, inputs = [], x.clone().requires_grad_()
        weight = next(m.parameters())
        weight.register_hook(lambda g: seen.append(g.clone()) or 2 * g)
        weight.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad.clone()))
        output = m(inputs)
        output.register_hook(lambda g: seen.append(g.clone()) or 3 * g)
        smooth(output).backward()
        return [*seen, *grads(m), inputs.grad]

    same_alone_and_attached(model, measure)


def test_hooks_of_modules_see_the_gradients_without_an_optimizer(model_and_input):
    model, x = model_and_input

    def measure(m):
        seen, inputs = [], x.clone().requires_grad_()
        for module in m.modules():
            module.register_full_backward_hook(lambda _, g_in, g_out: seen.extend((*g_in, *g_out)))
            module.register_full_backward_pre_hook(lambda _, g_out: (2 * g_out[0],))
            module.register_forward_hook(lambda _, args, output: output * 1.5)
        smooth(m(inputs)).backward()
        return [*[g for g in seen if g is not None], *grads(m), inputs.grad]

    same_alone_and_attached(model, measure)


def test_saved_tensor_hooks_see_working_graphs(model_and_input):
    model, x = model_and_input

    def measure(m):
        inputs = x.clone().requires_grad_()
        with torch.autograd.graph.save_on_cpu():
            loss = smooth(m(inputs))
        loss.backward()
        return [*grads(m), inputs.grad]

    same_alone_and_attached(model, measure)


def test_outputs_may_be_changed_in_place(model_and_input):
    model, x = model_and_input

    def measure(m):
        smooth(m(x).mul_(2).relu_()).backward()
        return grads(m)

    same_alone_and_attached(model, measure)


# Types and layouts


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_gradients_of_other_types_are_those_without_an_optimizer(model_and_input, dtype):
    model, x = model_and_input

    def measure(m):
        inputs = x.to(dtype).requires_grad_()
        smooth(m(inputs).float()).backward()
        assert all(g.dtype == dtype for g in grads(m))
        return [*grads(m), inputs.grad]

    if dtype != torch.float32 and any(isinstance(m, BinaryGCNConv) for m in model.modules()):
        pytest.skip("torch multiplies no sparse matrix of this type")
    same_alone_and_attached(model.to(dtype), measure)


def test_gradients_under_autocast_are_those_without_an_optimizer(model_and_input):
    model, x = model_and_input
    if any(isinstance(m, BinaryGCNConv) for m in model.modules()):
        pytest.skip("torch multiplies no sparse matrix in bfloat16")

    def measure(m):
        inputs = x.float().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = m(inputs)
        smooth(output.float()).backward()
        return [*grads(m), inputs.grad]

    # The sum over samples is rounded to bfloat16 (8 bits) once, in either order.
    same_alone_and_attached(model.float(), measure, rtol=1 / 64, atol=1 / 64)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta:UserWarning")
@pytest.mark.parametrize("layout", ["coo", "csr"])
@pytest.mark.parametrize("make", [lambda: BinaryLinear(6, 3), lambda: BinaryLinear(6, 3, bias=True)])
def test_sparse_inputs_give_the_gradients_without_an_optimizer(make, layout):
    x = torch.randn(5, 6).double() * (torch.rand(5, 6) < 0.5)
    sparse = x.to_sparse() if layout == "coo" else x.to_sparse_csr()

    def measure(m):
        output = m(sparse)
        smooth(output).backward()
        return [output, *grads(m)]

    found = same_alone_and_attached(make().double(), measure)
    torch.manual_seed(0)
    assert found[0].shape == (5, 3)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_jagged_inputs_give_the_gradients_without_an_optimizer():
    parts = [torch.randn(n, 6).double() for n in (2, 4, 1)]

    def measure(m):
        jagged = torch.nested.nested_tensor(parts, layout=torch.jagged)
        output = m(jagged)
        smooth(output.values()).backward()
        return [output.values(), *grads(m)]

    layer = nn.Sequential(BinaryLinear(6, 3), nn.ReLU(), BinaryLinear(3, 2)).double()
    same_alone_and_attached(layer, measure)


def test_empty_batches_give_the_gradients_without_an_optimizer(model_and_input, options):
    model, x = model_and_input
    if isinstance(model, OnGraph):
        pytest.skip("an empty graph has other edges")

    def measure(m):
        inputs = x[:0].clone().requires_grad_()
        output = m(inputs)
        output.sum().backward()
        return [output, *grads(m), inputs.grad]

    same_alone_and_attached(model, measure, options)


@pytest.mark.filterwarnings("ignore")  # torch warns about its own compiler
def test_compiled_gradients_are_those_without_an_optimizer(model_and_input, request):
    model, x = model_and_input
    torch._dynamo.reset()
    request.addfinalizer(torch._dynamo.reset)

    def measure(m):
        inputs = x.clone().requires_grad_()
        smooth(torch.compile(m, backend="aot_eager")(inputs)).backward()
        return [*grads(m), inputs.grad]

    same_alone_and_attached(model, measure)


def test_attention_of_binary_encoders_has_the_gradients_without_an_optimizer():
    encoder = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    model, x = to_binary(encoder, skip=["self_attn"]).double(), torch.randn(3, 4, 8).double()

    def measure(m):
        inputs = x.clone().requires_grad_()
        with sdpa_kernel(SDPBackend.MATH):  # the only one with gradients of gradients
            (g,) = torch.autograd.grad(smooth(m(inputs)), inputs, create_graph=True)
        g.square().sum().backward()
        return [*grads(m), inputs.grad]

    same_alone_and_attached(model, measure)
