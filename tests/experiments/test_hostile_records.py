"""Records and weights that are broken on purpose: files are named with the field, the others are reported."""

import dataclasses
import html.parser
import json
import os

import pytest
import torch

from mutations import mutated_bytes, mutated_json, mutations
from qpsbgd.cli import main
from qpsbgd.data.reading import BrokenFileError
from qpsbgd.experiments import EXPERIMENTS
from qpsbgd.experiments.core.runner import run, tune
from qpsbgd.experiments.core.store import Job, Store, read_records
from qpsbgd.report import page
from toy_tasks import Counted, counted

JOB_OF_FIRST = ("a", {"lr": 1}, 0, "test")


@pytest.fixture
def folder(tmp_path):
    """Runs of two optimizers, tuned, with their weights."""
    task = counted(published={"paper": 0.5}, tuning_seeds=1)
    store = Store(tmp_path, keep_weights=True)
    tune(task, ["a", "b"], store)
    run(task, task.optimizers, store, seeds=3)
    return tmp_path


def record_of_first(folder):
    return next((folder / "records").glob("counted-a-test-0-*.json"))


def test_every_mutation_of_a_record_is_reported_or_left_out_by_name(folder):
    """Beside intact ones, and in the page: what the report accepts it can also draw."""
    path = record_of_first(folder)
    content = json.loads(path.read_text())
    accepted = refused = 0
    for seed in mutations(400):
        path.write_text(json.dumps(mutated_json(content, seed)))
        broken = []
        records = read_records(folder, on_broken=broken.append)
        assert len(records) + len(broken) == 12
        assert all(isinstance(error, BrokenFileError) and path.name in str(error) for error in broken)
        if broken:
            refused += 1
        else:
            accepted += 1
            text = page(records, EXPERIMENTS)
            html.parser.HTMLParser().feed(text)
            assert "<script>" not in text
            text.encode()
    assert accepted > 40
    assert refused > 200


def with_field(content, name: str, change):
    """A copy of the document, after `change` has been called with what holds the field and its key."""
    content = json.loads(json.dumps(content))
    *above, last = (int(key) if key.isdecimal() else key for key in name.split("."))
    holder = content
    for key in above:
        holder = holder[key]
    change(holder, last)
    return content


FIELDS = {
    "format": "number",
    "task": "object",
    "task.name": "text",
    "task.description": "text",
    "task.definition": "object",
    "task.version": "number",
    "task.metric": "text",
    "task.tuning_metric": "text",
    "task.higher_is_better": "flag",
    "task.published": "object",
    "optimizer": "text",
    "settings": "object",
    "seed": "number",
    "split": "text",
    "made_with": "object",
    "run": "object",
    "run.seed": "number",
    "run.metrics": "object",
    "run.metrics.value": "number",
    "run.curve": "list",
    "run.curve.0.step": "number",
    "failure": "text",
}
ODD = {"number": 1.5, "text": "text", "flag": True, "object": {}, "list": [1], "null": None, "huge": 10**400}


@pytest.mark.parametrize("name", FIELDS)
def test_field_that_is_missing_or_of_another_type_is_named(folder, name):
    """The kind of fault that ended in a traceback."""
    path = record_of_first(folder)
    content = json.loads(path.read_text())
    may_be = {FIELDS[name], "null"} if name in ("run", "failure") else {FIELDS[name]}
    for kind in ODD.keys() - may_be:
        odd = with_field(content, name, lambda holder, key, kind=kind: holder.update({key: ODD[kind]}))
        path.write_text(json.dumps(odd))
        with pytest.raises(BrokenFileError, match=rf"{path.name} is no record of a run: '{name}' is "):
            read_records(folder)
    path.write_text(json.dumps(with_field(content, name, lambda holder, key: holder.pop(key))))
    with pytest.raises(BrokenFileError, match=rf"{path.name} is no record of a run: '{name}' is missing"):
        read_records(folder)


def test_report_leaves_broken_records_out_and_says_so(folder, capsys):
    path = record_of_first(folder)
    content = json.loads(path.read_text())
    content["run"]["metrics"]["value"] = [1]
    path.write_text(json.dumps(content))
    (folder / "records" / "<b>evil\x1b[2J.json").write_text("{")
    assert main(["report", str(folder)]) == 1
    first, second, last = capsys.readouterr().err.splitlines()
    assert "evil?[2J.json is no record of a run" in first
    assert f"{path.name} is no record of a run: 'run.metrics.value' is a list, expected a number" in second
    assert last == "qpsbgd: error: 2 files of runs are broken; the report has the other 11"
    text = (folder / "report.html").read_text()
    assert "11 finished runs" in text
    assert "2 files are left out" in text
    assert "&lt;b&gt;evil" in text
    assert "<b>" not in text


def test_report_of_broken_records_alone_is_an_error_and_leaves_the_old_page(tmp_path, capsys):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "x.json").write_text("[1, 2")
    (tmp_path / "report.html").write_text("old")
    assert main(["report", str(tmp_path)]) == 1
    assert "there are no finished runs" in capsys.readouterr().err.splitlines()[-1]
    assert (tmp_path / "report.html").read_text() == "old"


@pytest.mark.parametrize("what", ["huge", "deep", "binary", "folder", "pipe"])
def test_file_that_is_no_json_at_all_is_left_out(folder, what, monkeypatch):
    path = folder / "records" / "0.json"
    if what == "huge":
        monkeypatch.setattr("qpsbgd.experiments.core.store._MAX_RECORD_BYTES", 100_000)
        path.write_bytes(b" " * 200_000)
    elif what == "deep":
        path.write_text('{"a":' * 100_000)
    elif what == "binary":
        path.write_bytes(bytes(range(256)))
    elif what == "folder":
        path.mkdir()
    elif hasattr(os, "mkfifo"):
        os.mkfifo(path)
    else:
        pytest.skip("there are no named pipes")
    broken = []
    assert len(read_records(folder, on_broken=broken.append)) == 12
    (error,) = broken
    assert str(path) in str(error)


def test_mutated_record_never_breaks_resuming(folder):
    """The run is done again, or taken, or refused by name; never anything else."""
    path = record_of_first(folder)
    good = path.read_text()
    job = Job(counted(published={"paper": 0.5}, tuning_seeds=1), *JOB_OF_FIRST)
    store = Store(folder, keep_weights=True)
    seen = set()
    for seed in mutations(150):
        path.write_text(json.dumps(mutated_json(json.loads(good), seed)))
        try:
            seen.add("anew" if store.find(job) is None else "taken")
        except BrokenFileError as error:
            seen.add("refused" if path.name in str(error) else "not named")
    assert {"refused", "taken"} <= seen <= {"anew", "taken", "refused"}


@pytest.mark.parametrize("field", ["key", "optimizer", "seed", "split"])
def test_record_of_another_run_is_not_taken(folder, field):
    path = record_of_first(folder)
    content = json.loads(path.read_text())
    content[field] = {"key": "0" * 20, "optimizer": "b", "seed": 1, "split": "validation"}[field]
    path.write_text(json.dumps(content))
    with pytest.raises(BrokenFileError, match="no record of a run"):
        Store(folder).find(Job(counted(), *JOB_OF_FIRST))


def test_changed_weights_are_made_again(folder):
    weights = record_of_first(folder).with_suffix(".pt")
    good = weights.read_bytes()
    store, job = Store(folder, keep_weights=True), Job(counted(), *JOB_OF_FIRST)
    for seed in mutations(60):
        weights.write_bytes(mutated_bytes(good, seed))
        assert (store.find(job) is None) == (weights.read_bytes() != good)
    Counted.calls.clear()
    run(counted(), {"a": {"lr": 1}}, store, seeds=3)
    assert [seed for _, _, seed, _ in Counted.calls] == [0]
    assert store.find(job).run.weights["w"].item() == 2.0


def test_changed_weights_of_a_record_without_a_digest_are_refused_by_name(folder):
    """Records of early versions have none."""
    path = record_of_first(folder)
    content = json.loads(path.read_text())
    del content["weights_sha256"]
    path.write_text(json.dumps(content))
    weights = path.with_suffix(".pt")
    good = weights.read_bytes()
    store, job = Store(folder, keep_weights=True), Job(counted(), *JOB_OF_FIRST)
    assert store.find(job).run.weights["w"].item() == 2.0
    seen = set()
    for seed in mutations(120):
        weights.write_bytes(mutated_bytes(good, seed))
        try:
            seen.add(type(store.find(job).run.weights["w"]))
        except BrokenFileError as error:
            seen.add(f"{weights} is no file of weights" in str(error))
    assert seen == {torch.Tensor, True}


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("made-by-a-weights-file",)


@pytest.mark.parametrize(
    "content",
    [Harmful(), [torch.ones(1)], {"w": 3}, {3: torch.ones(1)}, {"w": torch.ones(1).expand(10**15)}],
    ids=["code", "list", "number", "key", "absurd"],
)
def test_file_that_holds_no_weights_is_refused(folder, content, monkeypatch):
    monkeypatch.chdir(folder)
    path = record_of_first(folder)
    record = json.loads(path.read_text())
    del record["weights_sha256"]
    path.write_text(json.dumps(record))
    torch.save(content, path.with_suffix(".pt"))
    with pytest.raises(BrokenFileError, match="is no file of weights"):
        Store(folder, keep_weights=True).find(Job(counted(), *JOB_OF_FIRST))
    assert not (folder / "made-by-a-weights-file").exists()


@pytest.mark.parametrize("value", [2**63, 1e308, -1e308, 5e-324, 1e17, 0, 1, -1], ids=str)
def test_page_draws_every_finite_number(folder, value):
    shown = []
    for record in read_records(folder):
        if record.split == "test":
            values = {"loss": value, "other": value}
            points = tuple(
                dataclasses.replace(record.run.curve[0], step=step, values=values) for step in (1, 2)
            )
            changed = dataclasses.replace(
                record.run, metrics={"value": value, "seconds": value}, curve=points
            )
            shown.append(dataclasses.replace(record, run=changed))
    assert "<table>" in page(shown, EXPERIMENTS)


def test_page_draws_numbers_far_apart(folder):
    records = read_records(folder)
    values = [1e308, -1e308, 5e-324, 1e-308, 1e249, 1e-249, 1e17, 1e17 + 16, 0.0]
    shown = []
    for index, record in enumerate(record for record in records if record.split == "test"):
        for shift in range(len(values)):
            value = values[(index + shift) % len(values)]
            curve = (
                dataclasses.replace(record.run.curve[0], step=1, values={"loss": abs(value), "x": value}),
                dataclasses.replace(record.run.curve[0], step=2, values={"loss": 1.0, "x": -value}),
            )
            changed = dataclasses.replace(record.run, metrics={"value": value}, curve=curve)
            shown.append(dataclasses.replace(record, run=changed, seed=shift))
    assert "<svg" in page(shown, EXPERIMENTS)
