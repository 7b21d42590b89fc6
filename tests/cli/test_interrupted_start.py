"""Ctrl-C while a command starts, that is while Python imports: one line and status 130, no traceback."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
import qpsbgd

class Interrupt:
    imports = int(sys.argv[1])

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != "qpsbgd.cli":  # the script of the command imports this one
            if cls.imports == 0:
                raise KeyboardInterrupt
            cls.imports -= 1

sys.meta_path.insert(0, Interrupt)
from qpsbgd.cli import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("imports", [0, 1, 5, 12])
@pytest.mark.parametrize("command", ["--version", "info"])
def test_interrupt_of_any_import_is_one_line(imports, command):
    run = [sys.executable, "-c", PROGRAM, str(imports), command]
    done = subprocess.run(run, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "qpsbgd: interrupted\n")
