"""Trainings: a seed fixes a run, and all optimizers get the same start."""

import dataclasses
import io

import numpy as np
import pytest
import torch

from qpsbgd.experiments import OPTIMIZERS, TASKS
from qpsbgd.experiments.networks import Mlp
from toy_tasks import TINY, tiny_samples, train, without_times


@pytest.fixture(scope="module")
def samples():
    return tiny_samples()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_same_seed_gives_the_same_run(samples, optimizer):
    first, second = (train(optimizer, samples) for _ in range(2))
    assert without_times(first) == without_times(second)
    assert first.curve == second.curve
    assert all(torch.equal(first.weights[name], second.weights[name]) for name in first.weights)


def test_seeds_differ(samples):
    assert train("qpsbgd", samples, 0).curve != train("qpsbgd", samples, 1).curve


def test_global_random_state_has_no_influence(samples):
    before = train("qpsbgd", samples)
    torch.manual_seed(12345)
    np.random.seed(12345)  # noqa: NPY002
    assert train("qpsbgd", samples).curve == before.curve


def test_all_optimizers_of_binary_forward_passes_start_from_the_same_network_and_batch(samples):
    one = TINY.replaced(steps=1)
    names = set(OPTIMIZERS) - {"proxquant"}  # it trains real weights
    assert len({train(name, samples, task=one).curve[0].values["loss"] for name in names}) == 1


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_learns(samples, optimizer):
    one = train(optimizer, samples)
    assert one.metrics["test_accuracy"] > 0.75
    losses = [point.values["loss"] for point in one.curve]
    assert sum(losses[-5:]) < sum(losses[:5])


@pytest.mark.parametrize("steps", [1, 7, 30, 59, 60, 100])
def test_curve_ends_at_the_last_step_with_few_points(samples, steps):
    curve = train("signsgd", samples, task=TINY.replaced(steps=steps)).curve
    assert curve[-1].step == steps
    assert [point.step for point in curve] == sorted({point.step for point in curve})
    assert len(curve) == min(steps, 30)


def test_only_qpsbgd_counts_qubos(samples):
    metrics = train("qpsbgd", samples).metrics
    assert metrics["qubos_per_second"] * metrics["seconds"] == pytest.approx(TINY.steps * (8 + 2))
    assert train("signsgd", samples).metrics["qubos_per_second"] == 0


def test_kept_weights_give_the_reported_accuracy(samples):
    one = train("qpsbgd", samples)
    kept = io.BytesIO()
    torch.save(one.weights, kept)
    kept.seek(0)
    model = TINY.network.build(torch.Generator().manual_seed(99))
    model.load_state_dict(torch.load(kept, weights_only=True))
    scores = model.eval()(samples.x_judged)
    accuracy = (scores.argmax(dim=1) == samples.y_judged).double().mean().item()
    assert accuracy == one.metrics["test_accuracy"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"network": Mlp((7, 8, 2), "sign")}, "data has 6 features and 2 classes"),
        ({"batch_size": 81}, "fewer than one batch of 81"),
        ({"steps": 0}, "steps is 0"),
    ],
)
def test_impossible_runs_are_refused(samples, changed, message):
    with pytest.raises(ValueError, match=message):
        train("qpsbgd", samples, task=TINY.replaced(**changed))


def test_training_without_a_finite_loss_is_an_error(samples):
    broken = dataclasses.replace(samples, x_train=torch.full_like(samples.x_train, float("nan")))
    with pytest.raises(FloatingPointError, match="the training loss is nan"):
        train("signsgd", broken, task=TINY.replaced(network=Mlp((6, 8, 2), "relu")))


@pytest.mark.parametrize("name", ["mnist-pairs-02", "mnist-pairs-02-8x8"])
def test_pair_of_mnist_digits_is_learnt(data_folder, name):
    task = TASKS[name]
    one = task.run("qpsbgd", task.optimizers["qpsbgd"], 0, data_dir=data_folder)
    assert one.metrics["test_accuracy"] >= 0.97
