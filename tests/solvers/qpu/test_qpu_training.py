"""Training on the mock QPU: overlap of layers, budget, counts, accuracy beside the native solver."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from qpsbgd import QPSBGD
from qpsbgd.data.datasets import mnist_pair
from qpsbgd.data.graphs import karate
from qpsbgd.experiments.networks import Gcn
from qpsbgd.nn import BinaryActivation, BinaryLinear, Scale
from qpsbgd.projection import project
from qpsbgd.solvers import QPUSolver
from qpsbgd.solvers.qpu import QPUBudgetError
from qpu_samplers import FakeQPU, SlowQPU, mock
from training import batches, small_net, states_equal, train

QUICK = {"num_reads": 10, "retry_delay": 1e-3}


def one_step(qpu, **options):
    model = small_net()
    optimizer = QPSBGD(model.parameters(), solver=QPUSolver(qpu, **QUICK), **options)
    train(model, optimizer, batches(1))
    return model, optimizer


@pytest.mark.parametrize("scale", ["relative", "auto", "raw", 0.1])
def test_all_layers_are_submitted_before_the_first_answer(scale):
    qpu = SlowQPU(0.3)
    one_step(qpu, scale=scale)
    assert len(qpu.models) == (4 if scale == "auto" else 2)
    assert qpu.asked_at[1] < qpu.answered_at[0]


def test_step_is_the_same_whether_layers_overlap_or_not():
    slow, _ = one_step(SlowQPU(0.05))
    quick, _ = one_step(FakeQPU())
    assert states_equal(slow, quick)


def test_result_is_never_above_sign_of_gradient():
    rng = np.random.default_rng(0)
    V, X = rng.normal(size=(16, 12)), rng.normal(size=(16, 40))
    step = project(V, X, solver=QPUSolver(mock(), num_reads=10, postprocess=None), seed=0)
    sign = project(V, X, kappa=0.0)
    A, p = X.T @ X / (16 * 40), V.T @ X / (16 * 40**0.5)
    scales = np.abs(p).sum(axis=1) / np.einsum("md,de,me->m", sign, A, sign)

    def objective(G):
        return scales * np.einsum("md,de,me->m", G, A, G) - 2 * (p * G).sum(axis=1)

    assert np.all(objective(step) <= objective(sign) + 1e-12)
    assert np.any(objective(step) < objective(sign))


def test_step_beyond_the_budget_submits_nothing_and_changes_nothing():
    qpu = FakeQPU()
    model = small_net()
    before = copy.deepcopy(model.state_dict())
    # Either layer alone would fit.
    optimizer = QPSBGD(model.parameters(), solver=QPUSolver(qpu, **QUICK, max_qpu_seconds=0.03))
    x, y = next(batches(1))
    nn.functional.cross_entropy(model(x), y).backward()
    with pytest.raises(QPUBudgetError, match="a step of 11 rows"):
        optimizer.step()
    assert qpu.models == []
    assert all(
        torch.equal(before[name], value) for name, value in model.state_dict().items() if "weight" in name
    )


def test_qpu_seconds_are_counted_saved_and_go_on_counting():
    qpu = FakeQPU()
    model, optimizer = one_step(qpu)
    assert optimizer.qpu_seconds == pytest.approx(2 * 8550.28e-6)
    saved = copy.deepcopy(optimizer.state_dict())
    resumed = QPSBGD(model.parameters(), solver=QPUSolver(qpu, **QUICK, max_qpu_seconds=0.04))
    resumed.load_state_dict(saved)
    assert resumed.qpu_seconds == optimizer.qpu_seconds
    with pytest.raises(QPUBudgetError, match=r"0\.0171 s spent"):
        train(model, resumed, batches(1))


def test_native_solver_counts_no_qpu_time():
    model = small_net()
    optimizer = QPSBGD(model.parameters())
    train(model, optimizer, batches(1))
    assert optimizer.qpu_seconds == 0.0


def test_state_of_an_older_version_without_qpu_time_is_loaded():
    model, optimizer = one_step(FakeQPU())
    saved = optimizer.state_dict()
    for group in saved["param_groups"]:
        del group["qpu_seconds"]
    optimizer.load_state_dict(saved)
    train(model, optimizer, batches(1))
    assert optimizer.qpu_seconds > 0


def test_token_is_not_in_the_state_dict():
    model = small_net()
    optimizer = QPSBGD(model.parameters(), solver=QPUSolver(config={"token": "DEV-secret"}))
    assert "DEV-secret" not in repr(optimizer.state_dict())
    assert "DEV-secret" not in repr(optimizer)


def test_optimizer_on_a_qpu_is_copied():
    model, optimizer = one_step(FakeQPU())
    twin_model, twin = copy.deepcopy((model, optimizer))
    train(twin_model, twin, batches(1))
    assert twin.qpu_seconds == pytest.approx(2 * optimizer.qpu_seconds)


def accuracy(data, solver, widths, steps=60, seed=0):
    x = [torch.from_numpy(np.ascontiguousarray(part, dtype=np.float32)) for part in (data[0], data[2])]
    mean, deviation = x[0].mean(dim=0), x[0].std()
    x = [(part - mean) / deviation for part in x]
    y = [torch.from_numpy(part) for part in (data[1], data[3])]
    torch.manual_seed(seed)
    inputs, hidden, outputs = widths
    model = nn.Sequential(
        BinaryLinear(inputs, hidden),
        nn.BatchNorm1d(hidden),
        BinaryActivation(),
        BinaryLinear(hidden, outputs),
        Scale(),
    )
    with torch.no_grad():
        for layer in (model[0], model[3]):
            layer.weight.uniform_(-0.1, 0.1)
    optimizer = QPSBGD(model.parameters(), lr=0.01, solver=solver)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        batch = torch.randint(len(y[0]), (100,), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[0][batch]), y[0][batch]).backward()
        optimizer.step()
        schedule.step()
    model.eval()
    with torch.no_grad():
        return float((model(x[1]).argmax(dim=1) == y[1]).float().mean())


def test_mnist_pair_on_the_mock_qpu_is_as_accurate_as_native(data_folder):
    data = mnist_pair(0, 2, size=4, data_dir=data_folder)
    images = data.x_train, data.y_train, data.x_test, data.y_test
    qpu = QPUSolver(mock(shape=(3, 4), substitute_kwargs={"seed": 1}), num_reads=10)
    # Four seeds of 120 steps: one short run moves by .01 from seed to seed and from solver to solver.
    native, on_qpu = (
        np.mean([accuracy(images, solver, (16, 16, 2), steps=120, seed=seed) for seed in range(4)])
        for solver in ("native", qpu)
    )
    assert native > 0.85
    assert abs(on_qpu - native) <= 0.02


def test_784_inputs_train_on_a_chip_whose_largest_clique_is_below_150(data_folder):
    data = mnist_pair(0, 2, data_dir=data_folder)
    solver = QPUSolver(mock(shape=(6, 4)), num_reads=1)
    assert solver.device.store.largest < 150
    images = data.x_train, data.y_train, data.x_test, data.y_test
    assert accuracy(images, solver, (784, 4, 2), steps=6) > 0.85


def karate_accuracy(solver, seed, steps=60):
    graph = karate()
    x, edges, labels = map(torch.from_numpy, (graph.features, graph.edge_index, graph.labels))
    generator = torch.Generator().manual_seed(seed)
    known = torch.randperm(len(labels), generator=generator)[:12]
    model = Gcn((34, 8, 2)).build(generator)
    optimizer = QPSBGD(model.parameters(), lr=0.01, solver=solver)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x, edges)[known], labels[known]).backward()
        optimizer.step()
    with torch.no_grad():
        return float((model(x, edges).argmax(dim=1) == labels).float().mean())


def test_karate_club_on_the_mock_qpu_is_as_accurate_as_native():
    seeds = range(24)  # one seed scatters by .027, the mean by .006
    native = np.mean([karate_accuracy("native", seed) for seed in seeds])
    solver = QPUSolver(mock(shape=(3, 4), substitute_kwargs={"seed": 1}), num_reads=5)
    on_qpu = np.mean([karate_accuracy(solver, seed) for seed in seeds])
    assert native > 0.9
    assert abs(on_qpu - native) <= 0.02
