"""Everything at once, over and over: memory stays flat, and every round has the results of the first.

`make soak` asks for 600 seconds by QPSBGD_SOAK_SECONDS; pytest's -s shows the figures.
"""

import gc
import itertools
import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse
import torch
from torch import nn

from interrupting import num_threads, resident
from qpsbgd import QPSBGD, NativeSampler, project, solve_ising, solve_qubo, solve_stream
from qpsbgd.nn import BinaryConv2d, BinaryLinear, Scale
from qpsbgd.problem import ising_problem
from qpsbgd.solvers import NativeSolver
from same import same

SECONDS = float(os.environ.get("QPSBGD_SOAK_SECONDS", "4"))
WARM_ROUNDS = 10
MOST_GROWTH = 16 << 20


def trained(seed, **options):
    torch.manual_seed(seed)
    model = nn.Sequential(
        *(BinaryConv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), BinaryLinear(144, 20, bias=True)),
        *(nn.Hardtanh(), BinaryLinear(20, 4), Scale(2.0)),
    )
    optimizer = QPSBGD(model.named_parameters(), **options)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(torch.randn(8, 1, 8, 8)), torch.arange(8) % 4).backward()
        optimizer.step()
    other = QPSBGD(model.named_parameters(), **options)
    other.load_state_dict(optimizer.state_dict())
    return [parameter.detach().clone() for parameter in model.parameters()]


def one_round(executor):
    """Something of everything, with the answers that its seeds fix."""
    rng = np.random.default_rng(0)
    h, J = rng.normal(size=(5, 60)), rng.normal(size=(5, 60, 60))
    sparse = scipy.sparse.random_array((500, 500), density=0.006, random_state=1).tocsr()
    found = [
        solve_ising(h, J, method=method, num_reads=2, num_sweeps=20, seed=1, num_threads=2).energies
        for method in ("anneal", "tabu", "descent")
    ]
    found.append(solve_ising(h[0, :16], J[0, :16, :16], method="exact", num_best=20).energies)
    found.append(solve_ising(None, sparse, num_sweeps=20, seed=1).energies)
    found.append(solve_qubo(J[0], h, seed=2, num_sweeps=5, executor=executor).energies)
    small = (ising_problem(h[k % 5, :8], J[k % 5, :8, :8]) for k in range(300))
    answers = solve_stream(small, solver=NativeSolver(num_reads=2), seed=3, executor=executor)
    found.append(sum(one.best_energies[0] for one in answers))
    ended = itertools.islice(
        solve_stream(itertools.repeat(ising_problem(h[0], J[0])), seed=3, executor=executor), 5
    )
    found.append([one.samples for one in ended])
    pairs = {(i, j): J[0, i, j] for i in range(12) for j in range(i)}
    found.append(NativeSampler().sample_ising({}, pairs, seed=4).record.energy)
    found.append(project(rng.normal(size=(30, 6)), rng.normal(size=(30, 40))))
    with pytest.raises(ValueError, match="nan"):
        solve_ising([np.nan], [[0.0]])
    found += [trained(5), trained(6, memory="momentum"), trained(7, variant="projected")]
    return found


def test_memory_is_flat_and_results_are_stable():
    with ThreadPoolExecutor(2) as executor:
        expected = one_round(executor)
        for _ in range(WARM_ROUNDS):
            one_round(executor)
        gc.collect()
        before, threads = resident(), num_threads()
        rounds, end = 0, time.monotonic() + SECONDS
        while time.monotonic() < end or rounds < 5:
            assert same(one_round(executor), expected), rounds
            rounds += 1
        gc.collect()
        after = resident()
        assert num_threads() <= threads + 2  # those of a stream that has just ended
    if before is not None:
        print(f"\n{rounds} rounds, memory {before / 2**20:.1f} MiB before and {after / 2**20:.1f} MiB after")
        assert after - before < MOST_GROWTH
