"""Files that are broken on purpose, through the program: an answer or one line, never a traceback."""

import pytest

from mutations import mutated_bytes, mutated_text
from qpsbgd.cli import main
from qpsbgd.cli.messages import one_line

SOLVE = ["--num-sweeps", "2", "--threads", "1", "--seed", "1"]
GOOD = "5 4\n1 1 -3\n1 2 5\n3 5 -2.5\n4 5 1e3\n"


@pytest.mark.parametrize("suffix", [".sparse", ".txt"])
def test_mutated_instance_is_solved_or_refused_on_one_line(tmp_path, capsys, suffix):
    path = tmp_path / f"x{suffix}"
    seen = set()
    for seed in range(100):
        broken = mutated_bytes(GOOD.encode(), seed) if seed % 2 else mutated_text(GOOD, seed).encode()
        path.write_bytes(broken)
        status = main(["solve", str(path), *SOLVE])
        output, errors = capsys.readouterr()
        seen.add(status)
        if status == 0:
            assert "energy" in output
            continue
        (line,) = errors.splitlines()
        assert line.startswith("qpsbgd: error: ")
        assert line.isprintable()
        assert str(path) in line
    assert seen == {0, 1}


@pytest.mark.parametrize("value", ["1e308", "-1e308", "4e307", "1e300", "1e-320", "5e-324", "1e39", "0"])
@pytest.mark.parametrize("suffix", [".sparse", ".txt"])
def test_instance_of_extreme_values_is_solved_or_refused_on_one_line(tmp_path, capsys, value, suffix):
    path = tmp_path / f"x{suffix}"
    path.write_text(f"3 3\n1 2 {value}\n2 3 1\n1 3 {value}\n")
    status = main(["solve", str(path), *SOLVE])
    output, errors = capsys.readouterr()
    assert ("energy" in output) if status == 0 else len(errors.splitlines()) == 1


def test_thirteen_bytes_do_not_ask_for_gigabytes(tmp_path, capsys):
    path = tmp_path / "x.sparse"
    path.write_text("1000000000 0\n")
    assert path.stat().st_size == 13
    assert main(["solve", str(path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"qpsbgd: error: {path}, line 1: the header states '1000000000' variables, expected at most 1048576"
    )


def test_lack_of_memory_is_one_line(monkeypatch, capsys):
    def greedy(_arguments):
        raise MemoryError

    monkeypatch.setattr("qpsbgd.cli.info.run", greedy)
    assert main(["info"]) == 1
    assert capsys.readouterr().err == "qpsbgd: error: there is not enough memory\n"


def test_message_without_text_names_its_type():
    assert one_line(OSError()) == "OSError"
