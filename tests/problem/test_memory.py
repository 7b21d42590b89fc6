"""What cannot fit into memory is an error at once, with its bytes, and the process lives on."""

import subprocess
import sys
import textwrap
import time

import dimod
import numpy as np
import pytest
import scipy.sparse

from qpsbgd import NativeSampler, solve_ising, solve_qubo
from qpsbgd.problem.memory import check_memory, memory_limit

ABSURD = 10**12


@pytest.mark.parametrize(
    "call",
    [
        lambda: solve_ising(np.zeros(3), np.eye(3), num_reads=ABSURD),
        lambda: solve_qubo(np.eye(30), num_reads=10**30),
        lambda: solve_ising(np.zeros(3), np.eye(3), num_reads=ABSURD, initial_states=[[1, 1, 1]]),
        lambda: solve_ising(np.broadcast_to(np.zeros(3), (ABSURD, 3)), np.eye(3), num_reads=100),
        lambda: solve_ising(np.zeros(3), np.broadcast_to(np.zeros((3, 3)), (ABSURD, 3, 3))),
        lambda: solve_qubo(scipy.sparse.coo_array((2**31 - 1, 2**31 - 1)), num_reads=1000),
        lambda: NativeSampler().sample_ising({0: 1}, {}, num_reads=ABSURD),
        lambda: NativeSampler().sample(dimod.BQM("SPIN"), num_reads=ABSURD),
        lambda: NativeSampler().sample_ising(
            {0: 1}, {}, num_reads=ABSURD, initial_states={0: 1}, initial_states_generator="tile"
        ),
    ],
)
def test_absurd_sizes_are_refused_at_once(call, monkeypatch):
    monkeypatch.setattr("qpsbgd.problem.memory._machine", lambda: 2**33)
    begin = time.perf_counter()
    with pytest.raises(MemoryError, match=r"takes? \d+ bytes, but this process may use \d+"):
        call()
    assert time.perf_counter() - begin < 1.0


def test_limit_is_one_of_the_machine():
    limit = memory_limit()
    assert limit is None or limit > 2**28
    check_memory("nothing", 0)


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_limit_of_the_address_space_is_an_error_and_the_process_lives():
    script = """
        import resource
        import numpy as np
        import scipy.sparse
        from qpsbgd import solve_ising

        h, J = np.zeros(20_000), scipy.sparse.eye_array(20_000, format="csr")

        expected = solve_ising(np.zeros(30), np.ones((30, 30)), num_reads=4, seed=1).energies
        size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        limit = size + 2**28
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        refused = 0
        for reads in (10, 10**5, 10**6, 10**12, 10**18, 10**30):
            for threads in (1, 2):
                try:
                    solve_ising(h, J, num_reads=reads, num_sweeps=1, method="descent", num_threads=threads)
                except MemoryError:
                    refused += 1
        assert refused == 10, refused
        again = solve_ising(np.zeros(30), np.ones((30, 30)), num_reads=4, seed=1).energies
        assert np.array_equal(again, expected)
        print("alive")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "alive\n"
