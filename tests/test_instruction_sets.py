"""The same numbers on every instruction set that this machine has."""

import os
import subprocess
import sys

import pytest

from qpsbgd._core import build_info

AVAILABLE = build_info()["available_instruction_sets"]

SOLVE = """
import hashlib
import numpy as np
import scipy.sparse
from qpsbgd import solve_ising

digest = hashlib.sha256()
rng = np.random.default_rng(0)
for n in (1, 2, 5, 31, 32, 33, 70, 128, 200, 300):
    h = rng.normal(size=(3, n))
    whole = rng.integers(-5, 6, size=(n, n))
    for J in (rng.normal(size=(n, n)), whole, rng.normal(size=(3, n, n)).astype(np.float32), 1e-9 * whole):
        for method in ("auto", "descent", "anneal", "tabu"):
            # 5 reads make a full group of four and a rest; large fields do not fit int16.
            for fields in (h, 1e6 * h):
                answer = solve_ising(fields, J, method=method, num_reads=5, num_sweeps=7, seed=1)
                digest.update(answer.samples.tobytes())
                digest.update(answer.energies.tobytes())
    sparse = scipy.sparse.csr_matrix(whole * (rng.random((n, n)) < 0.1))
    for method in ("descent", "anneal", "tabu"):
        answer = solve_ising(h, sparse, method=method, num_reads=5, num_sweeps=7, seed=1)
        digest.update(answer.samples.tobytes())
print(digest.hexdigest())
"""


PROJECT = """
import hashlib
import numpy as np
from qpsbgd.projection import project

digest = hashlib.sha256()
rng = np.random.default_rng(0)
for d in (1, 2, 31, 33, 64, 100, 500):
    for dtype in (np.float32, np.float64):
        V, X = rng.normal(size=(20, 12)).astype(dtype), rng.normal(size=(20, d)).astype(dtype)
        for inputs in (X, np.sign(X), X[:, :1] + dtype(1e-3) * X):
            for domain in ("spin", "mask"):
                for scale in ("relative", "auto", 0.5):
                    digest.update(project(V, inputs, domain=domain, scale=scale).tobytes())
print(digest.hexdigest())
"""


PROJECT_BY_INPUTS = """
import hashlib
import numpy as np
from qpsbgd import _core
from qpsbgd.step.wide import native_step_by_inputs

digest = hashlib.sha256()
rng = np.random.default_rng(0)
for n, d, m in ((1, 1, 1), (7, 500, 30), (40, 1100, 50)):
    for dtype in (np.float32, np.float64):
        X = np.maximum(rng.normal(size=(n, d)), 0).astype(dtype)
        P = rng.normal(size=(m, d)).astype(dtype)
        for gram in (None, _core.gram(X, 1 / X.size, 1)):
            for domain in ("spin", "mask"):
                for scale in ("relative", "auto", 0.5):
                    options = {"gram": gram, "scale": scale, "domain": domain, "keep_residual": True}
                    for found in native_step_by_inputs(P, X, **options):
                        digest.update(found.tobytes())
print(digest.hexdigest())
"""


def output(script, instruction_set):
    environment = {**os.environ, "QPSBGD_ISA": instruction_set}
    run = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.parametrize("instruction_set", AVAILABLE[1:])
def test_solvers_give_the_same_numbers_as_scalar_code(instruction_set):
    assert output(SOLVE, instruction_set) == output(SOLVE, "scalar")


@pytest.mark.parametrize("instruction_set", AVAILABLE[1:])
def test_projections_are_the_same_as_those_of_scalar_code(instruction_set):
    assert output(PROJECT, instruction_set) == output(PROJECT, "scalar")


@pytest.mark.parametrize("instruction_set", AVAILABLE[1:])
def test_projections_by_inputs_are_the_same_as_those_of_scalar_code(instruction_set):
    assert output(PROJECT_BY_INPUTS, instruction_set) == output(PROJECT_BY_INPUTS, "scalar")


def test_chosen_instruction_set_is_the_one_used():
    script = "from qpsbgd._core import build_info; print(build_info()['instruction_set'], end='')"
    for instruction_set in AVAILABLE:
        assert output(script, instruction_set) == instruction_set


def test_unknown_instruction_set_is_named():
    environment = {**os.environ, "QPSBGD_ISA": "mmx"}
    run = subprocess.run(
        [sys.executable, "-c", "import qpsbgd"], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode != 0
    assert "QPSBGD_ISA is 'mmx', but this machine has scalar" in run.stderr
