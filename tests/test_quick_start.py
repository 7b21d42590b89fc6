"""The quick start is a transcript: its commands run, and print what the page shows."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "start.md"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"-?\d+(\.\d+)*(e[-+]?\d+)?")
VARYING = re.compile(r"seconds |qpsbgd \d|accuracy")
"""Lines whose numbers depend on the machine or the version."""


def commands(page: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each command of the console blocks, and the lines that it prints."""
    for block in BLOCK.findall(page):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            first, *lines = part.splitlines()
            more = [line for line in lines if line.startswith(">")]
            assert lines[: len(more)] == more, "'>' goes on with a command: before anything is printed"
            yield "\n".join([first, *(line[2:] for line in more)]) + "\n", lines[len(more) :]


def comparable(lines: list[str]) -> list[str]:
    return [
        NUMBER.sub("0", " ".join(line.split())) if VARYING.search(line) else line.rstrip() for line in lines
    ]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """One in which `python` and `qpsbgd` are those of the tests."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, command in {"python": "", "qpsbgd": "-m qpsbgd"}.items():
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -W error {command} "$@"\n')
        program.chmod(0o755)
    return {**os.environ, "PATH": f"{programs}{os.pathsep}{os.defpath}", "OMP_NUM_THREADS": "1"}


@pytest.mark.skipif(os.name == "nt", reason="the commands are those of a POSIX shell")
def test_every_command_prints_what_the_page_shows(environment, tmp_path):
    found = list(commands(PAGE.read_text(encoding="utf-8")))
    assert len(found) > 6
    for command, shown in found:
        ended = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert (ended.returncode, ended.stderr) == (0, ""), command
        assert comparable(ended.stdout.splitlines()) == comparable(shown), command


def test_other_output_is_seen():
    page = "```console\n$ cat <<END\n> a\n> END\na\n$ true\n```\n"
    assert list(commands(page)) == [("cat <<END\na\nEND\n", ["a"]), ("true\n", [])]
    assert comparable(["seconds  0.12", "cut 12"]) == comparable(["seconds 3", "cut 12 "])
    assert comparable(["cut 12"]) != comparable(["cut 13"])
