"""Plots are optional: without matplotlib the figures are printed and written all the same."""

import json
import sys

import pytest

from qpsbgd.cli import main


@pytest.fixture(autouse=True)
def _no_matplotlib(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)


def run(capsys, *arguments):
    assert main([str(one) for one in arguments]) == 0
    printed = capsys.readouterr()
    lines = printed.err.splitlines()
    assert lines[0] == "qpsbgd: plots need matplotlib and are left out: pip install 'qpsbgd[plots]'"
    assert not any("matplotlib" in line for line in lines[1:])
    return printed.out.splitlines()


def test_one_optimizer(tmp_path, capsys):
    lines = run(capsys, "train", "digits", "--optimizer", "signsgd", "--steps", 1, "--out", tmp_path)
    assert any(line.startswith("| signsgd ") for line in lines)
    assert lines[-1].startswith("test accuracy: 0.")
    assert json.loads((tmp_path / "results.json").read_text())["optimizer"] == "signsgd"
    assert (tmp_path / "weights-seed0.pt").exists()
    assert not list(tmp_path.rglob("*.png"))


def test_experiment_with_an_axis(tmp_path, capsys):
    arguments = ["train", "depth", "--optimizer", "signsgd", "--steps", 1, "--seeds", 1]
    lines = run(capsys, *arguments, "--out", tmp_path)
    assert sum(line.startswith("| signsgd ") for line in lines) >= 6  # five tasks and the table of all
    assert len(json.loads((tmp_path / "results.json").read_text())) == 5


def test_demo(tmp_path, capsys):
    lines = run(capsys, "demo", "--steps", 1, "--seeds", 1, "--out", tmp_path)
    assert any(line.startswith("| qpsbgd ") for line in lines)
    assert len(list(tmp_path.glob("*.json"))) == 3
