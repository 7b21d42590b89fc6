"""Finished runs in a folder: what names them, what their files tell."""

import dataclasses

import pytest

from qpsbgd.experiments.core.runner import run
from qpsbgd.experiments.core.store import Job, Store, read_records
from toy_tasks import Counted, counted


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


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 99}', '{"format": 1, "task": {}}'])
def test_file_that_is_no_record_is_named(tmp_path, content):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "broken.json").write_text(content)
    with pytest.raises(ValueError, match=r"broken\.json is no record of a run"):
        read_records(tmp_path)


def test_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no finished runs"):
        read_records(tmp_path)
