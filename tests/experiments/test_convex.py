"""The experiments on functions: Rosenbrock, logistic regression, convergence."""

import math

import pytest
import torch
from torch import nn

from qpsbgd.experiments import EXPERIMENTS, TASKS
from qpsbgd.experiments.convergence import fitted_exponent
from qpsbgd.experiments.convex import correlated_samples
from qpsbgd.experiments.core.minimising import (
    REAL_OPTIMIZERS,
    Objective,
    SignDescent,
    make_real_optimizer,
    minimise,
)
from qpsbgd.experiments.rosenbrock import residuals

FUNCTION_TASKS = [
    task for name in ("rosenbrock", "logreg", "convergence") for task in EXPERIMENTS[name].tasks
]


def shortened(task):
    changes = {"lengths": (2, 4)} if hasattr(task, "lengths") else {"steps": 4}
    if hasattr(task, "samples"):
        changes["samples"] = 200
    return task.replaced(**changes)


def without_times(run):
    return {name: value for name, value in run.metrics.items() if "second" not in name}


@pytest.mark.parametrize("task", FUNCTION_TASKS, ids=lambda task: task.name)
def test_every_optimizer_runs_and_a_seed_fixes_the_run(task):
    task = shortened(task)
    for name, settings in task.optimizers.items():
        first, second = (task.run(name, settings, 3) for _ in range(2))
        assert without_times(first) == without_times(second)
        assert first.curve == second.curve
        assert math.isfinite(first.metrics[task.metric])


@pytest.mark.parametrize("task", FUNCTION_TASKS, ids=lambda task: task.name)
def test_seeds_and_splits_are_different_problems(task):
    task = shortened(task)
    name, settings = next(iter(task.optimizers.items()))
    runs = [
        task.run(name, settings, seed, split=split)
        for seed, split in ((0, "test"), (1, "test"), (0, "validation"))
    ]
    assert len({str(run.curve) for run in runs}) == 3


@pytest.mark.parametrize("task", FUNCTION_TASKS, ids=lambda task: task.name)
def test_settings_of_every_grid_are_accepted(task):
    task = shortened(task)
    for name, grid in task.grids.items():
        for settings in grid[:: len(grid) - 1]:
            try:
                task.run(name, settings, 0, split="validation")
            except FloatingPointError:
                assert name == "sgd"  # which may diverge in a narrow valley


def test_rosenbrock_is_the_function_of_the_textbook():
    x = torch.tensor([-1.2, 1.0, 0.4], dtype=torch.float64)
    expected = sum(100 * (x[i + 1] - x[i] ** 2) ** 2 + (1 - x[i]) ** 2 for i in range(2))
    torch.testing.assert_close(residuals(x).square().sum(), expected)
    assert residuals(torch.ones(5)).abs().sum() == 0


def test_noise_moves_the_path_but_not_what_is_measured():
    task = TASKS["rosenbrock-2d"].replaced(steps=1)
    plain = task.run("sgd", {"lr": 0.0}, 0)
    noisy = task.replaced(noise=1.0)
    assert noisy.run("sgd", {"lr": 0.0}, 0).metrics["final_value"] == plain.metrics["final_value"]
    moved = [one.run("sgd", {"lr": 1e-3}, 0).metrics["final_value"] for one in (task, noisy)]
    assert moved[0] != moved[1]


def test_features_are_correlated_as_stated():
    x, y = correlated_samples(20_000, 4, 0.9, 1.0, torch.Generator().manual_seed(0))
    distance = (torch.arange(4)[:, None] - torch.arange(4)).abs()
    torch.testing.assert_close(torch.corrcoef(x.T), 0.9**distance, atol=0.02, rtol=0)
    torch.testing.assert_close(x.std(dim=0), torch.ones(4), atol=0.02, rtol=0)
    assert set(y.tolist()) == {0.0, 1.0}


def test_projected_descent_is_monotone_and_ends():
    for kind in ("logistic", "softmax"):
        task = TASKS[f"fixed-point-{kind}"].replaced(steps=30, samples=300)
        metrics = task.run("qpsbgd-projected", task.optimizers["qpsbgd-projected"], 0).metrics
        assert metrics["rises"] == 0
        assert 0 < metrics["last_change"] < 30
        assert task.run("signsgd", {"lr": 0.01}, 0).metrics["rises"] > 0  # the count can fail


def test_exponent_is_that_of_the_power_law():
    steps = [4, 8, 100]
    assert fitted_exponent(steps, [3 * step**-0.7 for step in steps]) == pytest.approx(-0.7)


def test_gradient_norm_of_gradient_descent_is_the_mean_over_its_steps():
    task = TASKS["gradient-norm"].replaced(lengths=(1, 4), samples=50, dimensions=3)
    run = task.run("sgd", {"lr": 1.0}, 5)
    generator = torch.Generator().manual_seed(10)
    x, y = correlated_samples(50, 3, task.correlation, task.signal, generator)
    w, norms = (0.1 * torch.randn(3, generator=generator)).requires_grad_(), []
    for _ in range(4):
        loss = nn.functional.binary_cross_entropy_with_logits(x @ w, y) + task.ridge / 2 * w.square().sum()
        (gradient,) = torch.autograd.grad(loss, w)
        norms.append(gradient.norm().item())
        w = (w - 1.0 / math.sqrt(4) * gradient).detach().requires_grad_()
    assert run.curve[1].values["gradient_norm"] == pytest.approx(sum(norms) / 4, rel=1e-5)
    assert run.curve[0].values["gradient_norm"] == pytest.approx(norms[0], rel=1e-5)


def test_sign_descent_is_signum():
    x = nn.Parameter(torch.tensor([2.0, -3.0]))
    optimizer = SignDescent([x], lr=0.1, momentum=0.5)
    for gradient in ([1.0, -1.0], [-0.5, -1.0], [-3.0, 4.0]):
        x.grad = torch.tensor(gradient)
        optimizer.step()
    # Means: (.5, -.5), (0, -.75), (-1.5, 1.625); the sign of 0 is 0.
    torch.testing.assert_close(x.detach(), torch.tensor([2.0 - 0.1 + 0.0 + 0.1, -3.0 + 0.1 + 0.1 - 0.1]))


@pytest.mark.parametrize("name", REAL_OPTIMIZERS)
def test_diverging_is_a_floating_point_error(name):
    x = nn.Parameter(torch.tensor([10.0]))
    objective = Objective(lambda x: torch.exp(x.square()))
    with pytest.raises(FloatingPointError):
        minimise(
            [x],
            make_real_optimizer(name, [x], {"lr": 1e3}, seed=0),
            lambda: objective,
            lambda: {"value": objective.value(x).item()},
            steps=3,
            label="test",
        )


def test_impossible_tasks_are_refused():
    with pytest.raises(ValueError, match="1 dimensions"):
        TASKS["rosenbrock-2d"].replaced(dimensions=1)
    with pytest.raises(ValueError, match="optimizer is 'newton', expected one of qpsbgd"):
        make_real_optimizer("newton", [], {}, seed=0)
    with pytest.raises(ValueError, match="steps is 0"):
        minimise([], SignDescent([nn.Parameter(torch.ones(1))], 0.1), None, None, steps=0, label="")
