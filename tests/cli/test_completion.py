"""``qpsbgd completion``: what a shell offers for what was typed so far."""

import re
import shutil
import subprocess

import pytest

from qpsbgd.cli import main
from qpsbgd.cli.completion import Argument, Command, _fish


@pytest.fixture
def script(capsys):
    def make(shell):
        assert main(["completion", shell]) == 0
        return capsys.readouterr().out

    return make


COMPLETE = """
source ./script
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_qpsbgd
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def offered(tmp_path, script):
    """What bash offers for words; the last is the one that is being typed."""
    if shutil.which("bash") is None:
        pytest.skip("there is no bash")
    (tmp_path / "script").write_text(script("bash"))

    def complete(*words):
        done = subprocess.run(
            ["bash", "-c", COMPLETE, "bash", "qpsbgd", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        assert done.stderr == ""
        return done.stdout.split("\n")[:-1]

    return complete


def test_bash_completes_commands_options_names_and_files(offered, tmp_path):
    assert {"solve", "bench", "train", "--version"} <= set(offered(""))
    assert offered("so") == ["solve"]
    assert offered("train", "mnist-c") == ["mnist-cnn"]
    assert offered("train", "mnist", "--opt") == ["--optimizer"]
    assert offered("train", "mnist", "--optimizer", "binaryconnect-a") == ["binaryconnect-adam"]
    assert offered("solve", "a.txt", "--presolve", "o") == ["on", "off"]
    assert offered("solve", "--kind", "=", "max") == ["maxcut"]
    assert offered("solve", "--kind", "=") == ["qubo", "ising", "maxcut"]
    assert offered("bench", "a.txt", "--solver", "dwave-t") == ["dwave-tabu"]
    assert offered("solve", "a.txt", "--seed", "") == [""]  # a number
    (tmp_path / "my file.txt").touch()
    assert offered("solve", "my") == ["my file.txt"]
    assert offered("data", "cora", "my") == ["my file.txt"]
    assert offered("data", "co") == ["cora"]


def test_every_option_of_every_command_is_in_every_script(script, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")  # help does not break options at their hyphens
    made = {shell: script(shell) for shell in ("bash", "zsh", "fish")}
    for command in ("demo", "train", "report", "solve", "bench", "data", "completion", "info"):
        assert main([command, "--help"]) == 0
        for option in set(re.findall(r"--[a-z-]+", capsys.readouterr().out)):
            assert option in made["bash"]
            assert option in made["zsh"]
            assert f" -l {option[2:]} " in made["fish"] + " "


def test_names_and_help_cannot_end_the_quotes_of_a_script():
    command = Command("x", "it's", (Argument(("--a",), ("b",), help="don't"),))
    lines = _fish([command]).splitlines()
    assert lines[2].endswith(" -d 'it'\\''s'")
    assert lines[3] == ("complete -c qpsbgd -n '__fish_seen_subcommand_from x' -l a -x -a 'b' -d 'don'\\''t'")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_are_read_by_their_shells_without_an_error(shell, script, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    (tmp_path / "script").write_text(script(shell))
    done = subprocess.run([shell, "-n", "script"], cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


def test_unknown_shell_is_told_on_one_line(capsys):
    assert main(["completion", "csh"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "csh" in line
