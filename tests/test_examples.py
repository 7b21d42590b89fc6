"""The programs in examples/ run, and reach what they should."""

import importlib.util
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run_python(*arguments: str, folder: Path, warnings: str = "error", **environment: str) -> str:
    """Standard output of a fresh interpreter that has to succeed, by default without a warning."""
    finished = subprocess.run(
        [sys.executable, "-W", warnings, *arguments],
        cwd=folder,
        # Idle OpenMP threads spin: no gain for small layers.
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def last_number(output: str) -> float:
    return float(output.split()[-1])


def test_train_digits_reaches_a_useful_accuracy(tmp_path):
    assert last_number(run_python(str(ROOT / "examples" / "train_digits.py"), folder=tmp_path)) > 0.95


def test_ordinary_network_is_trained_further_by_binary_steps_than_by_adamw(tmp_path):
    output = run_python(str(ROOT / "examples" / "ordinary_network.py"), folder=tmp_path)
    losses = {line.split()[0]: float(re.findall(r"\d\.\d+", line)[0]) for line in output.splitlines()}
    assert losses["QPSBGD"] < losses["AdamW"] / 3
    assert last_number(output) > 0.96


def test_solve_batch_prints_one_energy_per_problem(tmp_path):
    output = run_python(str(ROOT / "examples" / "solve_batch.py"), folder=tmp_path)
    assert len(re.findall(r"-\d+\.\d+", output)) == 10


def test_dask_batches_finds_what_one_process_finds(tmp_path):
    output = run_python(str(ROOT / "examples" / "dask_batches.py"), "200", folder=tmp_path)
    assert output.splitlines()[0].startswith("200 problems in ")
    assert output.endswith("what this process finds: True\n")


def test_diagnostics_shows_the_agreement_of_steps_and_draws_qubos(tmp_path):
    arguments = ["digits", "--steps", "40", "--out", str(tmp_path / "out")]
    output = run_python(str(ROOT / "examples" / "diagnostics.py"), *arguments, folder=tmp_path)
    assert "different quantities" in output
    assert last_number(output) > 0.8
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"diagnostics.json", "qubos.png"}


def test_mnist_goes_on_from_its_checkpoint_and_falls_back_on_digits(tmp_path):
    (tmp_path / "file").touch()
    program, no_data = str(ROOT / "examples" / "mnist_dataloader.py"), {"QPSBGD_DATA": str(tmp_path / "file")}
    first = run_python(program, "2", folder=tmp_path, **no_data)
    assert re.findall(r"^(\w+), epoch (\d)", first, re.MULTILINE) == [("digits", "1"), ("digits", "2")]
    assert last_number(first) > 0.9
    assert run_python(program, "2", folder=tmp_path, **no_data) == ""  # all epochs are done


def test_a_chip_that_is_mocked_trains_a_network(tmp_path):
    output = run_python(str(ROOT / "examples" / "qpu_mock.py"), "15", folder=tmp_path, warnings="default")
    assert "150 QUBOs" in output
    assert last_number(output) > 0.8


def test_models_of_numpy_dimod_and_pyqubo_have_the_same_optima(tmp_path):
    rows = run_python(str(ROOT / "examples" / "qubo_models.py"), folder=tmp_path).splitlines()
    found = {}
    for problem, package, *value in map(str.split, rows):
        if value[0] != "is":  # is not installed
            found.setdefault(problem, {})[package] = float(value[0])
    assert set(found) == {"max-cut", "knapsack", "portfolio"}
    for values in found.values():
        assert {"numpy", "dimod"} <= set(values)
        assert max(values.values()) - min(values.values()) < 1e-6


def test_optima_of_the_models_are_those_of_all_states(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import numpy as np
    import qubo_models as models

    states = np.indices((2,) * 12).reshape(12, -1).T
    cuts = sum(weight * (states[:, i] != states[:, j]) for i, j, weight in models.EDGES)
    assert models.max_cut_numpy() == pytest.approx(cuts.max())
    items = states[: 2**8, -8:]
    values = np.where(items @ models.WEIGHTS <= models.CAPACITY, items @ models.VALUES, 0)
    assert models.knapsack_numpy() == pytest.approx(values.max())
    held = states[: 2**10, -10:]
    held = held[held.sum(axis=1) == models.HELD]
    risk = np.einsum("si,ij,sj->s", held, models.RISK, held)
    assert models.portfolio_numpy() == pytest.approx((models.AVERSION * risk - held @ models.RETURNS).min())


def needs(*packages: str) -> pytest.MarkDecorator:
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@needs("torch_geometric")
def test_a_graph_network_of_pytorch_geometric_has_binary_weights(tmp_path):
    program = str(ROOT / "examples" / "graph_network.py")
    output = run_python(program, folder=tmp_path, warnings="default")
    assert re.findall(r"^\w+", output, re.MULTILINE) == ["GCNConv", "BinaryGCNConv"]
    assert last_number(output) > 0.6  # four classes, a label of each


@needs("pytorch_lightning")
def test_lightning_trains_and_steps_the_schedule(tmp_path):
    program = str(ROOT / "examples" / "lightning_digits.py")
    assert last_number(run_python(program, "6", folder=tmp_path, warnings="default")) > 0.9


@needs("transformers", "accelerate")
def test_trainer_of_hugging_face_takes_the_optimizer(tmp_path):
    program = str(ROOT / "examples" / "hf_trainer.py")
    output = run_python(program, "60", folder=tmp_path, warnings="default", HF_HUB_OFFLINE="1")
    assert "binary steps of" in output
    assert last_number(output) > 0.9


def test_mimo_detection_finds_what_maximum_likelihood_would(tmp_path):
    output = run_python(str(ROOT / "examples" / "mimo_detection.py"), "--plot", "mimo.png", folder=tmp_path)
    rows = [line for line in output.splitlines() if "qpsbgd" in line]
    assert len(rows) == 6
    assert all(line.endswith("0.0 %") for line in rows)  # no answer is farther than the symbols sent
    assert (tmp_path / "mimo.png").stat().st_size > 1000


def test_binary_factorisation_by_exact_signs_leaves_less_than_greedy_ones(tmp_path):
    arguments = ["--layer", "--atoms", "6"]
    output = run_python(str(ROOT / "examples" / "binary_factorisation.py"), *arguments, folder=tmp_path)
    exact, greedy = map(float, output.splitlines()[-1].split()[1:3])
    assert 0.2 < exact <= greedy < 1.0


def test_the_binary_dictionary_is_an_estimator(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    from binary_factorisation import BinaryDictionary
    from sklearn.utils.estimator_checks import check_estimator

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # checks that are skipped
        check_estimator(BinaryDictionary(3, random_state=0, max_iter=3))


def test_ray_batches_are_those_of_one_process(tmp_path):
    """Where Ray is installed: it is large, and has no wheel for every Python."""
    pytest.importorskip("ray")
    command = [sys.executable, str(ROOT / "examples" / "ray_batches.py"), "300"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("True")
