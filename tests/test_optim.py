"""QPSBGD in ordinary torch training loops."""

import copy
import gc
import io
import itertools
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from oracles import gradient_and_gram
from qpsbgd.baselines import SignSGD
from qpsbgd.capture import attach
from qpsbgd.nn import BinaryActivation, BinaryLinear, Scale, to_binary
from qpsbgd.optim import QPSBGD
from qpsbgd.projection import project
from qpsbgd.solvers.native import NativeSolver
from training import Shuffler, Spy, batches, loss_on, small_net, states_equal, train

# The step


@pytest.mark.parametrize("scale", ["relative", "auto", "raw", 0.3])
@pytest.mark.parametrize("domain", ["spin", "mask"])
def test_step_without_memory_is_the_projection_of_the_gradient(scale, domain):
    layer = BinaryLinear(7, 5).double()
    optimizer = QPSBGD(layer.parameters(), lr=0.03, memory=None, scale=scale, domain=domain)
    capture_free = layer.weight.detach().clone()
    x, target = torch.randn(9, 7).double(), torch.randn(9, 5).double()
    loss_on(layer, x, target).backward()
    optimizer.step()
    with torch.no_grad():
        V = x @ torch.where(capture_free >= 0, 1.0, -1.0).double().T / 7**0.5 - target
    G = project(V, x, scale=scale, domain=domain)
    torch.testing.assert_close(layer.weight.data, capture_free - 0.03 * G)


def test_scale_step_is_the_learning_rate_of_the_group():
    results = []
    for scale in ("step", 0.25):
        torch.manual_seed(0)
        layer = BinaryLinear(7, 5)
        optimizer = QPSBGD(layer.parameters(), lr=0.25, memory=None, scale=scale)
        loss_on(layer, torch.randn(9, 7), torch.randn(9, 5)).backward()
        optimizer.step()
        results.append(layer.weight.detach())
    assert torch.equal(*results)


def test_error_feedback_is_carried_to_the_next_step():
    layer = BinaryLinear(7, 5).double()
    optimizer = QPSBGD(layer.parameters(), lr=0.01)
    residual = None
    for _ in range(3):
        before = layer.weight.detach().clone()
        x, target = torch.randn(9, 7).double(), torch.randn(9, 5).double()
        optimizer.zero_grad()
        loss_on(layer, x, target).backward()
        gradient = layer.weight.grad.clone()
        optimizer.step()
        with torch.no_grad():
            V = x @ torch.where(before >= 0, 1.0, -1.0).double().T / 7**0.5 - target
        G = project(V, x, memory=residual)
        torch.testing.assert_close(layer.weight.data, (before - 0.01 * G).clamp(-1, 1))
        p = gradient if residual is None else gradient + residual
        residual = p - (p * G).mean(dim=1, keepdim=True).clamp(min=0) * G
        torch.testing.assert_close(optimizer.state[layer.weight]["residual"], residual)


def test_momentum_averages_gradient_and_gram_matrix():
    layer = BinaryLinear(4, 2).double()
    optimizer = QPSBGD(layer.parameters(), lr=0.01, memory="momentum", solver=(spy := Spy()))
    assert optimizer.param_groups[0]["kappa"] == 0.5
    p_mean, gram_mean = np.zeros((2, 4)), np.zeros((4, 4))
    for step in range(1, 4):
        x, target = torch.randn(9, 4).double(), torch.randn(9, 2).double()
        optimizer.zero_grad()
        loss_on(layer, x, target).backward()
        _, gram = gradient_and_gram(np.zeros((9, 2)), x.numpy())
        p_mean = 0.9 * p_mean + 0.1 * layer.weight.grad.numpy()
        gram_mean = 0.9 * gram_mean + 0.1 * gram
        optimizer.step()
        problem = spy.problems[-1]
        np.testing.assert_allclose(problem.J, gram_mean / (1 - 0.9**step))
        p = p_mean / (1 - 0.9**step)
        sigma = np.sign(p)
        curvature = np.einsum("md,de,me->m", sigma, problem.J, sigma)
        np.testing.assert_allclose(problem.h, -2 * p * (curvature / (0.5 * np.abs(p).sum(axis=1)))[:, None])


@pytest.mark.parametrize("kappa", [0.0, 1e-9])
@pytest.mark.parametrize("feedback", [False, True])
@pytest.mark.parametrize("domain", ["spin", "mask"])
def test_vanishing_kappa_is_sign_sgd_step_for_step(kappa, feedback, domain):
    nets = [small_net(), small_net()]
    memory = "error-feedback" if feedback else None
    optimizers = [
        QPSBGD(nets[0].parameters(), lr=0.02, kappa=kappa, memory=memory, domain=domain),
        SignSGD(nets[1].parameters(), lr=0.02, error_feedback=feedback),
    ]
    for batch in batches(20):
        for net, optimizer in zip(nets, optimizers, strict=True):
            train(net, optimizer, [batch])
        assert states_equal(*nets)


def test_latent_weights_stay_within_the_clip():
    layer = BinaryLinear(6, 4)
    optimizer = QPSBGD(layer.parameters(), lr=0.4, clip=0.5)
    for _ in range(5):
        optimizer.zero_grad()
        layer(torch.randn(8, 6)).square().sum().backward()
        optimizer.step()
        assert layer.weight.abs().max() <= 0.5


def test_maximize_is_minimising_the_negative():
    results = []
    for sign in (1, -1):
        torch.manual_seed(0)
        model = nn.Sequential(BinaryLinear(6, 4), nn.Linear(4, 1))
        optimizer = QPSBGD(model.parameters(), maximize=sign < 0)
        for _ in range(3):
            optimizer.zero_grad()
            (sign * model(torch.randn(8, 6)).square().mean()).backward()
            optimizer.step()
        results.append(model)
    assert states_equal(*results)


def test_other_parameters_take_adam_with_their_own_rate():
    nets = [small_net(), small_net()]
    optimizer = QPSBGD(nets[0].parameters(), lr=0.0, other_lr=0.03)
    others = [p for name, p in nets[1].named_parameters() if name not in ("0.weight", "3.weight")]
    adam = torch.optim.Adam(others, lr=0.03, foreach=False)
    for batch in batches(5):
        train(nets[0], optimizer, [batch])
        train(nets[1], adam, [batch])
        for parameter in (nets[1][0].weight, nets[1][3].weight):
            parameter.grad = None
    for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_rows_solved_are_counted_and_the_count_resumes():
    model = small_net()
    optimizer = QPSBGD(model.parameters())
    train(model, optimizer, batches(3))
    assert optimizer.num_qubos == 3 * (8 + 3)
    other = QPSBGD(small_net().parameters())
    other.load_state_dict(optimizer.state_dict())
    assert other.num_qubos == 33


@pytest.mark.parametrize("solver", ["native", "auto", NativeSolver(method="descent"), Shuffler()])
def test_two_gaussian_blobs_are_learnt(solver):
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(2, (400,), generator=generator)
    x = torch.randn(400, 10, generator=generator) + (2.0 * y[:, None] - 1) * torch.linspace(-1, 1, 10)
    model = nn.Sequential(
        BinaryLinear(10, 16), nn.BatchNorm1d(16), BinaryActivation(), BinaryLinear(16, 2), Scale()
    )
    optimizer = QPSBGD(model.parameters(), lr=0.02, solver=solver)
    for batch in torch.randperm(300, generator=generator).repeat(20).split(50)[:100]:
        train(model, optimizer, [(x[batch], y[batch])])
    model.eval()
    with torch.no_grad():
        accuracy = (model(x[300:]).argmax(dim=1) == y[300:]).double().mean()
    assert accuracy >= 0.94


# State, copies and resuming


@pytest.mark.parametrize("memory", ["error-feedback", "momentum", None])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_resumed_training_is_equal_bit_for_bit(memory, dtype):
    data = list(batches(8, dtype=dtype))
    model = small_net(dtype)
    optimizer = QPSBGD(model.parameters(), memory=memory, solver=Shuffler(), seed=11)
    train(model, optimizer, data[:4])
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    train(model, optimizer, data[4:])

    resumed = small_net(dtype)
    other = QPSBGD(resumed.parameters(), memory=memory, solver=Shuffler())
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    resumed.load_state_dict(saved["model"])
    other.load_state_dict(saved["optimizer"])
    train(resumed, other, data[4:])
    assert states_equal(model, resumed)


def test_loaded_state_shares_no_memory():
    model = small_net()
    optimizer = QPSBGD(model.parameters())
    train(model, optimizer, batches(2))
    other = QPSBGD(small_net().parameters())
    other.load_state_dict(optimizer.state_dict())
    residual = optimizer.state[model[0].weight]["residual"]
    before = residual.clone()
    other.state[other.param_groups[0]["params"][0]]["residual"].add_(1)
    assert torch.equal(residual, before)


def test_residual_of_half_weights_is_kept_in_single_precision():
    model = small_net(torch.bfloat16)
    optimizer = QPSBGD(model.parameters())
    train(model, optimizer, batches(2, dtype=torch.bfloat16))
    other_model = small_net(torch.bfloat16)
    other = QPSBGD(other_model.parameters())
    other.load_state_dict(optimizer.state_dict())
    saved = optimizer.state[model[0].weight]["residual"]
    loaded = other.state[other_model[0].weight]["residual"]
    assert saved.dtype == torch.float32
    assert torch.equal(saved, loaded)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
def test_copied_model_and_optimizer_train_on_equally_and_apart(duplicate):
    data = list(batches(6))
    model = small_net()
    optimizer = QPSBGD(model.parameters(), solver=Shuffler())
    train(model, optimizer, data[:3])
    twin_model, twin = duplicate((model, optimizer))
    train(model, optimizer, data[3:])
    train(twin_model, twin, data[3:])
    assert states_equal(model, twin_model)


def test_copied_model_alone_records_nothing():
    model = small_net()
    optimizer = QPSBGD(model.parameters())
    twin = copy.deepcopy(model)
    nn.functional.cross_entropy(twin(torch.randn(4, 6)), torch.zeros(4, dtype=torch.long)).backward()
    assert all(not capture.records for capture in optimizer._captures.values())


def test_seeds_differ_between_steps_and_layers():
    class Seeds(Shuffler):
        def __init__(self):
            self.seen = []

        def solve(self, problem, *, seed):
            self.seen.append(seed)
            return super().solve(problem, seed=seed)

    model, solver = small_net(), Seeds()
    train(model, QPSBGD(model.parameters(), solver=solver), batches(5))
    assert len(set(solver.seen)) == 10


def test_dropped_optimizer_leaves_nothing_recording():
    model = small_net()
    optimizer = QPSBGD(model.parameters())
    train(model, optimizer, batches(1))
    captures = list(optimizer._captures.values())
    del optimizer
    gc.collect()
    attached = [capture for capture in captures if capture.attached]
    del captures, attached
    gc.collect()
    assert not any(getattr(p, "_qpsbgd_capture", lambda: None)() for p in model.parameters())


# Errors


def test_model_without_binary_weights_is_refused_at_the_first_step():
    model = nn.Linear(4, 2)
    optimizer = QPSBGD(model.parameters())
    model(torch.randn(3, 4)).sum().backward()
    with pytest.raises(RuntimeError, match=r"no binary weight among its 2 parameters.*to_binary"):
        optimizer.step()


def test_gradient_of_a_layer_in_evaluation_mode_is_refused():
    layer = BinaryLinear(4, 2).eval()
    optimizer = QPSBGD(layer.parameters())
    layer(torch.randn(3, 4)).sum().backward()
    with pytest.raises(RuntimeError, match=r"binary weight of shape \(2, 4\): .*training mode"):
        optimizer.step()


def test_layer_made_binary_after_the_optimizer_is_refused():
    layer = nn.Linear(4, 2)
    optimizer = QPSBGD(layer.parameters())
    to_binary(layer)(torch.randn(3, 4)).sum().backward()
    with pytest.raises(RuntimeError, match="build the optimizer after to_binary"):
        optimizer.step()


@pytest.mark.parametrize(
    "replace", [lambda layer: QPSBGD(layer.parameters()), lambda layer: attach(layer.weight)]
)
def test_replaced_optimizer_says_so(replace):
    layer = BinaryLinear(4, 2)
    optimizer = QPSBGD(layer.parameters())
    other = replace(layer)
    layer(torch.randn(3, 4)).sum().backward()
    with pytest.raises(RuntimeError, match="attached to it later"):
        optimizer.step()
    del other


def test_input_overwritten_after_the_backward_pass_is_refused():
    layer = BinaryLinear(4, 2)
    optimizer = QPSBGD(layer.parameters())
    x = torch.randn(3, 4)
    layer(x).sum().backward()
    x.copy_(torch.randn(3, 4))
    layer(x).sum().backward()
    with pytest.raises(RuntimeError, match="overwritten in place"):
        optimizer.step()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("index", [0, 1])
def test_gradient_that_is_not_finite_is_refused_before_anything_changes(bad, index):
    model = nn.Sequential(BinaryLinear(4, 3), nn.Linear(3, 2, bias=False))
    optimizer = QPSBGD(model.parameters())
    model(torch.randn(5, 4)).sum().backward()
    model[index].weight.grad[0, 0] = bad
    before = copy.deepcopy(model.state_dict())
    shape = tuple(model[index].weight.shape)
    with pytest.raises(ValueError, match=rf"gradient of the parameter of shape \({shape[0]}, {shape[1]}\)"):
        optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_error_of_a_solver_leaves_all_weights_as_they_were():
    class Breaking(Shuffler):
        calls = itertools.count()

        def solve(self, problem, *, seed):
            if next(self.calls) == 1:
                raise KeyboardInterrupt
            return super().solve(problem, seed=seed)

    model = small_net()
    optimizer = QPSBGD(model.parameters(), solver=Breaking())
    before = [parameter.detach().clone() for parameter in model.parameters()]
    with pytest.raises(KeyboardInterrupt):
        train(model, optimizer, batches(1))
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))
    assert optimizer.num_qubos == 0


def test_sparse_gradient_is_refused():
    embedding, layer = nn.Embedding(5, 4, sparse=True), BinaryLinear(4, 2)
    optimizer = QPSBGD([*embedding.parameters(), *layer.parameters()])
    layer(embedding(torch.tensor([0, 1]))).sum().backward()
    with pytest.raises(RuntimeError, match="QPSBGD does not support sparse gradients"):
        optimizer.step()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"lr": -1.0}, ValueError, "Invalid lr: -1.0"),
        ({"lr": float("nan")}, ValueError, "Invalid lr: nan"),
        ({"lr": torch.ones(2)}, ValueError, "Tensor lr must be 1-element"),
        ({"lr": "fast"}, TypeError, "lr must be a number"),
        ({"other_lr": -1.0}, ValueError, "Invalid other_lr: -1.0"),
        ({"variant": "sideways"}, ValueError, "Invalid variant: 'sideways'"),
        ({"memory": "ema"}, ValueError, "Invalid memory: 'ema'"),
        ({"memory": 0.9}, ValueError, "Invalid memory: 0.9"),
        ({"scale": "absolute"}, ValueError, "Invalid scale: 'absolute'"),
        ({"scale": -2.0}, ValueError, "Invalid scale: -2.0"),
        ({"kappa": -0.5}, ValueError, "Invalid kappa: -0.5"),
        ({"kappa": True}, TypeError, "kappa must be a number"),
        ({"domain": "real"}, ValueError, "Invalid domain: 'real'"),
        ({"solver": "annealer"}, ValueError, "Invalid solver: 'annealer'"),
        ({"clip": 0.0}, ValueError, "Invalid clip: 0.0"),
        ({"clip": None}, TypeError, "clip must be a number"),
        ({"maximize": 1}, TypeError, "maximize must be a bool"),
        ({"seed": -1}, ValueError, "Invalid seed: -1"),
        ({"seed": 0.5}, TypeError, "seed must be an integer"),
    ],
)
def test_bad_options_are_named(options, error, message):
    with pytest.raises(error, match=message):
        QPSBGD(BinaryLinear(4, 2).parameters(), **options)


def test_bad_options_of_a_group_leave_the_optimizer_as_it_was():
    optimizer = QPSBGD(BinaryLinear(4, 2).parameters())
    with pytest.raises(ValueError, match="Invalid memory"):
        optimizer.add_param_group({"params": BinaryLinear(4, 2).parameters(), "memory": "no"})
    assert len(optimizer.param_groups) == 1
