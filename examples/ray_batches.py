"""A stream of problems on Ray: here two workers of this machine.

    pip install ray
    python examples/ray_batches.py

For many machines, run `ray start --head` on one and `ray start --address=HEAD` on the others, and call
``ray.init("auto")`` here. Nothing else changes. Ray sends the parts of a lost worker again by itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Any

import numpy as np

from qpsbgd import solve_stream
from qpsbgd.problem import IsingProblem, ising_problem
from qpsbgd.solvers import NativeSolver


class RayExecutor(Executor):
    """Ray's cluster as an executor: a task for each part.

    Parameters
    ----------
    ray : module
        Ray, after ``ray.init``.
    """

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self.num_workers = int(ray.cluster_resources().get("CPU", 1))
        self._call = ray.remote(max_retries=3)(_call)

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """Start a task; a future that is cancelled cancels it."""
        reference = self._call.remote(function, arguments, named)
        future: Future[Any] = reference.future()
        future.add_done_callback(lambda done: self._ray.cancel(reference) if done.cancelled() else None)
        return future


def _call(function: Callable[..., Any], arguments: Any, named: Any) -> Any:
    return function(*arguments, **named)


def problems(count: int) -> Iterator[IsingProblem]:
    """Random glasses of 100 spins."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield ising_problem(rng.normal(size=100), rng.normal(size=(100, 100)))


def main() -> None:
    import ray

    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    # A task has one processor of Ray's, so one thread.
    solver = NativeSolver(num_reads=4, num_threads=1)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        stream = solve_stream(problems(count), solver=solver, seed=0, executor=RayExecutor(ray))
        energies = [solutions.best_energies[0] for solutions in stream]
    finally:
        ray.shutdown()
    here = [solutions.best_energies[0] for solutions in solve_stream(problems(50), solver=solver, seed=0)]
    print(f"{count} problems in process {os.getpid()}'s cluster, mean energy {np.mean(energies):.3f}")
    print(f"the first 50 are what this process finds: {energies[:50] == here}")


if __name__ == "__main__":
    main()
