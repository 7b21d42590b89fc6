"""The command line, called as users call it: output, files, exit status."""

import json
import os
import re
import signal
import sys
import threading
import time

import pytest
import torch

from qpsbgd.cli import main

PNG = b"\x89PNG"


@pytest.fixture
def qubo_file(tmp_path):
    path = tmp_path / "small.sparse"
    path.write_text("3 3\n1 1 -3\n1 2 5\n3 3 -2\n")
    return path


@pytest.fixture
def cut_file(tmp_path):
    path = tmp_path / "triangle.txt"
    path.write_text("3 3\n1 2 1\n2 3 1\n1 3 1\n")
    return path


def test_demo_prints_table_and_accuracy_and_draws_curves(tmp_path, capsys):
    assert main(["demo", "--seeds", "1", "--steps", "3", "--out", str(tmp_path / "demo")]) == 0
    lines = capsys.readouterr().out.splitlines()
    for optimizer in ("qpsbgd", "binaryconnect-adam", "signsgd"):
        assert any(line.startswith(f"| {optimizer} ") for line in lines)
        assert json.loads((tmp_path / "demo" / f"{optimizer}.json").read_text())["optimizer"] == optimizer
    assert re.fullmatch(r"test accuracy: 0\.\d{4}", lines[-1])
    assert (tmp_path / "demo" / "curves.png").read_bytes().startswith(PNG)


def test_train_writes_results_plot_and_weights(tmp_path, capsys):
    folder = tmp_path / "out"
    arguments = ["train", "digits", "--optimizer", "binaryconnect-sgd", "--seeds", "2", "--steps", "3"]
    assert main([*arguments, "--out", str(folder)]) == 0
    results = json.loads((folder / "results.json").read_text())
    assert (results["task"], results["optimizer"]) == ("digits", "binaryconnect-sgd")
    assert [one["seed"] for one in results["runs"]] == [0, 1]
    assert results["runs"][0]["curve"][-1]["step"] == 3
    assert (folder / "curves.png").read_bytes().startswith(PNG)
    for seed in (0, 1):
        weights = torch.load(folder / f"weights-seed{seed}.pt", weights_only=True)
        assert weights["0.weight"].shape == (256, 64)
    mean = sum(one["metrics"]["test_accuracy"] for one in results["runs"]) / 2
    assert capsys.readouterr().out.splitlines()[-1] == f"test accuracy: {mean:.4f}"


def test_train_goes_on_with_finished_runs_and_keeps_their_weights(tmp_path, capsys):
    arguments = ["train", "digits", "--steps", "2", "--out", str(tmp_path)]
    assert main(arguments) == 0
    first = capsys.readouterr()
    before = (tmp_path / "weights-seed0.pt").read_bytes()
    (tmp_path / "weights-seed0.pt").unlink()
    assert main([*arguments, "--seeds", "2"]) == 0
    second = capsys.readouterr()
    assert [line.split(":")[0] for line in second.err.splitlines()] == ["digits, qpsbgd, seed 1"]
    assert torch.load(tmp_path / "weights-seed0.pt", weights_only=True).keys()
    assert len((tmp_path / "weights-seed0.pt").read_bytes()) == len(before)
    assert first.err.startswith("digits, qpsbgd, seed 0: test accuracy 0.")


def test_train_tunes_several_optimizers_and_report_shows_them(tmp_path, capsys):
    names = ["--optimizer", "qpsbgd", "--optimizer", "bop"]
    arguments = ["train", "digits", *names, "--tune", "--seeds", "1", "--steps", "1", "--out", str(tmp_path)]
    assert main(arguments) == 0
    output = capsys.readouterr()
    assert len(output.err.splitlines()) == 2 * (16 * 3 + 1)
    assert [one["optimizer"] for one in json.loads((tmp_path / "results.json").read_text())] == names[1::2]
    assert (tmp_path / "digits.png").read_bytes().startswith(PNG)
    assert main(["report", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "<td>qpsbgd</td>" in page
    assert "Tuning: 32 settings" in page
    assert capsys.readouterr().out == f"report: {tmp_path / 'report.html'}\n"


def test_experiment_of_several_tasks_runs_them_all(tmp_path, capsys):
    arguments = ["train", "depth", "--optimizer", "signsgd", "--steps", "1", "--seeds", "1"]
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    tasks = [one["task"] for one in json.loads((tmp_path / "results.json").read_text())]
    assert tasks == ["depth-2", "depth-4", "depth-8", "depth-16", "depth-32"]


def test_report_of_a_folder_without_runs_is_one_line(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "no finished runs" in line
    assert main(["report", str(tmp_path / "absent")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("absent is no folder")


@pytest.mark.parametrize("others", [["train", "digits", "--optimizer", "bop"], ["train", "rosenbrock"]])
def test_results_of_another_command_are_not_overwritten(tmp_path, capsys, others):
    common = ["--steps", "1", "--out", str(tmp_path)]
    assert main(["train", "digits", "--optimizer", "signsgd", *common]) == 0
    names = ("results.json", "curves.png", "weights-seed0.pt")
    before = {name: (tmp_path / name).read_bytes() for name in names}
    capsys.readouterr()
    assert main([*others, *common]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "results.json has the results of signsgd on digits; give another --out" in line
    assert {name: (tmp_path / name).read_bytes() for name in names} == before
    # More of the same replaces what was there.
    assert (
        main(["train", "digits", "--optimizer", "signsgd", "--optimizer", "bop", *common, "--seeds", "1"])
        == 0
    )
    assert "(1 finished run was there before)" in capsys.readouterr().out


def test_tuning_tells_what_it_chose_and_what_it_could_not(tmp_path, capsys):
    arguments = ["train", "karate", "--tune", "--optimizer", "signsgd", "--seeds", "1", "--steps", "1"]
    assert main([*arguments, "--out", str(tmp_path / "a")]) == 0
    assert "karate, signsgd: " in capsys.readouterr().out
    arguments[1] = "digits"
    assert main([*arguments, "--out", str(tmp_path / "b")]) == 0
    assert re.search(
        r"^digits, signsgd: .*lr=.*\(the best of 16 trials.*\)$", capsys.readouterr().out, re.MULTILINE
    )


def test_one_seed_has_no_spread(tmp_path, capsys):
    assert main(["train", "digits", "--steps", "1", "--out", str(tmp_path)]) == 0
    assert "±" not in capsys.readouterr().out


def test_name_that_is_nearly_right_is_answered_with_it(capsys):
    assert main(["train", "mnits"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "did you mean mnist" in line
    assert len(line) < 200


def test_data_folder_that_is_not_there_is_not_made(tmp_path, capsys):
    assert (
        main(["train", "digits", "--data-dir", str(tmp_path / "typo"), "--out", str(tmp_path / "out")]) == 2
    )
    (line,) = capsys.readouterr().err.splitlines()
    assert "typo is no folder" in line
    assert not list(tmp_path.iterdir())


def test_train_names_the_corrupt_data_file(tmp_path, capsys):
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(b"damaged")
    assert main(["train", "mnist", "--data-dir", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "train-images-idx3-ubyte.gz is corrupt" in line


@pytest.mark.parametrize("method", ["auto", "exact", "descent", "anneal", "tabu"])
def test_solve_prints_energy_and_time(qubo_file, capsys, method):
    assert main(["solve", str(qubo_file), "--method", method, "--num-sweeps", "20", "--num-reads", "8"]) == 0
    output = capsys.readouterr().out
    assert re.search(r"^energy +-5$", output, re.MULTILINE)
    assert re.search(r"^seconds +\d+\.\d+$", output, re.MULTILINE)
    assert "gap" not in output


def test_solve_prints_the_gap_to_the_best_known_value(cut_file, capsys):
    table = {"instances": {"triangle.txt": {"best_known": 4, "status": "invented"}}}
    (cut_file.parent / "best_known.json").write_text(json.dumps(table))
    assert main(["solve", str(cut_file), "--time-limit", "0.1"]) == 0
    output = capsys.readouterr().out
    assert re.search(r"^cut +2$", output, re.MULTILINE)
    assert re.search(r"^gap +50\.0000 %$", output, re.MULTILINE)


def test_solve_as_json_gives_the_sample(cut_file, capsys):
    assert main(["solve", str(cut_file), "--json", "--threads", "1", "--num-sweeps", "10"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["cut"] == 2
    assert sorted(set(facts["sample"])) == [-1, 1]
    assert facts["trace"][-1][1] == facts["energy"]


def test_solve_stops_at_its_target_and_is_silent_in_a_pipe(tmp_path, capsys):
    write_complete_bipartite_graph(tmp_path / "k20.txt", 20)
    command = ["solve", str(tmp_path / "k20.txt"), "--time-limit", "60", "--target"]
    started = time.perf_counter()
    assert main([*command, "-200"]) == 0
    assert time.perf_counter() - started < 30
    assert capsys.readouterr().err == ""
    assert main([*command, "low"]) == 2
    assert "--target" in capsys.readouterr().err


def write_complete_bipartite_graph(path, side: int) -> None:
    edges = [f"{i + 1} {side + j + 1} 1" for i in range(side) for j in range(side)]
    path.write_text("\n".join([f"{2 * side} {len(edges)}", *edges]) + "\n")


def test_solve_stops_at_its_time_limit(tmp_path, capsys):
    write_complete_bipartite_graph(tmp_path / "k20.txt", 20)
    assert main(["solve", str(tmp_path / "k20.txt"), "--time-limit", "0.2", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["cut"] == 400
    assert facts["seconds"] < 2


def test_info_shows_core_and_optional_parts(capsys):
    assert main(["info"]) == 0
    output = capsys.readouterr().out
    for name in ("qpsbgd", "compiler", "hardware threads", "instruction set", "scikit-learn", "dwave-system"):
        assert re.search(rf"^{name} +\S", output, re.MULTILINE), name


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["solve", "--help"], ["train", "--help"], ["report", "--help"]]
)
def test_help_succeeds(arguments, capsys):
    assert main(arguments) == 0
    assert "qpsbgd" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["train"],
        ["train", "cifar"],
        ["train", "digits", "--optimizer", "adam"],
        ["train", "digits", "--seeds", "0"],
        ["train", "digits", "--steps", "many"],
        ["report"],
        ["solve"],
        ["solve", "x.txt", "--method", "guess"],
        ["solve", "x.txt", "--seed", "-1"],
        ["solve", "x.txt", "--time-limit", "0"],
        ["solve", "x.txt", "--time-limit", "soon"],
    ],
    ids=" ".join,
)
def test_bad_use_is_one_line_and_status_2(arguments, capsys):
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("qpsbgd: error: ")


@pytest.mark.parametrize("content", [None, "3 1\n1 9 1\n"], ids=["missing", "malformed"])
def test_unreadable_instance_is_one_line_and_status_1(tmp_path, capsys, content):
    if content is not None:
        (tmp_path / "x.txt").write_text(content)
    assert main(["solve", str(tmp_path / "x.txt")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "x.txt" in line


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
def test_interrupt_ends_with_status_130_and_no_traceback(tmp_path, capsys):
    write_complete_bipartite_graph(tmp_path / "k50.txt", 50)
    interrupt = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    interrupt.start()
    started = time.monotonic()
    assert main(["solve", str(tmp_path / "k50.txt"), "--time-limit", "60"]) == 130
    assert time.monotonic() - started < 5
    output = capsys.readouterr()
    assert output.err == "qpsbgd: interrupted\n"
    assert re.search(r"^cut +2500$", output.out, re.MULTILINE)  # the best found so far is not lost
