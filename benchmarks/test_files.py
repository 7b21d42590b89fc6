"""Reading instance files: our reader beside `numpy.loadtxt`, which checks and understands nothing."""

import numpy as np
import pytest

from harness import record
from qpsbgd.data.instances import read_instance

LINES = 1_000_000


@pytest.fixture(scope="module", params=["whole", "real"])
def file(request, tmp_path_factory):
    """A Max-Cut file of a million lines, with whole or real weights."""
    random = np.random.default_rng(0)
    places = random.integers(1, 20_001, size=(LINES, 2))
    weights = (
        random.integers(-9, 10, LINES) if request.param == "whole" else random.normal(size=LINES).round(6)
    )
    path = tmp_path_factory.mktemp("files") / f"{request.param}.txt"
    lines = [f"{i} {j} {w}" for (i, j), w in zip(places.tolist(), weights.tolist(), strict=True)]
    path.write_text("\n".join([f"20000 {LINES}", *lines]) + "\n")
    return path


@pytest.mark.benchmark(group="files")
def test_our_reader(benchmark, file):
    instance = benchmark.pedantic(read_instance, args=(file,), rounds=3)
    assert len(instance.values) == LINES
    record(benchmark, workload=f"file, {file.stem} weights", solver="qpsbgd", unit="file", equal_energy=False)


@pytest.mark.benchmark(group="files")
def test_loadtxt(benchmark, file):
    numbers = benchmark.pedantic(np.loadtxt, args=(file,), kwargs={"skiprows": 1}, rounds=3)
    assert numbers.shape == (LINES, 3)
    record(
        benchmark, workload=f"file, {file.stem} weights", solver="numpy loadtxt", peer=True, unit="file",
        equal_energy=False,
    )  # fmt: skip
