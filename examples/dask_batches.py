"""A stream of problems on a Dask cluster: here two processes of this machine.

    pip install distributed
    python examples/dask_batches.py

For many machines, start `dask scheduler` on one and `dask worker ADDRESS --nthreads 1` on each, and give the
scheduler's address to `Client`. Nothing else changes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import numpy as np
from distributed import Client, LocalCluster

from qpsbgd import solve_stream
from qpsbgd.problem import IsingProblem, ising_problem
from qpsbgd.solvers import NativeSolver


def problems(count: int) -> Iterator[IsingProblem]:
    """Random glasses of 100 spins."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield ising_problem(rng.normal(size=100), rng.normal(size=(100, 100)))


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    # One thread a worker: the cluster has a worker for each processor.
    solver = NativeSolver(num_reads=4, num_threads=1)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        executor = client.get_executor(retries=3)
        begin = time.perf_counter()
        stream = solve_stream(problems(count), solver=solver, seed=0, executor=executor)
        energies = [solutions.best_energies[0] for solutions in stream]
        seconds = time.perf_counter() - begin
    here = [solutions.best_energies[0] for solutions in solve_stream(problems(50), solver=solver, seed=0)]
    print(f"{count} problems in {seconds:.2f} s, mean energy {np.mean(energies):.3f}")
    print(f"the first 50 are what this process finds: {energies[:50] == here}")


if __name__ == "__main__":
    main()
