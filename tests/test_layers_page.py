"""The programs in docs/layers.md run."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "layers.md"
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("number", range(3))
def test_program_of_the_page_runs(number, capsys):
    exec(compile(PROGRAMS[number], f"{PAGE}, program {number + 1}", "exec"), {})
    printed = capsys.readouterr().out
    if number == 1:
        assert float(printed) > 0.9


def test_page_has_no_other_programs():
    assert len(PROGRAMS) == 3
