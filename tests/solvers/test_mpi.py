"""Batches on the ranks of MPI: one that hands out the parts, two that solve them."""

import importlib.util
import os
import shutil
import subprocess
import sys

import pytest

MPI = shutil.which("mpiexec")

pytestmark = [
    pytest.mark.skipif(MPI is None, reason="there is no mpiexec (on Debian: apt-get install openmpi-bin)"),
    pytest.mark.skipif(importlib.util.find_spec("mpi4py") is None, reason="mpi4py is not installed"),
]

PROGRAM = """
import os
import numpy as np
from mpi4py.futures import MPIPoolExecutor
from qpsbgd import solve_ising, solve_stream
from qpsbgd.problem import ising_problem
from qpsbgd.solvers.workers import Workers

if __name__ == "__main__":
    rng = np.random.default_rng(0)
    h, J = rng.normal(size=(40, 30)), rng.normal(size=(40, 30, 30))
    with MPIPoolExecutor() as executor:
        assert Workers.of(executor) == Workers(2, None)
        assert executor.submit(os.getpid).result() != os.getpid()
        batch = solve_ising(h, J, seed=1, executor=executor).samples
        problems = (ising_problem(*pair) for pair in zip(h, J, strict=True))
        stream = [one.samples for one in solve_stream(problems, seed=1, executor=executor)]
    expected = solve_ising(h, J, seed=1).samples
    assert np.array_equal(batch, expected)
    assert np.array_equal(np.concatenate(stream), expected)
    print("equal")
"""


def test_ranks_give_the_answers_of_one_process(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    environment = {**os.environ, **allowed, "OMPI_MCA_rmaps_base_oversubscribe": "1"}
    done = subprocess.run(
        [MPI, "-n", "3", sys.executable, "-m", "mpi4py.futures", str(program)],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "equal"
