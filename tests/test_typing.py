"""The scripts that type checkers see in `make lint` run, and the errors that they ignore are real ones."""

import runpy
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent / "typing"


@pytest.mark.parametrize("name", ["solve_script", "train_script"])
def test_a_users_script_runs(name, capsys):
    runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")
    last = capsys.readouterr().out.splitlines()[-1]
    assert "annealing" in last or "momentun" in last
