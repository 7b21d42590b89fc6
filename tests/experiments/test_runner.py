"""Tuning, repeating and resuming."""

import pytest

from qpsbgd.experiments import Experiment
from qpsbgd.experiments.core.runner import run, tune
from qpsbgd.experiments.core.store import Job, Store
from toy_tasks import Counted, counted


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


def test_new_version_of_a_task_is_run_anew(monkeypatch):
    job = Job(counted(), "a", {"lr": 1}, 0, "test")
    before = job.key
    monkeypatch.setattr(Counted, "version", 2)
    assert job.key != before


def test_failure_on_the_test_split_is_an_error_and_leaves_no_record(tmp_path):
    with pytest.raises(FloatingPointError, match="diverged"):
        run(counted(), {"a": {"lr": 666}}, Store(tmp_path), seeds=1)
    assert not list(tmp_path.rglob("*.json"))


def test_impossible_requests_are_refused():
    with pytest.raises(ValueError, match="optimizer is 'z', expected one of a, b"):
        run(counted(), {"z": {}})
    with pytest.raises(ValueError, match="seeds is 0"):
        run(counted(), {"a": {"lr": 1}}, seeds=0)
    with pytest.raises(ValueError, match="task 'counted' has no epochs"):
        counted().replaced(epochs=3)
    with pytest.raises(ValueError, match="has 1 tasks, but 0 positions"):
        Experiment("x", "", (counted(),), "size")
