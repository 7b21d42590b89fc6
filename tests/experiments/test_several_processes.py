"""Several processes with one folder, and processes that are killed: no run is lost, doubled or mixed."""

import json
import multiprocessing as mp
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
import torch
import torch._dynamo  # optimizers import it when first used: once here, not in every process

from qpsbgd.cli import main
from qpsbgd.data.files import exclusive
from qpsbgd.experiments import CurvePoint, Run
from qpsbgd.experiments.core.store import Job, Record, Store, read_records
from toy_tasks import counted

TUNE = ["train", "digits", "--optimizer", "signsgd", "--tune", "--seeds", "2", "--steps", "2"]
RUNS = 16 * 3 + 2  # trials on three tuning seeds; then two seeds of the best

FORK: Any = mp.get_context("fork") if sys.platform == "linux" else None
forks = pytest.mark.skipif(sys.platform != "linux", reason="forks: torch does that on Linux only")
pytestmark = pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")


def command(folder, *arguments) -> None:
    """Run the command line in a process of its own, as a user does: it takes seconds to import torch."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    call = [sys.executable, "-m", "qpsbgd", *arguments, "--out", str(folder)]
    done = subprocess.run(call, capture_output=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr.decode()


def _run(arguments) -> None:
    torch.set_num_threads(1)
    sys.exit(main(arguments))


def start(folder, *arguments) -> Any:
    """Run the command line in a copy of this process, which has imported torch already."""
    process = FORK.Process(target=_run, args=([*arguments, "--out", str(folder)],))
    process.start()
    return process


def finish(process) -> None:
    process.join(120)
    assert process.exitcode == 0


def without_times(values: dict) -> dict:
    return {name: value for name, value in values.items() if not name.endswith(("seconds", "second"))}


def contents(folder) -> dict[str, object]:
    """All that the records, their weights and the results say, their times aside."""
    found: dict[str, object] = {}
    for path in sorted((folder / "records").glob("*.json")):
        record = json.loads(path.read_text())
        record["run"]["metrics"] = without_times(record["run"]["metrics"])
        found[path.name] = record
    results = json.loads((folder / "results.json").read_text())
    for one in results["runs"]:
        one["metrics"] = without_times(one["metrics"])
    found["results.json"] = results
    for path in sorted(folder.rglob("*.pt")):
        weights = torch.load(path, weights_only=True)
        found[str(path.relative_to(folder))] = {name: one.tolist() for name, one in weights.items()}
    return found


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    command(folder, *TUNE)
    return contents(folder)


@forks
def test_killed_tuning_goes_on_to_the_same_bits(tmp_path, uninterrupted):
    records = tmp_path / "records"
    for enough in (5, RUNS - 1):  # while it tunes; while it repeats over the seeds
        process = start(tmp_path, *TUNE)
        while len(list(records.glob("*.json"))) < enough and process.is_alive():
            time.sleep(0.002)
        process.kill()
        process.join()
    finish(start(tmp_path, *TUNE))
    assert contents(tmp_path) == uninterrupted
    assert len(list(records.glob("*.json"))) == RUNS


@forks
def test_two_processes_with_one_folder_give_what_one_gives(tmp_path, uninterrupted):
    both = [start(tmp_path, *TUNE) for _process in range(2)]
    for process in both:
        finish(process)
    assert contents(tmp_path) == uninterrupted
    assert len(read_records(tmp_path)) == RUNS
    assert [path for path in tmp_path.rglob(".*") if path.name != ".lock"] == []


def finished(job: Job, value: float) -> Record:
    curve = (CurvePoint(1, {"loss": value}),)
    return Record.of(job, Run(job.seed, {"value": value}, curve, {"w": torch.tensor([value])}))


def test_of_two_that_finish_one_run_the_first_counts_with_its_weights(tmp_path):
    """Also where a run is not repeatable, so that a mixture would show."""
    job = Job(counted(), "a", {"lr": 1}, 0, "test")
    stores = [Store(tmp_path, keep_weights=True) for _thread in range(8)]
    kept = {}

    def keep(index: int) -> None:
        kept[index] = stores[index].keep(job, finished(job, float(index)))

    threads = [threading.Thread(target=keep, args=(index,)) for index in range(len(stores))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = stores[0].find(job)
    value = found.run.metrics["value"]
    assert found.run.weights["w"].item() == value
    assert [kept[index].run.metrics["value"] for index in range(len(stores))] == [value] * len(stores)


def test_weights_that_another_process_wrote_before_it_was_killed_are_not_taken(tmp_path):
    job = Job(counted(), "a", {"lr": 1}, 0, "test")
    store = Store(tmp_path, keep_weights=True)
    store.keep(job, finished(job, 1.0))
    (path,) = (tmp_path / "records").glob("*.pt")
    torch.save({"w": torch.tensor([2.0])}, path)
    assert store.find(job) is None


@forks
def test_outputs_are_written_under_the_lock_of_their_folder(tmp_path):
    arguments = ["train", "digits", "--optimizer", "signsgd", "--steps", "1"]
    with exclusive(tmp_path):
        process = start(tmp_path, *arguments)
        while not list(tmp_path.glob("records/*.json")) and process.is_alive():
            time.sleep(0.01)
        time.sleep(0.3)
        assert process.is_alive()
        assert not (tmp_path / "results.json").exists()
    finish(process)
    assert (tmp_path / "results.json").exists()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL")
def test_lock_of_a_killed_process_is_free(tmp_path):
    program = (
        "import sys, time; from qpsbgd.data.files import exclusive\n"
        f"with exclusive({str(tmp_path)!r}): print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with exclusive(tmp_path):
        pass
