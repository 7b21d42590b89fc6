"""The file of results."""

import dataclasses
import json
import math

import pytest

from qpsbgd.experiments import Result, Run
from toy_tasks import TINY, tiny_samples, train


@pytest.fixture(scope="module")
def samples():
    return tiny_samples()


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
