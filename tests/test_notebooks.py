"""The notebooks of examples/ run from top to bottom, and are kept without outputs."""

import json
import re
from pathlib import Path

import pytest

from notebooks import code_cells, run_cells
from qpsbgd.problem import Solutions

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


def test_there_is_a_notebook_to_train_and_one_to_solve():
    assert [path.name for path in NOTEBOOKS] == ["solve.ipynb", "train.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_are_kept_without_outputs(path):
    for cell in code_cells(path):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
    content = json.loads(path.read_text(encoding="utf-8"))
    identifiers = [cell["id"] for cell in content["cells"]]
    assert len(set(identifiers)) == len(identifiers)
    assert content["cells"][0]["source"][0].startswith("# ")
    assert path.read_text(encoding="utf-8") == json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def test_notebook_that_solves(capsys):
    shown = run_cells(EXAMPLES / "solve.ipynb")
    (solutions,) = [value for value in shown if isinstance(value, Solutions)]
    assert solutions.samples.shape == (10, 4, 100)
    assert "<table>" in solutions._repr_html_()
    assert shown[-2] is True  # the proof
    assert "weigh 15.0 value 36.0" in capsys.readouterr().out


def test_notebook_that_trains(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run_cells(EXAMPLES / "train.ipynb")
    output = capsys.readouterr().out
    assert float(re.findall(r"test accuracy (0\.\d+)", output)[0]) > 0.93
    assert {path.name for path in tmp_path.iterdir()} == {"digits.safetensors", "qubos.png"}
