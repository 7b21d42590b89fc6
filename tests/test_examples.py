"""The programs in examples/ run, and reach what they should."""

import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run_python(*arguments: str, folder: Path) -> str:
    """Standard output of a fresh interpreter that has to succeed without a warning."""
    finished = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # idle OpenMP threads spin: no gain for small layers
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
