"""The parts of benchmarks/ordinary_networks.py: its peers, its tasks, and the log of its runs."""

import json
import math
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from networks import runs
from networks.blocks import BlockSolver
from networks.curvature import CHANGES, build_changed
from networks.kfac import Kfac, solved
from networks.objectives import ComparedSolver
from networks.optimizers import NAMES, SignedMomentum, build, draw, draw_near, ranges
from networks.small_networks import GraphNetwork, VisionTransformer, convolutional
from networks.tasks import TASKS, Task
from networks.transformer import CharacterTransformer
from qpsbgd.solvers import NativeSolver, solve_ising
from qpsbgd.step.rows import objective, row_problems
from what_the_qubo_does import PARTS


def small_task(steps=5):
    generator = torch.Generator().manual_seed(0)
    x = 1 + torch.randn(64, 6, generator=generator)
    y = (x[:, 0] > x[:, 1]).long()
    return Task(
        steps,
        lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)),
        lambda: (x, y),
        lambda model: {
            "train_loss": nn.functional.cross_entropy(model(x), y).item(),
            "test_loss": 0.0,
        },
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_optimizer_moves_every_parameter_downhill(name):
    if name in ("soap", "shampoo"):
        pytest.importorskip("pytorch_optimizer", reason="SOAP and Shampoo are pytorch-optimizer's")
    torch.manual_seed(0)
    start = small_task().network()
    before = small_task().measure(start)["train_loss"]
    s = {setting: math.sqrt(low * high) for setting, (low, high) in ranges("mlp-2048", name).items()}
    seen = []

    def builder(model):
        seen.append(([p.detach().clone() for p in model.parameters()], list(model.parameters())))
        return build(name, model, s)

    assert runs.train(small_task(40), builder, 0)["train_loss"] < before
    assert all(not torch.equal(old, new) for old, new in zip(*seen[0], strict=True))


def test_step_times_are_of_the_networks_that_take_the_steps():
    counts = {"one": 0, "two": 0}

    class Counting(torch.optim.SGD):
        def step(self, closure=None):
            counts[self.counted] += 1
            begin = time.process_time()
            while self.counted == "two" and time.process_time() < begin + 0.002:
                pass
            super().step(closure)

    def builder(name, model):
        optimizer = Counting(model.parameters(), 0.1)
        optimizer.counted = name
        return [optimizer]

    times = runs.step_times(small_task(), {name: partial(builder, name) for name in counts}, steps=5)
    assert counts == {"one": 5, "two": 5}
    assert times["two"] > times["one"] > 0
    assert times["two"] >= 2.0


def test_lion_and_signum_are_their_formulas():
    weight = nn.Parameter(torch.zeros(3))
    optimizer = SignedMomentum([weight], 0.1, (0.5, 0.9))
    mean, expected = np.zeros(3), np.zeros(3)
    for gradient in ([1.0, -2.0, 0.5], [-3.0, 1.0, 0.5], [1.0, 1.0, -2.0]):
        weight.grad = torch.tensor(gradient)
        optimizer.step()
        expected -= 0.1 * np.sign(0.5 * mean + 0.5 * np.array(gradient))
        mean = 0.9 * mean + 0.1 * np.array(gradient)
    np.testing.assert_allclose(weight.detach(), expected, rtol=1e-6)


def test_kfac_solves_the_damped_kronecker_system():
    generator = torch.Generator().manual_seed(0)
    X, Y = (torch.randn(50, size, dtype=torch.float64, generator=generator) for size in (5, 3))
    M = torch.randn(3, 5, dtype=torch.float64, generator=generator)
    A, B = X.T @ X / 50, Y.T @ Y / 50
    a, b = (0.01**0.5 * float(factor.diagonal().mean()) for factor in (A, B))
    whole = torch.kron(B + b * torch.eye(3), A + a * torch.eye(5))
    expected = torch.linalg.solve(whole, M.flatten()).reshape(3, 5)
    torch.testing.assert_close(solved(A, B, M, 0.01), expected)


def test_kfac_points_from_a_linear_layer_to_its_least_squares():
    """There A is the whole curvature, so an undamped step is along the way to the solution."""
    torch.manual_seed(0)
    X = torch.randn(200, 6, dtype=torch.float64) @ torch.randn(6, 6, dtype=torch.float64)
    layer, best = nn.Linear(6, 1, bias=False, dtype=torch.float64), torch.randn(1, 6, dtype=torch.float64)
    optimizer = Kfac([layer], lr=0.1, beta=0.0, curvature_beta=0.0, damping=1e-16)
    before = layer.weight.detach().clone()
    nn.functional.mse_loss(layer(X), X @ best.T).backward()
    optimizer.step()
    moved, way = layer.weight.detach() - before, best - before
    assert nn.functional.cosine_similarity(moved, way).item() > 1 - 1e-6
    torch.testing.assert_close(moved.square().mean().sqrt().item(), 0.1 / 6**0.5)


def test_every_task_trains_with_binary_steps():
    """Kinds of networks that need no data folder; others differ from them in sizes."""
    s = {"lr": 0.05, "past": 0.5, "gram_past": 0.1, "kappa": 4.0, "other": 0.01}
    for name in ("rows", "halves", "digits"):
        task = replace(TASKS[name](True), steps=12)
        result = runs.train(task, lambda model: build("qpsbgd", model, s), 0)
        assert result["curve"][-1] < result["curve"][0]


@pytest.mark.parametrize("network", [convolutional, VisionTransformer])
def test_networks_of_pictures_see_every_pixel(network):
    torch.manual_seed(0)
    x = torch.randn(2, 784, requires_grad=True)
    scores = network()(x)
    assert scores.shape == (2, 10)
    (gradient,) = torch.autograd.grad(scores[0].square().sum(), x)
    # Strides leave out a border of the convolutions' last rows and columns.
    assert (gradient[0] != 0).float().mean() > 0.75
    assert (gradient[1] == 0).all()


def test_graph_network_averages_over_neighbours():
    torch.manual_seed(0)
    adjacency = torch.eye(3).to_sparse()
    network = GraphNetwork(adjacency, (4, 5, 2)).eval()
    x = torch.randn(3, 4)
    torch.testing.assert_close(network(x), network.second(network.first(x).relu()))


def test_transformer_does_not_look_ahead():
    torch.manual_seed(0)
    model = CharacterTransformer(11, 6, 8, 2)
    numbers = torch.randint(11, (2, 6))
    changed = numbers.clone()
    changed[:, 4:] = (changed[:, 4:] + 1) % 11
    one, other = model(numbers), model(changed)
    torch.testing.assert_close(one[..., :4], other[..., :4])
    assert not torch.allclose(one[..., 4], other[..., 4])


def test_log_makes_no_run_twice(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(runs, "TASKS", {"small": lambda held_out: small_task()})
    monkeypatch.setattr(runs, "train", lambda task, builder, seed: made.append(seed) or {"train_loss": 1.0})
    file = tmp_path / "log.jsonl"
    for _ in range(2):
        log = runs.Log(file)
        for seed in (0, 1, 0):
            assert log.run("small", "signs", {"lr": 0.1, "past": 0.5}, seed, True) == {"train_loss": 1.0}
    assert made == [0, 1]
    assert [json.loads(line)["seed"] for line in file.read_text().splitlines()] == [0, 1]


def test_diverged_run_is_the_worst():
    result = runs.train(small_task(60), lambda model: [torch.optim.SGD(model.parameters(), 1e30)], 0)
    assert result["test_loss"] == 1e9


def test_trials_near_the_best_go_beyond_an_edge():
    s = draw("mlp-2048", "qpsbgd", 3)
    edge = {setting: high for setting, (_, high) in ranges("mlp-2048", "qpsbgd").items()}
    near = [draw_near("mlp-2048", "qpsbgd", number, edge) for number in range(30)]
    assert any(trial["lr"] > edge["lr"] for trial in near)
    assert all(trial["past"] <= 1.0 for trial in near)
    low, high = ranges("mlp-2048", "qpsbgd")["lr"]
    assert low <= s["lr"] <= high
    assert max(trial["lr"] for trial in near) <= edge["lr"] * (high / low) ** 0.2


def test_changed_optimizer_has_the_memory_that_is_asked_for():
    s = {"lr": 0.1, "past": 0.5, "gram_past": 0.05, "kappa": 8.0}
    built = [build_changed("own", nn.Linear(3, 2), s, memory=memory)[0] for memory in ("momentum", None)]
    assert [optimizer.param_groups[0]["memory"] for optimizer in built] == ["momentum", None]


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_of_the_qubo_trains(change):
    s = {"lr": 0.1, "past": 0.5, "gram_past": 0.05, "kappa": 8.0, "other": 0.01}
    task = small_task(12)
    result = runs.train(task, lambda model: build_changed(change, model, s), 0)
    assert result["curve"][-1] < result["curve"][0]
    own = runs.train(task, lambda model: build("qpsbgd", model, s), 0)
    # Another matrix is another step; but a rank of 10 is all of 6 and of 8 inputs, which fit one block too.
    same = change in ("own", "rank 10", "blocks of 40", "swapped")
    assert (result["curve"] == own["curve"]) == same


@pytest.mark.parametrize("part", PARTS)
def test_variants_of_a_part_have_names_of_their_own_and_rates_of_rows_above(part):
    above = {None}
    for variant in PARTS[part]:
        assert variant.name not in above
        assert variant.rate_of in above
        assert variant.task in TASKS
        above.add(variant.name)
    assert len({variant.task for variant in PARTS[part]}) == 1


def test_diagonal_matrix_leaves_the_signs():
    s = {"lr": 0.1, "past": 0.5, "gram_past": 0.5, "kappa": 8.0, "other": 0.01}
    task = small_task(12)
    curve = runs.train(task, lambda model: build_changed("diagonal", model, s), 0)["curve"]
    assert curve == runs.train(task, lambda model: build("signs", model, s), 0)["curve"]


def test_noise_of_the_device_that_solves_blocks_raises_the_objective():
    rng = np.random.default_rng(0)
    X = 1 + rng.standard_normal((60, 40))
    A, P, scales = X.T @ X / 60, 10 * rng.standard_normal((20, 40)), np.full(20, 0.3)
    problem = row_problems(P, A, scales)
    means = [
        objective(BlockSolver(20, noise).solve(problem, seed=0).samples[:, 0], P, A, scales).mean()
        for noise in (0.0, 1.0, 30.0)
    ]
    assert means[0] < means[1] < means[2]


def test_compared_solvers_meet_the_same_problems_and_the_first_one_answers():
    rng = np.random.default_rng(0)
    X = 1 + rng.standard_normal((30, 25))
    problem = row_problems(10 * rng.standard_normal((4, 25)), X.T @ X / 30, np.full(4, 0.3))
    descent, tabu = NativeSolver(method="descent"), NativeSolver(method="tabu")
    solver = ComparedSolver(descent, {"itself": NativeSolver(method="descent"), "tabu": tabu})
    answer = solver.solve(problem, seed=0)
    expected = descent.solve(problem, seed=0)
    np.testing.assert_array_equal(answer.best_samples, expected.best_samples)
    assert solver.ratios["itself"] == [1.0]
    lower = tabu.solve(problem, seed=0).best_energies.mean()
    assert lower < expected.best_energies.mean() < 0
    assert solver.ratios["tabu"] == [lower / expected.best_energies.mean()]


def test_blocks_in_turn_never_rise_and_one_block_is_a_whole_problem():
    rng = np.random.default_rng(0)
    X = 1 + rng.standard_normal((30, 25))
    A, P, scales = X.T @ X / 30, 10 * rng.standard_normal((4, 25)), np.full(4, 0.3)
    problem = row_problems(P, A, scales)
    start = objective(np.where(P >= 0, 1, -1), P, A, scales)
    blocked = objective(BlockSolver(10).solve(problem, seed=0).samples[:, 0], P, A, scales)
    whole = objective(BlockSolver(25).solve(problem, seed=0).samples[:, 0], P, A, scales)
    best = solve_ising(problem.h, problem.J, method="tabu", seed=0, num_threads=1).best_samples
    assert (blocked < start).all()
    np.testing.assert_allclose(whole, objective(best, P, A, scales))
