"""A disk that is full, limited or read-only: one line, the old files intact, the finished runs kept."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from qpsbgd.cli import main
from qpsbgd.data.files import atomic_write
from qpsbgd.experiments.core.store import read_records
from small_disk import remount, small_disk

TRAIN = ["train", "digits", "--optimizer", "signsgd", "--steps", "1"]
OLD = b"the content before"

posix_only = pytest.mark.skipif(os.name != "posix", reason="limits as POSIX has them")


def error_lines(text: str) -> list[str]:
    """What a command printed as errors, beside the lines about finished runs."""
    return [line for line in text.splitlines() if not line.startswith("digits, signsgd, seed")]


def temporaries(folder) -> list[Path]:
    return [path for path in folder.rglob(".*") if path.name != ".lock"]


def is_finished(content: bytes) -> bool:
    return content == OLD or json.loads(content)["optimizer"] == "signsgd"


@pytest.mark.parametrize("kilobytes", [4, 12, 80, 96, 200, 280, 340])
def test_training_on_a_full_disk_is_one_line_and_loses_nothing(tmp_path, capsys, kilobytes):
    """Weights have 78 KB, a record 1 KB, a plot some 40 KB: each size is full at another file."""
    with small_disk(tmp_path / "disk", kilobytes) as disk:
        (disk / "results.json").write_bytes(OLD)
        status = main([*TRAIN, "--seeds", "2", "--out", str(disk)])
        printed = capsys.readouterr()
        lines = error_lines(printed.err)
        assert len(lines) == status == 1, printed.err
        assert "No space left on device" in lines[0]
        assert str(disk) in lines[0]
        assert is_finished((disk / "results.json").read_bytes())
        assert temporaries(disk) == []
        finished = len(printed.err.splitlines()) - 1
        if finished:
            assert len(read_records(disk)) == finished

        remount(disk, "size=4m")
        assert main([*TRAIN, "--seeds", "2", "--out", str(disk)]) == 0
        done_again = capsys.readouterr().err.splitlines()
        assert len(done_again) == 2 - finished  # what was finished is not done again
        assert json.loads((disk / "results.json").read_bytes())["optimizer"] == "signsgd"


def test_table_is_printed_although_nothing_more_can_be_written(tmp_path, capsys, monkeypatch):
    def full(*_arguments):
        raise OSError(28, "No space left on device", "results.json")

    monkeypatch.setattr("qpsbgd.experiments.core.results.Result.write", full)
    assert main([*TRAIN, "--out", str(tmp_path)]) == 1
    assert "| signsgd " in capsys.readouterr().out


def test_read_only_folder_is_an_error_before_anything_is_trained(tmp_path, capsys):
    with small_disk(tmp_path / "disk", 1000) as disk:
        (disk / "results.json").write_bytes(OLD)
        remount(disk, "ro")
        assert main([*TRAIN, "--out", str(disk)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert "Read-only file system" in line
        assert str(disk) in line
        assert (disk / "results.json").read_bytes() == OLD


@pytest.mark.parametrize("command", [TRAIN, ["demo", "--steps", "1", "--seeds", "1"]], ids=["train", "demo"])
def test_folder_that_is_a_file_is_an_error_before_anything_is_trained(tmp_path, capsys, command):
    (tmp_path / "taken").write_bytes(OLD)
    assert main([*command, "--out", str(tmp_path / "taken")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "taken" in line
    assert (tmp_path / "taken").read_bytes() == OLD


def run_with_file_limit(arguments: list[str], size: int) -> subprocess.CompletedProcess[str]:
    """Run the program, whose files may have that many bytes."""
    program = (
        "import resource, sys; import torch, matplotlib.figure, sklearn; from qpsbgd.cli import main;"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}));"
        f"sys.exit(main({arguments!r}))"
    )
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)


@posix_only
@pytest.mark.parametrize("size", [2000, 20_000], ids=["not even a probe", "no weights"])
def test_limit_on_file_sizes_is_one_line(tmp_path, size):
    (tmp_path / "results.json").write_bytes(OLD)
    done = run_with_file_limit([*TRAIN, "--out", str(tmp_path)], size)
    assert done.returncode == 1
    (line,) = error_lines(done.stderr)
    assert line.startswith("qpsbgd: error: ")
    assert "File too large" in line
    assert str(tmp_path) in line
    assert (tmp_path / "results.json").read_bytes() == OLD
    assert temporaries(tmp_path) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_output_to_a_full_disk_is_one_line():
    program = [sys.executable, "-m", "qpsbgd", "info"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr == "qpsbgd: error: [Errno 28] No space left on device\n"


def test_error_of_a_full_disk_names_the_file_that_was_to_be_written(tmp_path):
    with small_disk(tmp_path / "disk", 16) as disk:
        (disk / "ours").write_bytes(OLD)
        with pytest.raises(OSError, match="No space left") as caught, atomic_write(disk / "ours") as file:
            file.write(bytes(100_000))
        assert caught.value.filename == str(disk / "ours")
        assert (disk / "ours").read_bytes() == OLD
        assert temporaries(disk) == []
