"""``--help`` teaches: each command shows commands that work, and what its exit status means."""

import re

import pytest

from qpsbgd.cli import main

COMMANDS = ("demo", "train", "report", "solve", "bench", "data", "completion", "info")


def help_of(capsys, *words):
    assert main([*words, "--help"]) == 0
    return capsys.readouterr().out


def test_every_command_is_listed(capsys):
    listed = re.findall(r"^    (\w+)", help_of(capsys), re.MULTILINE)
    assert set(COMMANDS) <= set(listed)


@pytest.mark.parametrize("command", [(), *((one,) for one in COMMANDS)])
def test_every_help_ends_with_what_the_exit_status_means(capsys, command):
    last = help_of(capsys, *command).rstrip().splitlines()[-1]
    assert last == "exit status: 0; 1 if the command failed; 2 if it was not understood; 130 after Ctrl-C"


def examples(text):
    """The commands of a help: what follows ``qpsbgd``, up to three spaces or the end."""
    lines = re.findall(r"^  (?:\w+ \S+ \| |\w+ +)?qpsbgd (.*?)(?: {2,}.*)?$", text, re.MULTILINE)
    return [line.split(" > ")[0].split(" >> ")[0].split() for line in lines]


@pytest.mark.parametrize("command", [(), *((one,) for one in COMMANDS if one != "info")])
def test_examples_of_a_help_are_commands_that_are_understood(capsys, monkeypatch, command):
    text = help_of(capsys, *command)
    found = [words for words in examples(text) if words[0] != "COMMAND"]
    assert found
    for words in found:
        monkeypatch.setattr("qpsbgd.cli.program.Parser.parse_args", parse_only)
        with pytest.raises(UnderstoodError):
            main(words)
        monkeypatch.undo()


class UnderstoodError(Exception):
    """The command line was read without an error."""


def parse_only(self, argv):
    rest = self.parse_known_args(argv)[1]
    assert rest == []
    raise UnderstoodError
