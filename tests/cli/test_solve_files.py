"""``qpsbgd solve`` on folders, on standard input, and into a file of results."""

import io
import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from qpsbgd.cli import main
from qpsbgd.data.json_lines import JsonLines
from qpsbgd.data.reading import BrokenFileError

TRIANGLE = "3 3\n1 2 1\n2 3 1\n1 3 1\n"
QUICK = ["--num-sweeps", "5", "--threads", "1"]


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "instances"
    made.mkdir()
    (made / "b.txt").write_text(TRIANGLE)
    (made / "a.sparse").write_text("2 2\n1 1 -3\n1 2 5\n")
    (made / "c.TXT").write_text("2\n2 1\n1 1 3\n3 2\n1 2 5\n3 3 -1\n")
    (made / "README.md").write_text("no instance")
    return made


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_folder_gives_one_line_of_json_for_each_instance(folder, capsys):
    assert main(["solve", str(folder), "--json", *QUICK]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["instance"] for one in found] == ["a", "b", "c-1", "c-2"]
    assert [one["energy"] for one in found] == [-3.0, -1.0, -3.0, -10.0]
    assert [one["proven"] for one in found] == [True] * 4


def test_results_are_kept_and_not_solved_again(folder, tmp_path, capsys):
    out = tmp_path / "new" / "results.jsonl"
    command = ["solve", str(folder), "--out", str(out), "--json", *QUICK]
    assert main(command) == 0
    first = lines_of(out)
    assert len(first) == 4
    capsys.readouterr()
    assert main(command) == 0
    assert capsys.readouterr().out == ""
    assert lines_of(out) == first
    assert main([*command, "--seed", "1"]) == 0  # another setting is another result
    assert len(lines_of(out)) == 8


def test_a_result_that_was_cut_off_is_solved_again(folder, tmp_path):
    out = tmp_path / "results.jsonl"
    command = ["solve", str(folder), "--out", str(out), *QUICK]
    assert main(command) == 0
    whole = out.read_text()
    out.write_text(whole[:-20])
    assert main(command) == 0
    again = lines_of(out)
    assert [one["instance"] for one in again] == ["a", "b", "c-1", "c-2"]


def test_files_that_cannot_be_read_are_named_and_the_others_solved(folder, capsys):
    (folder / "aa.txt").write_text("3 1\n1 9 1\n")
    assert main(["solve", str(folder), "--json", *QUICK]) == 1
    output = capsys.readouterr()
    assert len(output.out.splitlines()) == 4
    refusal, end = output.err.splitlines()
    assert "aa.txt, line 2: found '1 9 1'" in refusal
    assert end == "qpsbgd: error: 1 of 4 files could not be solved"


def test_a_folder_without_instances_is_bad_use(tmp_path, capsys):
    assert main(["solve", str(tmp_path)]) == 2
    assert "holds no instance files" in capsys.readouterr().err


def test_standard_input_is_read(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TRIANGLE.encode())))
    assert main(["solve", "-", "--kind", "maxcut", "--json", *QUICK]) == 0
    assert json.loads(capsys.readouterr().out)["cut"] == 2
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TRIANGLE.encode())))
    assert main(["solve", "-"]) == 1
    assert "standard input has no ending" in capsys.readouterr().err


def test_the_text_tells_method_and_proof(folder, capsys):
    assert main(["solve", str(folder / "b.txt"), *QUICK]) == 0
    words = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert (words["method"], words["proven"]) == ("exact", "yes")


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
def test_an_interrupted_folder_keeps_what_is_done_and_the_best_so_far(folder, tmp_path, capsys):
    edges = [f"{i + 1} {50 + j + 1} 1" for i in range(50) for j in range(50)]
    (folder / "b.txt").write_text("\n".join([f"100 {len(edges)}", *edges]) + "\n")
    out = tmp_path / "results.jsonl"
    interrupt = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    interrupt.start()
    assert main(["solve", str(folder), "--out", str(out), "--time-limit", "30", "--json"]) == 130
    kept = lines_of(out)
    assert [(one["instance"], one.get("interrupted", False)) for one in kept] == [("a", False), ("b", True)]
    assert len(kept[1]["sample"]) == 100
    assert kept[1]["cut"] == 2500
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["instance"], one.get("cut")) for one in shown] == [("a", None), ("b", 2500)]

    # What was cut short is done again, with what is done left alone.
    interrupt = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    interrupt.start()
    assert main(["solve", str(folder), "--out", str(out), "--time-limit", "30", "--json"]) == 130
    assert [one["instance"] for one in lines_of(out)] == ["a", "b", "b"]


def test_lines_of_two_processes_do_not_mix(tmp_path):
    program = (
        "import sys; from qpsbgd.data.json_lines import JsonLines\n"
        "for k in range(30):\n"
        "    with JsonLines(sys.argv[1]) as lines:\n"
        "        lines.add({'who': sys.argv[2], 'text': 'x' * 5000})\n"
    )
    path = tmp_path / "results.jsonl"
    processes = [subprocess.Popen([sys.executable, "-c", program, str(path), who]) for who in "ab"]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    assert sorted(one["who"] for one in lines_of(path)) == ["a"] * 30 + ["b"] * 30


def test_a_broken_line_within_is_refused_and_stays(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text('{"a": 1}\nbroken\n{"a": 2}\n')
    with pytest.raises(BrokenFileError, match="line 2: it is no JSON object"), JsonLines(path):
        pass
    assert path.read_text() == '{"a": 1}\nbroken\n{"a": 2}\n'
