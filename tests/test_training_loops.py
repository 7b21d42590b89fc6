"""QPSBGD in training loops as torch users write them."""

import numpy as np
import pytest
import torch
from torch import nn

from oracles import gradient_and_gram
from qpsbgd.nn import BinaryLinear, to_binary
from qpsbgd.optim import QPSBGD
from qpsbgd.step import inputs
from training import Spy, batches, loss_on, small_net, states_equal, train


def test_learning_rate_schedule_is_followed():
    layer = BinaryLinear(6, 4)
    optimizer = QPSBGD(layer.parameters(), lr=0.08, clip=100.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    for lr in (0.08, 0.04, 0.02):
        before = layer.weight.detach().clone()
        optimizer.zero_grad()
        layer(torch.randn(8, 6)).square().sum().backward()
        optimizer.step()
        schedule.step()
        torch.testing.assert_close((layer.weight - before).abs(), torch.full((4, 6), lr))
    assert optimizer.param_groups[0]["other_lr"] == 0.01


def test_cosine_schedule_to_zero_with_scale_step_ends_without_error():
    model = small_net()
    optimizer = QPSBGD(model.parameters(), scale="step")
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=3)
    for batch in batches(3):
        train(model, optimizer, [batch])
        schedule.step()
    before = model[0].weight.detach().clone()
    train(model, optimizer, batches(1))
    assert optimizer.param_groups[0]["lr"] == 0.0
    assert torch.equal(model[0].weight, before)


def test_tensor_learning_rate_is_accepted():
    layer = BinaryLinear(6, 4)
    optimizer = QPSBGD(layer.parameters(), lr=torch.tensor(0.25), clip=9.0)
    before = layer.weight.detach().clone()
    layer(torch.randn(8, 6)).square().sum().backward()
    optimizer.step()
    torch.testing.assert_close((layer.weight - before).abs(), torch.full((4, 6), 0.25))


def test_closure_is_run_with_gradients_and_its_loss_returned():
    model = small_net()
    optimizer = QPSBGD(model.parameters())
    ((x, y),) = batches(1)

    def closure():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        return loss

    with torch.no_grad():
        loss = optimizer.step(closure)
    assert loss.requires_grad
    assert optimizer.num_qubos == 11


def test_parameter_groups_have_their_own_options():
    model = nn.Sequential(BinaryLinear(6, 5), BinaryLinear(5, 2))
    optimizer = QPSBGD([{"params": model[0].parameters(), "lr": 0.5}], lr=0.25, clip=9.0, kappa=None)
    optimizer.add_param_group({"params": model[1].parameters(), "memory": "momentum"})
    before = [layer.weight.detach().clone() for layer in model]
    model(torch.randn(8, 6)).square().sum().backward()
    optimizer.step()
    for layer, old, lr in zip(model, before, (0.5, 0.25), strict=True):
        torch.testing.assert_close((layer.weight - old).abs(), torch.full_like(old, lr))
    assert [group["kappa"] for group in optimizer.param_groups] == [1.0, 0.5]


def test_named_parameters_are_accepted():
    model = small_net()
    optimizer = QPSBGD(model.named_parameters())
    train(model, optimizer, batches(1))
    assert optimizer.num_qubos == 11


def test_parameters_without_gradient_are_left_alone():
    model = nn.Sequential(BinaryLinear(6, 4), BinaryLinear(6, 4))
    optimizer = QPSBGD(model.parameters())
    before = model[1].weight.detach().clone()
    model[0](torch.randn(8, 6)).square().sum().backward()
    optimizer.step()
    assert torch.equal(model[1].weight, before)
    assert optimizer.num_qubos == 4


def test_gradient_accumulation_equals_the_full_batch():
    x, target = torch.randn(12, 6).double(), torch.randn(12, 4).double()
    results = []
    for parts in (1, 3):
        torch.manual_seed(3)
        layer = BinaryLinear(6, 4).double()
        optimizer = QPSBGD(layer.parameters())
        for rows, goals in zip(x.chunk(parts), target.chunk(parts), strict=True):
            (loss_on(layer, rows, goals) / parts).backward()
        optimizer.step()
        results.append(layer.weight.detach())
    torch.testing.assert_close(*results)


def test_tied_weights_take_one_step_for_both_layers():
    first, second = BinaryLinear(6, 6).double(), BinaryLinear(6, 6).double()
    second.weight = first.weight
    optimizer = QPSBGD([first.weight], solver=(spy := Spy()))
    x, z = torch.randn(8, 6).double(), torch.randn(8, 6).double()
    (first(x).square() + second(z).square()).sum().backward()
    optimizer.step()
    _, gram = gradient_and_gram(np.zeros((16, 1)), torch.cat([x, z]).numpy())
    np.testing.assert_allclose(spy.problems[0].J, gram)
    assert optimizer.num_qubos == 6


def test_a_step_keeps_no_more_than_the_smaller_of_inputs_and_matrix():
    layer = BinaryLinear(6, 4)
    optimizer = QPSBGD(layer.parameters())
    (capture,) = optimizer._captures.values()
    for num_samples, kept in ((4, 1), (50, 0)):
        layer(torch.randn(num_samples, 6)).square().sum().backward()
        optimizer.step()
        assert len(capture.records) == kept
        optimizer.zero_grad()
        assert not capture.records
        assert capture.folded is None


def test_static_input_keeps_its_gram_matrix_until_it_is_written_to(monkeypatch):
    calls = []
    gram_matrices = inputs.gram_matrices
    monkeypatch.setattr(inputs, "gram_matrices", lambda *given: calls.append(1) or gram_matrices(*given))
    layer = BinaryLinear(6, 4)
    optimizer = QPSBGD(layer.parameters())
    x = torch.randn(8, 6)

    def step(inputs):
        optimizer.zero_grad()
        layer(inputs).square().sum().backward()
        optimizer.step()
        return len(calls)

    assert [step(x), step(x), step(x)] == [1, 1, 1]
    x.mul_(2)
    assert [step(x), step(x)] == [2, 2]
    assert [step(x.clone()), step(x.clone())] == [3, 4]
    assert [step(x), step(x)] == [5, 5]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_dtypes_train(dtype):
    layer = BinaryLinear(6, 4, dtype=dtype)
    optimizer = QPSBGD(layer.parameters(), lr=0.125)
    before = layer.weight.detach().clone()
    layer(torch.randn(8, 6, dtype=dtype)).square().mean().backward()
    optimizer.step()
    assert layer.weight.dtype == dtype
    torch.testing.assert_close(
        (layer.weight - before).abs(), torch.full_like(before, 0.125), atol=1e-2, rtol=0
    )


def test_autocast_and_gradient_scaler_train():
    model = small_net()
    optimizer = QPSBGD(model.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    before = model[0].weight.detach().clone()
    for x, y in batches(3):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = nn.functional.cross_entropy(model(x), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    assert optimizer.num_qubos == 33
    assert not torch.equal(model[0].weight, before)


def test_gradient_scaler_changes_no_step():
    results = []
    for scale in (None, 2.0**10):
        model = small_net(torch.float64)
        optimizer = QPSBGD(model.parameters())
        scaler = torch.amp.GradScaler("cpu", init_scale=scale or 1.0, enabled=scale is not None)
        for x, y in batches(3, dtype=torch.float64):
            optimizer.zero_grad()
            scaler.scale(nn.functional.cross_entropy(model(x), y)).backward()
            scaler.step(optimizer)
            scaler.update()
        results.append(model)
    assert states_equal(*results)


def test_step_skipped_by_the_gradient_scaler_leaves_no_records_behind():
    model = small_net()
    optimizer = QPSBGD(model.parameters())
    scaler = torch.amp.GradScaler("cpu")
    ((x, y),) = batches(1)
    scaler.scale(nn.functional.cross_entropy(model(x), y)).backward()
    model[0].weight.grad.fill_(float("inf"))
    before = model[0].weight.detach().clone()
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad()
    assert torch.equal(model[0].weight, before)
    assert not any(capture.records for capture in optimizer._captures.values())


@pytest.mark.filterwarnings("ignore")  # torch warns about its own compiler
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_model_trains_as_the_plain_one(backend):
    torch._dynamo.reset()
    plain, compiled = small_net(torch.float64), small_net(torch.float64)
    train(plain, QPSBGD(plain.parameters()), batches(4, dtype=torch.float64))
    train(
        torch.compile(compiled, backend=backend),
        QPSBGD(compiled.parameters()),
        batches(4, dtype=torch.float64),
    )
    for one, other in zip(plain.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_plain_model_made_binary_trains():
    model = to_binary(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)))
    optimizer = QPSBGD(model.parameters())
    train(model, optimizer, batches(2))
    assert optimizer.num_qubos == 22
