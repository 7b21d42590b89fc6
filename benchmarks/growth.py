"""How a layer's step grows with width, rows, ranks, bandwidth and latency: measured here, carried further.

    python benchmarks/growth.py --out docs/images     measures, fits, prints the tables, draws the figure
    python benchmarks/growth.py --points points.json  fits points that were measured before

A step of a layer with m rows and d inputs, n samples in all, on R ranks:

1. each rank makes A of its n/R samples;
2. an all-reduce adds up A's triangle and the gradient: d²/2 + m d floats;
3. each rank solves its m/R rows;
4. an all-gather gives everyone the steps: m d bits;
5. each rank moves all of its weights.

Computing times are processor time of one thread, fitted to points of this machine. Traffic is that of ring
algorithms: an all-reduce of s bytes takes ``2 (R-1) (latency + s / (R bandwidth))``, an all-gather half of
that. Bandwidth and latency are measured between two processes here, or given.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing as mp
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qpsbgd import _core
from qpsbgd.step.rows import native_step
from qpsbgd.step.weights import move_weights
from report import markdown

FLOAT = 4
NEAR = 1448
"""Widest layer whose couplings of a byte stay in a cache of 2 MiB; beyond, they come from memory."""

PARTS = ("A", "traffic of A", "traffic of gradients", "rows", "traffic of steps", "weights")
RANKS = [2**k for k in range(15)]
MEASURED = [
    (n, d, m)
    for d, m in itertools.product((128, 256, 512, 1024, 2048, 3072, 4096), (32, 128))
    for n in (64, 256)
]


@dataclass(frozen=True)
class Machine:
    """Seconds of one thread, and of the network.

    Attributes
    ----------
    gram, gram_far : float
        For one sample and one of the d²/2 entries of A: narrow layers, and wide ones.
    row_entry, row_far, row_input : float
        For each of the d² entries of A, of narrow and of wide layers, and each of the d inputs, of one row.
    weight : float
        To move one weight.
    call : float
        For a step of any size.
    latency, bandwidth : float
        Seconds for a message, bytes in a second.
    threads : int
        A rank's.
    """

    gram: float
    gram_far: float
    row_entry: float
    row_far: float
    row_input: float
    weight: float
    call: float
    latency: float
    bandwidth: float
    threads: int = 1


def ring(machine: Machine, size: float, ranks: int, rounds: int) -> float:
    """Seconds of a ring algorithm: 2 rounds for an all-reduce, 1 for an all-gather."""
    return rounds * (ranks - 1) * (machine.latency + size / (ranks * machine.bandwidth))


def step_parts(machine: Machine, n: int, d: int, m: int, ranks: int) -> dict[str, float]:
    """Seconds of each part of one layer's step; samples and rows are shared as evenly as they can be."""
    own_samples, own_rows = -(-n // ranks), -(-m // ranks)
    gram, row_entry = (machine.gram, machine.row_entry) if d <= NEAR else (machine.gram_far, machine.row_far)
    return {
        "A": gram * own_samples * d * d / 2 / machine.threads,
        "traffic of A": ring(machine, FLOAT * d * (d + 1) / 2, ranks, 2),
        "traffic of gradients": ring(machine, FLOAT * m * d, ranks, 2),
        "rows": own_rows * (row_entry * d * d + machine.row_input * d) / min(machine.threads, own_rows),
        "traffic of steps": ring(machine, m * d / 8, ranks, 1),
        "weights": machine.weight * m * d / machine.threads + machine.call,
    }


def step_seconds(machine: Machine, n: int, d: int, m: int, ranks: int) -> float:
    """Seconds of one layer's step, nothing overlapped."""
    return sum(step_parts(machine, n, d, m, ranks).values())


def bound_by(machine: Machine, n: int, d: int, m: int, ranks: int) -> str:
    """Name the part that takes most of the step."""
    parts = step_parts(machine, n, d, m, ranks)
    return max(parts, key=parts.__getitem__)


def best_ranks(machine: Machine, n: int, d: int, m: int) -> int:
    """Give the power of two from which more ranks make the step less than a tenth shorter, or longer."""
    for ranks in RANKS:
        if step_seconds(machine, n, d, m, 2 * ranks) > 0.9 * step_seconds(machine, n, d, m, ranks):
            return ranks
    return RANKS[-1]


# --- measured points


def least(function: Callable[[], Any], seconds: float = 0.3) -> float:
    """Least processor time of repeated calls."""
    function()
    times, end = [], time.process_time() + seconds
    while time.process_time() < end or len(times) < 3:
        begin = time.process_time()
        function()
        times.append(time.process_time() - begin)
    return min(times)


def measure(n: int, d: int, m: int) -> dict[str, float]:
    """Processor time of each computing part at one size, with one thread."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(d + m)
    X, V = rng.normal(size=(n, d)).astype(np.float32), rng.normal(size=(n, m)).astype(np.float32)
    A, g = _core.gram(X, 1.0 / (n * d), 1), np.ascontiguousarray(V.T @ X) / np.float32(n * d**0.5)
    residual = np.zeros_like(g)
    G = torch.from_numpy(native_step(g, A)[0])
    weight = torch.zeros(m, d)
    found: dict[str, float] = {"n": n, "d": d, "m": m}
    found["A"] = least(lambda: _core.gram(X, 1.0 / (n * d), 1))
    found["rows"] = least(lambda: native_step(g, A, residual=residual, keep_residual=True))
    found["weights"] = least(lambda: move_weights(weight, G, 1e-6, 1.0), 0.1)
    return found


def _talk(rank: int, folder: str, sizes: Sequence[int], queue: Any) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    found = []
    for size in sizes:
        values, times = torch.zeros(size // FLOAT), []
        for _ in range(60 if size < 1e5 else 15):
            torch.distributed.barrier()
            begin = time.perf_counter()
            torch.distributed.all_reduce(values)
            times.append(time.perf_counter() - begin)
        found.append(min(times))
    if rank == 0:
        queue.put(found)
    torch.distributed.destroy_process_group()


def measure_network() -> list[tuple[int, float]]:
    """Least wall time of an all-reduce between two processes of this machine, by its bytes."""
    sizes = [64, 4096, 1 << 16, 1 << 20, 1 << 23, 1 << 25]
    context = mp.get_context("spawn")
    queue = context.SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        both = [context.Process(target=_talk, args=(rank, folder, sizes, queue)) for rank in range(2)]
        for process in both:
            process.start()
        found = queue.get()
        for process in both:
            process.join()
    return list(zip(sizes, found, strict=True))


# --- fit


def fitted(columns: Sequence[Sequence[float]], seconds: Sequence[float]) -> list[float]:
    """Constants >= 0 of ``seconds = sum of constants times columns``, with the least relative errors."""
    from scipy.optimize import nnls

    scaled = np.array(columns).T / np.array(seconds)[:, None]
    sizes = np.linalg.norm(scaled, axis=0)
    return (nnls(scaled / sizes, np.ones(len(scaled)))[0] / sizes).tolist()


def fit(points: Sequence[dict[str, float]], network: Sequence[Sequence[float]]) -> Machine:
    """Fit all constants to measured points."""
    n, d, m = (np.array([point[name] for point in points]) for name in ("n", "d", "m"))
    ones = np.ones(len(points))
    near, far = d <= NEAR, d > NEAR
    gram, gram_far, gram_call = fitted(
        [near * n * d * d / 2, far * n * d * d / 2, ones], [point["A"] for point in points]
    )
    entry, row_far, of_input, row_call = fitted(
        [near * m * d * d, far * m * d * d, m * d, ones], [point["rows"] for point in points]
    )
    weight, weight_call = fitted([m * d, ones], [point["weights"] for point in points])
    # Two ranks: 2 (latency + s / (2 bandwidth)).
    latency, per_byte = fitted(
        [[2.0] * len(network), [size for size, _ in network]], [seconds for _, seconds in network]
    )
    call = gram_call + row_call + weight_call
    return Machine(gram, gram_far, entry, row_far, of_input, weight, call, latency, 1 / per_byte)


def errors(points: Sequence[dict[str, float]], network: Sequence[Sequence[float]]) -> list[float]:
    """Relative errors of whole steps left out of the fit: those of 64 samples by 256, and the other way."""
    found = []
    for half in (0, 1):
        machine = fit(points[half::2], network)
        for point in points[1 - half :: 2]:
            real = point["A"] + point["rows"] + point["weights"]
            n, d, m = (int(point[name]) for name in ("n", "d", "m"))
            found.append(step_seconds(machine, n, d, m, 1) / real - 1)
    return found


# --- what is shown


def table(machine: Machine, n: int, sizes: Sequence[tuple[int, int]]) -> str:
    """Seconds, bounds and useful ranks of square and other layers."""
    rows = []
    for d, m in sizes:
        best = best_ranks(machine, n, d, m)
        alone, many = step_seconds(machine, n, d, m, 1), step_seconds(machine, n, d, m, best)
        rows.append(
            [
                f"{m} x {d}",
                f"{alone:.3g}",
                bound_by(machine, n, d, m, 1),
                f"{best}",
                f"{many:.3g}",
                bound_by(machine, n, d, m, best),
                bound_by(machine, n, d, m, 4096),
            ]
        )
    heads = ["rows x inputs", "1 rank, s", "bound by", "useful ranks", "then, s", "bound by", "at 4096 by"]
    return markdown(heads, rows)


def draw(machine: Machine, slow: Machine, n: int, width: int, path: Path) -> None:
    """Draw the parts against ranks at one width, and useful ranks against width."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    for part in PARTS:
        ranks_of = RANKS[1:] if part.startswith("traffic") else RANKS
        seconds = [step_parts(machine, n, width, width, ranks)[part] for ranks in ranks_of]
        left.plot(ranks_of, seconds, label=part, linewidth=1)
    left.plot(
        RANKS, [step_seconds(machine, n, width, width, ranks) for ranks in RANKS], "k", label="whole step"
    )
    top = step_seconds(machine, n, width, width, 1)
    left.set(xscale="log", yscale="log", xlabel="ranks", ylabel="seconds", ylim=(1e-8 * top, 2 * top))
    left.set_title(f"{width} x {width}, {n} samples")
    left.legend(fontsize=7, loc="lower left", ncols=2)
    widths = [2**k for k in range(7, 15)]
    for label, one in (("this network", machine), ("the slower network", slow)):
        gbits, microseconds = 8e-9 * one.bandwidth, 1e6 * one.latency
        right.plot(
            widths,
            [best_ranks(one, n, width, width) for width in widths],
            "o-",
            label=f"{label}: {gbits:.0f} Gbit/s, {microseconds:.0f} µs",
        )
    right.set(xscale="log", yscale="log", xlabel="width of a square layer", ylabel="useful ranks")
    right.set_title("from where doubling the ranks saves less than a tenth")
    right.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path / "growth.png", dpi=110)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--points", type=Path, help="points that were measured before")
    parser.add_argument("--save", type=Path, help="where to keep the points")
    parser.add_argument("--out", type=Path, help="folder for growth.png")
    parser.add_argument("--samples", type=int, default=4096, help="of the global batch")
    parser.add_argument("--gbits", type=float, default=100.0, help="bandwidth of a rank")
    parser.add_argument("--microseconds", type=float, default=5.0, help="latency of a message")
    parser.add_argument("--threads", type=int, default=16, help="of a rank")
    return parser.parse_args()


def main() -> None:
    """Measure or read points, fit, print and draw."""
    given = arguments()
    if given.points:
        known = json.loads(given.points.read_text())
    else:
        known = {"points": [measure(*size) for size in MEASURED], "network": measure_network()}
    if given.save:
        given.save.write_text(json.dumps(known))
    here = fit(known["points"], known["network"])
    print(json.dumps(asdict(here), indent=1))
    off = np.abs(errors(known["points"], known["network"]))
    print(f"whole steps left out of the fit: median error {np.median(off):.0%}, largest {off.max():.0%}")
    cluster = Machine(
        **{
            **asdict(here),
            "latency": 1e-6 * given.microseconds,
            "bandwidth": given.gbits * 1e9 / 8,
            "threads": given.threads,
        }
    )
    slow = Machine(
        **{**asdict(cluster), "bandwidth": cluster.bandwidth / 10, "latency": cluster.latency * 10}
    )
    sizes = [(256, 256), (1024, 1024), (4096, 4096), (16384, 16384), (16384, 1024), (1024, 16384)]
    print(table(cluster, given.samples, sizes))
    if given.out:
        draw(cluster, slow, given.samples, 16384, given.out)


if __name__ == "__main__":
    main()
