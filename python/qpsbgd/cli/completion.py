"""``qpsbgd completion``: a script that completes commands, options and names in bash, zsh and fish.

The script is made of what the commands declare, and knows everything itself. So completing starts no Python,
which would take seconds where names come from modules of torch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qpsbgd.cli.arguments import NameAmong, Parser, Subparsers
from qpsbgd.cli.messages import one_line

__all__ = ["Argument", "Command", "add", "commands_of", "run"]

_DESCRIPTION = """\
Print a script that completes commands, options, file names and names of tasks and solvers.

  bash   qpsbgd completion bash > ~/.local/share/bash-completion/completions/qpsbgd
  zsh    qpsbgd completion zsh >> ~/.zshrc        after the line with compinit
  fish   qpsbgd completion fish > ~/.config/fish/completions/qpsbgd.fish

Print it again after an update: names that are new then are not in the old script.
"""


@dataclass(frozen=True)
class Argument:
    """An option with its names, or an argument without any; what its value is."""

    options: tuple[str, ...]
    values: tuple[str, ...] = ()
    is_file: bool = False
    takes_value: bool = True
    help: str = ""


@dataclass(frozen=True)
class Command:
    """A command and what it takes."""

    name: str
    help: str
    arguments: tuple[Argument, ...]

    @property
    def options(self) -> list[str]:
        """All of its options."""
        return [name for argument in self.arguments for name in argument.options]

    @property
    def positional(self) -> Argument:
        """What stands without an option: all such arguments in one."""
        those = [one for one in self.arguments if not one.options]
        values = tuple(value for one in those for value in one.values)
        return Argument((), values, is_file=any(one.is_file for one in those))


def add(commands: Subparsers) -> None:
    """Declare the command."""

    def declare(completion: Parser) -> None:
        completion.add_argument("shell", choices=list(_SHELLS), metavar="SHELL", help=", ".join(_SHELLS))
        completion.set_defaults(run=lambda arguments: run(arguments, commands))

    commands.add_parser(
        "completion",
        help="print a script that completes commands in a shell",
        description=_DESCRIPTION,
        declare=declare,
    )


def run(arguments: argparse.Namespace, commands: Subparsers) -> None:
    """Print the script."""
    print(_SHELLS[arguments.shell](commands_of(commands)))


def commands_of(commands: Subparsers) -> list[Command]:
    """Return what every command declares."""
    found = []
    for name, parser in commands.commands.items():
        try:
            parser.declare()
        except ModuleNotFoundError as error:  # its names are those of modules that are not there
            print(f"qpsbgd: options of {name} are left out: {one_line(error)}", file=sys.stderr)
        arguments = tuple(_argument(action, parser) for action in parser.declared)
        found.append(Command(name, commands.summaries[name], arguments))
    return found


def _argument(action: argparse.Action, parser: Parser) -> Argument:
    names = action.type.names if isinstance(action.type, NameAmong) else action.choices
    names = names or parser.offered.get(action.dest, ())
    return Argument(
        tuple(action.option_strings),
        tuple(map(str, names)),
        action.type is Path,
        action.nargs != 0,
        action.help or "",
    )


def _in_quotes(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _words(words: Sequence[str]) -> str:
    """Return words as bash and zsh read them, one a line."""
    return "$'" + "\\n".join(words) + "'"


_BASH = """\
# Completion of qpsbgd: made by "qpsbgd completion".
_qpsbgd() {
  local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" command="" place
  local IFS=$'\\n'
  if [ "$word" = "=" ]; then
    word=""
  elif [ "$before" = "=" ]; then
    before="${COMP_WORDS[COMP_CWORD-2]}"
  fi
  for ((place = 1; place < COMP_CWORD; place++)); do
    case "${COMP_WORDS[place]}" in
      -*) ;;
      *) command="${COMP_WORDS[place]}"; break ;;
    esac
  done
  COMPREPLY=()
  case "$command $before" in
%(values)s
  esac
  case "$command $word" in
%(options)s
  esac
}
complete -F _qpsbgd qpsbgd"""


def _bash(commands: Sequence[Command]) -> str:
    """Return the script for bash."""
    values, options = [], []
    for command in commands:
        for argument in command.arguments:
            if argument.options and argument.takes_value:
                place = "|".join(f'"{command.name} {option}"' for option in argument.options)
                values.append(f"    {place}) {_bash_values(argument)} return ;;")
        options.append(f'    "{command.name} -"*) {_compgen(command.options)} ;;')
        options.append(f'    "{command.name} "*) {_bash_values(command.positional)} ;;')
    options.append(f'    " "*) {_compgen([*(one.name for one in commands), "--help", "--version"])} ;;')
    return _BASH % {"values": "\n".join(values), "options": "\n".join(options)}


def _bash_values(argument: Argument) -> str:
    names = _compgen(argument.values) if argument.values else ""
    files = 'COMPREPLY+=($(compgen -f -- "$word")); compopt -o filenames 2>/dev/null;'
    return names + (files if argument.is_file else "") or ":;"


def _compgen(words: Sequence[str]) -> str:
    return f'COMPREPLY+=($(compgen -W {_words(words)} -- "$word"));'


def _zsh(commands: Sequence[Command]) -> str:
    """Return the script for zsh, which understands that of bash."""
    return f"autoload -U +X bashcompinit && bashcompinit\n{_bash(commands)}"


def _fish(commands: Sequence[Command]) -> str:
    """Return the script for fish: a line for each command and option."""
    lines = ['# Completion of qpsbgd: made by "qpsbgd completion".', "complete -c qpsbgd -f"]
    for command in commands:
        lines.append(
            f"complete -c qpsbgd -n __fish_use_subcommand -a {command.name} -d {_in_quotes(command.help)}"
        )
        start = f"complete -c qpsbgd -n '__fish_seen_subcommand_from {command.name}'"
        for argument in (*(one for one in command.arguments if one.options), command.positional):
            names = "".join(f" {_fish_option(option)}" for option in argument.options)
            offered = f" -a {_in_quotes(' '.join(argument.values))}" if argument.values else ""
            kind = " -F" if argument.is_file else " -x" if argument.options and argument.takes_value else ""
            told = f" -d {_in_quotes(argument.help)}" if argument.options else ""
            if names or offered or argument.is_file:
                lines.append(f"{start}{names}{kind}{offered}{told}")
    return "\n".join(lines)


def _fish_option(option: str) -> str:
    return f"-l {option[2:]}" if option.startswith("--") else f"-s {option[1:]}"


_SHELLS = {"bash": _bash, "zsh": _zsh, "fish": _fish}
"""Shell to what makes its script."""
