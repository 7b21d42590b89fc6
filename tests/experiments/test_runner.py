"""Experiments: a seed fixes a run, all optimizers get the same start, finished runs are kept and found."""

import dataclasses
import io
import json
import math
import sys
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

from qpsbgd import datasets
from qpsbgd.data.progress import ProgressBar
from qpsbgd.experiments import EXPERIMENTS, OPTIMIZERS, TASKS, CurvePoint, Experiment, Result, Run, Task
from qpsbgd.experiments.classification import Classification, Samples, prepare
from qpsbgd.experiments.core.runner import run, tune
from qpsbgd.experiments.core.store import Job, Store, read_records
from qpsbgd.experiments.networks import Mlp

TINY = Classification(
    name="tiny",
    description="80 points labelled by the sign of their sum",
    dataset="tiny",
    network=Mlp((6, 8, 2), "sign"),
    batch_size=10,
    steps=40,
    optimizers={
        **{name: {"lr": 0.03} for name in OPTIMIZERS},
        "binaryconnect-sgd": {"lr": 3.0},
        "bop": {"lr": 0.1, "threshold": 1e-3},
    },
)


@pytest.fixture(scope="module")
def samples() -> Samples:
    """Return 80 training and 40 test points."""
    x = np.random.default_rng(0).normal(size=(120, 6)).astype(np.float32)
    y = (x.sum(axis=1) > 0).astype(np.int64)
    return prepare(datasets.Dataset("tiny", x[:80], y[:80], x[80:], y[80:], 2), "centred")


def train(optimizer, samples, seed=0, task=TINY):
    return task.train(optimizer, task.optimizers[optimizer], seed, samples)


def without_times(one: Run) -> dict[str, float]:
    return {name: value for name, value in one.metrics.items() if not name.endswith(("seconds", "second"))}


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_every_task_tunes_all_its_optimizers_with_one_budget_or_none(task):
    assert not task.grids or set(task.grids) == set(task.optimizers)
    assert len({len(grid) for grid in task.grids.values()}) <= 1
    for grid in task.grids.values():
        assert len({json.dumps(dict(settings), sort_keys=True) for settings in grid}) == len(grid)


def test_names_of_experiments_and_tasks_are_not_confused():
    for name, experiment in EXPERIMENTS.items():
        if name in TASKS:
            assert experiment.tasks == (TASKS[name],)
    assert len(TASKS) == sum(len(experiment.tasks) for experiment in EXPERIMENTS.values())


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


def test_network_of_many_equal_layers_is_named_briefly_and_built_with_residuals():
    network = Mlp((6, *[8] * 31, 2), "hardtanh", residual=True)
    assert str(network) == "6-31x8-2 hardtanh residual"
    model = network.build(torch.Generator().manual_seed(0))
    output = model(torch.randn(5, 6))
    assert output.shape == (5, 2)
    assert model[3](torch.zeros(5, 8)).shape == (5, 8)
    inner = torch.nn.Sequential(*model[3]).eval()
    x = torch.randn(5, 8)
    torch.testing.assert_close(model[3].eval()(x), x + inner(x))


def test_validation_split_holds_out_a_share_of_every_class_and_no_test_sample():
    data = datasets.digits()
    split = datasets.validation_split(data, 0.25, seed=1)
    assert len(split.x_train) + len(split.x_test) == len(data.x_train)
    for label in range(10):
        held, all_of_it = (split.y_test == label).sum(), (data.y_train == label).sum()
        assert held == round(0.25 * all_of_it)
    rows = {row.tobytes() for row in data.x_train}
    assert all(row.tobytes() in rows for row in split.x_test)
    assert not np.array_equal(split.x_test, datasets.validation_split(data, 0.25, seed=2).x_test)
    with pytest.raises(ValueError, match="fraction is 1"):
        datasets.validation_split(data, 1.0)


@pytest.mark.parametrize("size", [4, 8])
def test_pairs_of_reduced_images_have_names(data_folder, size):
    data = datasets.load(f"mnist-pairs-17-{size}x{size}", data_folder)
    assert data.x_train.shape[1] == size**2
    assert data.name == f"mnist-pairs-17-{size}x{size}"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_line_printed_while_bars_are_shown_stands_by_itself(monkeypatch):
    monkeypatch.setattr("sys.stderr", Terminal())
    with ProgressBar(2, "outer") as bar:
        bar.advance()
        with bar.paused():
            print("a line", file=sys.stderr)
    assert "\ra line\n" in sys.stderr.getvalue()
    assert "outer" in sys.stderr.getvalue()


# A task that is no network: its optimizers end at their learning rate, on validation and test alike.
@dataclass(frozen=True, kw_only=True)
class Counted(Task):
    steps: int = 3

    version: ClassVar[int] = 1
    calls: ClassVar[list[tuple]] = []

    def run(self, optimizer, settings, seed, *, split="test", data_dir=None):
        self.calls.append((optimizer, settings["lr"], seed, split))
        if settings["lr"] == 666:
            raise FloatingPointError("diverged")
        value = abs(settings["lr"] - 3) + 0.001 * seed
        curve = (CurvePoint(self.steps, {"loss": value}),)
        return Run(seed, {"value": value}, curve, {"w": torch.tensor([value])})


def counted(**changes) -> Counted:
    Counted.calls.clear()
    fields = {
        "name": "counted",
        "description": "the nearest learning rate to 3 wins",
        "optimizers": {"a": {"lr": 1}, "b": {"lr": 2}},
        "grids": {"a": ({"lr": 1}, {"lr": 666}, {"lr": 4}), "b": ({"lr": 9}, {"lr": 3}, {"lr": 3.0})},
        "metric": "value",
        "tuning_metric": "value",
        "higher_is_better": False,
        "tuning_seeds": 2,
    }
    return Counted(**{**fields, **changes})


def test_tuning_chooses_on_the_validation_split_with_equal_budgets(tmp_path):
    task = counted()
    assert tune(task, ["a", "b"], Store(tmp_path)) == {"a": {"lr": 4}, "b": {"lr": 3}}
    assert {split for *_, split in Counted.calls} == {"validation"}
    assert sorted(name for name, *_ in Counted.calls) == ["a"] * 6 + ["b"] * 6


def test_tuning_without_a_usable_setting_is_an_error(tmp_path):
    task = counted(grids={"a": ({"lr": 666},), "b": ({"lr": 1},)})
    with pytest.raises(FloatingPointError, match="a diverges on counted with every setting"):
        tune(task, ["a"], Store(tmp_path))


def test_optimizer_without_grid_keeps_its_settings():
    assert tune(counted(grids={}), ["a"], None) == {"a": {"lr": 1}}


def test_finished_runs_are_not_repeated(tmp_path):
    task = counted()
    first = run(task, task.optimizers, Store(tmp_path), seeds=2)
    done = len(Counted.calls)
    second = run(task, task.optimizers, Store(tmp_path), seeds=3)
    assert (done, len(Counted.calls)) == (4, 6)
    for one, other in zip(first, second, strict=True):
        assert [dict(run.metrics) for run in one.runs] == [dict(run.metrics) for run in other.runs[:2]]
        assert one.runs[0].curve == other.runs[0].curve


def test_interrupted_experiment_goes_on_where_it_stopped(tmp_path, monkeypatch):
    task = counted()
    usual = Counted.run

    def interrupted(self, *arguments, **options):
        if len(self.calls) == 3:
            raise KeyboardInterrupt
        return usual(self, *arguments, **options)

    monkeypatch.setattr(Counted, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(task, task.optimizers, Store(tmp_path), seeds=3)
    monkeypatch.setattr(Counted, "run", usual)
    run(task, task.optimizers, Store(tmp_path), seeds=3)
    assert sorted(Counted.calls) == sorted({(name, lr, seed, "test") for name, lr, seed, _ in Counted.calls})
    assert len(Counted.calls) == 6
    assert not list(tmp_path.rglob("*.tmp"))
    assert len(list(tmp_path.rglob("*.json"))) == 6


@pytest.mark.parametrize(
    "changed",
    [
        {"task": counted(steps=4)},
        {"task": counted(name="other")},
        {"optimizer": "b"},
        {"settings": {"lr": 1.5}},
        {"settings": {"lr": 1, "momentum": 0.9}},
        {"seed": 1},
        {"split": "validation"},
    ],
)
def test_whatever_defines_a_run_is_in_its_key(changed):
    job = Job(counted(), "a", {"lr": 1}, 0, "test")
    assert job.key != dataclasses.replace(job, **changed).key


def test_new_version_of_a_task_is_run_anew(monkeypatch):
    job = Job(counted(), "a", {"lr": 1}, 0, "test")
    before = job.key
    monkeypatch.setattr(Counted, "version", 2)
    assert job.key != before


def test_description_and_seeds_of_a_task_are_not_in_the_key():
    one, other = counted(), counted(description="new words", seeds=9)
    assert Job(one, "a", {"lr": 1}, 0, "test").key == Job(other, "a", {"lr": 1}, 0, "test").key


def test_record_tells_all_about_its_run(tmp_path):
    task = counted()
    run(task, {"a": {"lr": 1}}, Store(tmp_path), seeds=1)
    (record,) = read_records(tmp_path)
    assert (record.optimizer, dict(record.settings), record.seed, record.split) == ("a", {"lr": 1}, 0, "test")
    assert record.task["definition"] == {"steps": 3}
    assert record.run.metrics == {"value": 2.0}
    assert record.score == -2.0
    assert {"qpsbgd", "torch", "numpy", "python"} <= set(record.made_with)


def test_weights_are_kept_on_demand_and_found_again(tmp_path):
    task = counted()
    run(task, {"a": {"lr": 1}}, Store(tmp_path), seeds=1)
    assert not list(tmp_path.rglob("*.pt"))
    run(task, {"a": {"lr": 1}}, Store(tmp_path, keep_weights=True), seeds=1)
    assert len(Counted.calls) == 2  # its weights were not there
    (result,) = run(task, {"a": {"lr": 1}}, Store(tmp_path, keep_weights=True), seeds=1)
    assert len(Counted.calls) == 2
    assert result.runs[0].weights["w"].item() == 2.0


def test_failure_on_the_test_split_is_an_error_and_leaves_no_record(tmp_path):
    with pytest.raises(FloatingPointError, match="diverged"):
        run(counted(), {"a": {"lr": 666}}, Store(tmp_path), seeds=1)
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 99}', '{"format": 1, "task": {}}'])
def test_file_that_is_no_record_is_named(tmp_path, content):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "broken.json").write_text(content)
    with pytest.raises(ValueError, match=r"broken\.json is no record of a run"):
        read_records(tmp_path)


def test_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no finished runs"):
        read_records(tmp_path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"optimizers": {}}, "has no optimizer"),
        ({"grids": {"c": ({"lr": 1},)}}, "are for no optimizer of it|which are no optimizers"),
        ({"grids": {"a": ({"lr": 1},), "b": ({"lr": 1}, {"lr": 2})}}, "expected one size for all"),
        ({"seeds": 0}, "seeds of task 'counted' is 0"),
        ({"tuning_seeds": 0}, "tuning_seeds of task 'counted' is 0"),
    ],
)
def test_inconsistent_tasks_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        counted(**changed)


def test_impossible_requests_are_refused():
    with pytest.raises(ValueError, match="optimizer is 'z', expected one of a, b"):
        run(counted(), {"z": {}})
    with pytest.raises(ValueError, match="seeds is 0"):
        run(counted(), {"a": {"lr": 1}}, seeds=0)
    with pytest.raises(ValueError, match="task 'counted' has no epochs"):
        counted().replaced(epochs=3)
    with pytest.raises(ValueError, match="has 1 tasks, but 0 positions"):
        Experiment("x", "", (counted(),), "size")


@pytest.fixture(scope="module")
def tiny_result(samples) -> Result:
    runs = tuple(train("qpsbgd", samples, seed) for seed in range(2))
    return Result("tiny", "qpsbgd", {**TINY.optimizers["qpsbgd"], **TINY.definition()}, runs)


def test_results_file_has_the_agreed_schema(tiny_result, tmp_path):
    tiny_result.write(tmp_path / "new" / "results.json")
    content = json.loads((tmp_path / "new" / "results.json").read_text())
    assert list(content) == ["task", "optimizer", "settings", "runs"]
    assert content["settings"] == {
        "lr": 0.03,
        "dataset": "tiny",
        "network": "6-8-2 sign",
        "batch_size": 10,
        "steps": 40,
        "inputs": "centred",
    }
    assert [list(one) for one in content["runs"]] == [["seed", "metrics", "curve"]] * 2
    assert set(content["runs"][0]["metrics"]) == {
        "test_accuracy",
        "train_loss",
        "seconds",
        "qubos_per_second",
    }
    assert list(content["runs"][0]["curve"][0]) == ["step", "loss", "test_accuracy"]


def test_run_survives_its_file(tiny_result):
    one = tiny_result.runs[0]
    again = Run.from_json(json.loads(json.dumps(one.to_json())))
    assert (again.seed, again.metrics, again.curve) == (one.seed, one.metrics, one.curve)


def test_failed_write_leaves_the_old_file(tiny_result, tmp_path):
    path = tmp_path / "results.json"
    tiny_result.write(path)
    before = path.read_bytes()
    broken = dataclasses.replace(tiny_result, settings={"lr": math.nan})
    with pytest.raises(ValueError, match="not JSON compliant"):
        broken.write(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.parametrize("name", ["mnist-pairs-02", "mnist-pairs-02-8x8"])
def test_pair_of_mnist_digits_is_learnt(data_folder, name):
    task = TASKS[name]
    one = task.run("qpsbgd", task.optimizers["qpsbgd"], 0, data_dir=data_folder)
    assert one.metrics["test_accuracy"] >= 0.97
