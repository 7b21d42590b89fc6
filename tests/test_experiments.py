"""Experiments: a seed fixes a run, all optimizers get the same start, and results are kept whole."""

import dataclasses
import io
import json

import numpy as np
import pytest
import torch

from qpsbgd import datasets
from qpsbgd.experiments import EXPERIMENTS, OPTIMIZERS, Experiment, Network, Result, Run
from qpsbgd.experiments.training import build_network, run
from qpsbgd.report import draw_curves, table

TINY = Experiment(
    "tiny",
    "tiny",
    Network((6, 8, 2), "sign"),
    batch_size=10,
    steps=40,
    optimizers={name: {"lr": 0.03} for name in OPTIMIZERS},
)


@pytest.fixture(scope="module")
def tiny_data() -> datasets.Dataset:
    """Return 80 training and 40 test points, labelled by the sign of their sum."""
    x = np.random.default_rng(0).normal(size=(120, 6)).astype(np.float32)
    y = (x.sum(axis=1) > 0).astype(np.int64)
    return datasets.Dataset("tiny", x[:80], y[:80], x[80:], y[80:], 2)


@pytest.fixture(scope="module")
def tiny_result(tiny_data) -> Result:
    return run(TINY, "qpsbgd", tiny_data, seeds=2)


def without_times(one: Run) -> dict[str, float]:
    return {name: value for name, value in one.metrics.items() if not name.endswith(("seconds", "second"))}


@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_every_experiment_has_settings_for_every_optimizer(experiment):
    assert tuple(experiment.optimizers) == OPTIMIZERS
    assert all(settings["lr"] > 0 for settings in experiment.optimizers.values())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_same_seed_gives_the_same_run(tiny_data, optimizer):
    first, second = (run(TINY, optimizer, tiny_data, seeds=1).runs[0] for _ in range(2))
    assert without_times(first) == without_times(second)
    assert first.curve == second.curve
    assert all(torch.equal(first.weights[name], second.weights[name]) for name in first.weights)


def test_seeds_differ(tiny_result):
    first, second = tiny_result.runs
    assert first.curve != second.curve


def test_global_random_state_has_no_influence(tiny_data, tiny_result):
    torch.manual_seed(12345)
    np.random.seed(12345)  # noqa: NPY002
    assert run(TINY, "qpsbgd", tiny_data, seeds=1).runs[0].curve == tiny_result.runs[0].curve


def test_all_optimizers_start_from_the_same_network_and_batch(tiny_data):
    first_losses = {
        run(TINY, optimizer, tiny_data, seeds=1, steps=1).runs[0].curve[0].loss for optimizer in OPTIMIZERS
    }
    assert len(first_losses) == 1


def test_training_learns(tiny_result):
    assert tiny_result.mean_and_deviation("test_accuracy")[0] > 0.8
    for one in tiny_result.runs:
        losses = [point.loss for point in one.curve]
        assert sum(losses[-5:]) < sum(losses[:5])


@pytest.mark.parametrize("steps", [1, 7, 30, 59, 60, 100])
def test_curve_ends_at_the_last_step_with_few_points(tiny_data, steps):
    curve = run(TINY, "signsgd", tiny_data, seeds=1, steps=steps).runs[0].curve
    assert curve[-1].step == steps
    assert [point.step for point in curve] == sorted({point.step for point in curve})
    assert len(curve) == min(steps, 30)


def test_only_qpsbgd_counts_qubos(tiny_data, tiny_result):
    metrics = tiny_result.runs[0].metrics
    solved = metrics["qubos_per_second"] * metrics["seconds"]
    assert solved == pytest.approx(TINY.steps * (8 + 2))
    assert run(TINY, "signsgd", tiny_data, seeds=1, steps=2).runs[0].metrics["qubos_per_second"] == 0


def test_results_file_has_the_agreed_schema(tiny_result, tmp_path):
    tiny_result.write(tmp_path / "new" / "results.json")
    content = json.loads((tmp_path / "new" / "results.json").read_text())
    assert list(content) == ["task", "optimizer", "settings", "runs"]
    assert content["settings"] == {"lr": 0.03, "network": "6-8-2 sign", "batch_size": 10, "steps": 40}
    assert [list(one) for one in content["runs"]] == [["seed", "metrics", "curve"]] * 2
    assert list(content["runs"][0]["metrics"]) == [
        "test_accuracy",
        "train_loss",
        "seconds",
        "qubos_per_second",
    ]
    assert list(content["runs"][0]["curve"][0]) == ["step", "loss", "test_accuracy"]


def test_failed_write_leaves_the_old_file(tiny_result, tmp_path):
    path = tmp_path / "results.json"
    tiny_result.write(path)
    before = path.read_bytes()
    broken = dataclasses.replace(tiny_result, settings={"lr": float("nan")})
    with pytest.raises(ValueError, match="not JSON compliant"):
        broken.write(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.json"]


def test_kept_weights_give_the_reported_accuracy(tiny_data, tiny_result):
    kept = io.BytesIO()
    torch.save(tiny_result.runs[0].weights, kept)
    kept.seek(0)
    model = build_network(TINY.network, torch.Generator().manual_seed(99))
    model.load_state_dict(torch.load(kept, weights_only=True))
    mean, deviation = tiny_data.x_train.mean(axis=0), tiny_data.x_train.std()
    scores = model.eval()(torch.from_numpy((tiny_data.x_test - mean) / deviation))
    accuracy = (scores.argmax(dim=1).numpy() == tiny_data.y_test).mean()
    assert accuracy == tiny_result.runs[0].metrics["test_accuracy"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"optimizer": "adam"}, "optimizer is 'adam', expected one of qpsbgd"),
        ({"seeds": 0}, "seeds is 0"),
        ({"steps": 0}, "steps is 0"),
        ({"experiment": EXPERIMENTS["adult"]}, "data has 6 features and 2 classes"),
        ({"experiment": dataclasses.replace(TINY, batch_size=81)}, "fewer than one batch of 81"),
    ],
)
def test_impossible_runs_are_refused(tiny_data, changed, message):
    arguments = {"experiment": TINY, "optimizer": "qpsbgd", "data": tiny_data, "seeds": 1, **changed}
    with pytest.raises(ValueError, match=message):
        run(**arguments)


def test_training_without_a_finite_loss_is_an_error(tiny_data):
    broken = dataclasses.replace(tiny_data, x_train=np.full_like(tiny_data.x_train, np.nan))
    with pytest.raises(FloatingPointError, match="the training loss is nan"):
        run(dataclasses.replace(TINY, network=Network((6, 8, 2), "relu")), "signsgd", broken, seeds=1)


def test_table_shows_mean_and_deviation(tiny_result):
    mean, deviation = tiny_result.mean_and_deviation("test_accuracy")
    header, rule, row = table([tiny_result]).splitlines()
    assert len(header) == len(rule) == len(row)
    assert f"{mean:.4f} ± {deviation:.4f}" in row


def test_curves_are_drawn_as_png(tiny_result, tmp_path):
    draw_curves([tiny_result], tmp_path / "new" / "curves.png")
    assert (tmp_path / "new" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_pair_of_mnist_digits_is_learnt(data_folder):
    data = datasets.load("mnist-pairs-02", data_folder)
    result = run(EXPERIMENTS["mnist-pairs-02"], "qpsbgd", data, seeds=1)
    assert result.runs[0].metrics["test_accuracy"] >= 0.985
