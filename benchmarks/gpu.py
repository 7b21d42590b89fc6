"""Training steps, projections and solves on a GPU: all through the host, and all on the device.

python benchmarks/gpu.py             the table, on CUDA
python benchmarks/gpu.py --smoke     small sizes on the CPU: the program runs, the figures mean nothing
"""

from __future__ import annotations

import argparse
import itertools
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from qpsbgd import QPSBGD, solve_ising
from qpsbgd.baselines import BinaryConnect
from qpsbgd.nn import Scale, to_binary
from qpsbgd.solvers.device.batch import ising_batch
from qpsbgd.solvers.device.exchange import RUNGS
from qpsbgd.solvers.device.fixed import fixed_couplings, fixed_fields
from qpsbgd.solvers.device.search import Search, search
from qpsbgd.step.device import choose
from qpsbgd.step.device.choose import uses_kernel
from qpsbgd.step.device.project import project_tensors
from qpsbgd.step.gram import gram_matrix
from qpsbgd.step.rows import native_step, objective

CUDA = torch.cuda.is_available()


class Net(NamedTuple):
    """A network, and the shape of its inputs."""

    name: str
    layers: Callable[[], nn.Sequential]
    inputs: tuple[int, ...]
    classes: int


def mlp(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths[:-1]):
        layers += [nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1], bias=False))


def cnn(channels: tuple[int, ...], hidden: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for place, (inputs, outputs) in enumerate(itertools.pairwise((3, *channels))):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        if place % 2:
            layers.append(nn.MaxPool2d(2))
    size = 32 // 2 ** (len(channels) // 2)
    layers += [nn.Flatten(), nn.Linear(channels[-1] * size**2, hidden, bias=False), nn.BatchNorm1d(hidden)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Linear(hidden, 10, bias=False))


NETS = [
    Net("784-512-512-10, batch 128", lambda: mlp(784, 512, 512, 10), (128, 784), 10),
    Net("1024-4096-4096-1000, batch 256", lambda: mlp(1024, 4096, 4096, 1000), (256, 1024), 1000),
    Net("CNN 64-64-128-128, 256, 10, batch 128", lambda: cnn((64, 64, 128, 128), 256), (128, 3, 32, 32), 10),
]
SMALL_NETS = [
    Net("20-16-4, batch 16", lambda: mlp(20, 16, 4), (16, 20), 4),
    Net("CNN 4-4, 8, 10, batch 4", lambda: cnn((4, 4), 8), (4, 3, 32, 32), 10),
]
ROWS = [(784, 512, 128), (1024, 4096, 256), (4096, 4096, 256)]
"""Inputs, rows and samples of layers that are projected."""
SMALL_ROWS = [(40, 8, 16)]
SOLVES = [
    ("tabu", 1, 256),
    ("tabu", 3, 256),
    ("tabu", 10, 256),
    ("tabu", 3, 2048),
    ("anneal", 30, 256),
    ("descent", None, 2048),
]
"""Method, sweeps and rows of solves of W2: 784 inputs, 128 samples."""
SMALL_SOLVES = [("tabu", 3, 8), ("anneal", 4, 8), ("descent", None, 8)]
EXCHANGES = [(150, 500, 4), (1024, 100, 4)]
"""Spins, sweeps and ladders of single problems with Gaussian couplings; beside as many annealing runs."""
SMALL_EXCHANGES = [(20, 6, 2)]
PEERS = [(784, 256, 100), (784, 2048, 100)]
"""Spins, problems and steps of simulated bifurcation; beside tabu search."""
SMALL_PEERS = [(24, 3, 20)]
OPTIMIZERS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "float Adam": lambda net: torch.optim.Adam(net.parameters(), 1e-3, fused=CUDA),
    "BinaryConnect-Adam": lambda net: BinaryConnect(net.parameters(), lr=0.01, base="adam"),
    "QPSBGD, host": lambda net: QPSBGD(net.parameters(), 0.01),
    "QPSBGD, device": lambda net: QPSBGD(net.parameters(), 0.01, solver="device"),
    "device, gram_samples=4096": lambda net: QPSBGD(
        net.parameters(), 0.01, solver="device", gram_samples=4096
    ),
    "device, 4096 every 4": lambda net: QPSBGD(
        net.parameters(), 0.01, solver="device", gram_samples=4096, gram_every=4
    ),
}


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def milliseconds(call: Callable[[], Any], device: str, budget: float) -> float:
    """The median time of a call, of as many as take about `budget` seconds, three at least."""
    call()
    wait(device)
    times: list[float] = []
    end = time.perf_counter() + budget
    while len(times) < 3 or (time.perf_counter() < end and len(times) < 50):
        begin = time.perf_counter()
        call()
        wait(device)
        times.append(time.perf_counter() - begin)
    return 1e3 * sorted(times)[len(times) // 2]


def training_step(net: Net, optimizer: str, device: str) -> Callable[[], torch.Tensor]:
    """A function that takes a whole training step, and returns the loss before it."""
    torch.manual_seed(0)
    model = net.layers()
    if optimizer != "float Adam":
        model = to_binary(model).append(Scale())
    model = model.to(device)
    made = OPTIMIZERS[optimizer](model)
    # Batches come again, but never twice in turn: A of an input that stays is kept.
    batches = [
        (torch.randn(net.inputs, device=device), torch.randint(net.classes, net.inputs[:1], device=device))
        for _ in range(2)
    ]
    turns = itertools.cycle(batches)

    def step() -> torch.Tensor:
        x, y = next(turns)
        made.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        made.step()
        return loss.detach()

    return step


def layer(d: int, m: int, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """p and A of a layer of random samples."""
    generator = torch.Generator().manual_seed(0)
    X, V = torch.randn(n, d, generator=generator), torch.randn(n, m, generator=generator)
    return V.T @ X / (n * d**0.5), torch.from_numpy(np.ascontiguousarray(gram_matrix([X.numpy()])))


def mean_objective(G: torch.Tensor, p: torch.Tensor, A: torch.Tensor) -> float:
    """Mean objective of the rows, in units of that of sign(p)."""
    arrays = p.cpu().numpy(), A.cpu().numpy()
    signs = np.where(arrays[0] >= 0, 1.0, -1.0)
    scales = np.abs(arrays[0]).sum(axis=1) / np.einsum("md,md->m", signs @ arrays[1], signs)
    own, sign = (objective(step, *arrays, scales).mean() for step in (G.cpu().numpy(), signs))
    return float(own / -sign)


def step_lines(nets: list[Net], device: str, budget: float) -> Iterator[str]:
    """Milliseconds of whole training steps, and what they are of BinaryConnect-Adam's."""
    for net in nets:
        yield f"{net.name:<42}{'ms a step':>10}{'ratio':>8}{'peak MiB':>10}"
        base = 0.0
        for optimizer in OPTIMIZERS:
            if device == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            took = milliseconds(training_step(net, optimizer, device), device, budget)
            base = took if optimizer == "BinaryConnect-Adam" else base
            peak = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else 0.0
            yield f"  {optimizer:<40}{took:>10.2f}{took / base if base else 0.0:>8.2f}{peak:>10.0f}"


def projection_lines(rows: list[tuple[int, int, int]], device: str, budget: float) -> Iterator[str]:
    """Milliseconds of projections by parts of the kernel, and objectives beside the native one."""
    yield f"{'projection':<42}{'ms':>10}{'objective':>11}"
    for d, m, n in rows:
        p, A = layer(d, m, n)
        begin = time.perf_counter()
        native = native_step(p.numpy(), A.numpy())[0]
        took = 1e3 * (time.perf_counter() - begin)
        yield f"  {d} x {m}, host{'':<20}{took:>16.2f}{mean_objective(torch.tensor(native), p, A):>11.5f}"
        p, A = p.to(device), A.to(device)
        for parts in (1, 2, 4, 8) if uses_kernel(device, d) else (0,):
            with patched_parts(parts):
                G = project_tensors(p, A[None])
                took = milliseconds(lambda p=p, A=A: project_tensors(p, A[None]), device, budget)
            how = f"kernel, {parts} parts" if parts else "torch operations"
            yield f"  {d} x {m}, {how:<24}{took:>16.2f}{mean_objective(G, p, A):>11.5f}"
        with patched(choose, "is_rounded", lambda rows: False):
            G = project_tensors(p, A[None])
            took = milliseconds(lambda p=p, A=A: project_tensors(p, A[None]), device, budget)
        yield f"  {d} x {m}, {'without int8 couplings':<24}{took:>16.2f}{mean_objective(G, p, A):>11.5f}"


def rows_of_layer(d: int, m: int, n: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """h and J of the rows of a layer: minimise ``s'As - 2 p's / scale``."""
    p, A = (part.numpy() for part in layer(d, m, n))
    signs = np.where(p >= 0, 1.0, -1.0)
    scales = np.abs(p).sum(axis=1) / np.einsum("md,md->m", signs @ A, signs)
    return -2.0 * p / scales[:, None], A


def solver_lines(
    solves: list[tuple[str, int | None, int]], width: int, device: str, budget: float
) -> Iterator[str]:
    """Milliseconds of solves, end to end and in the search alone, and energies beside those of the host."""
    yield f"{'solve':<30}{'ms':>10}{'search':>10}{'host':>10}{'ratio':>8}{'energy':>12}{'host':>12}"
    for method, sweeps, rows in solves:
        h, J = rows_of_layer(width, rows)
        options = {"method": method, "num_sweeps": sweeps, "seed": 0}
        tensors = torch.from_numpy(h).to(device), torch.from_numpy(J).to(device)
        own = solve_ising(*tensors, device=device, **options)
        took = milliseconds(partial(solve_ising, *tensors, device=device, **options), device, budget)
        search = milliseconds(search_alone(*tensors, options), device, budget)
        native = solve_ising(h, J, **options)
        host = milliseconds(partial(solve_ising, h, J, **options), "cpu", budget)
        name = f"{method}, {sweeps or 'no'} sweeps, {rows} rows"
        energies = f"{own.energies.mean().item():>12.5f}{native.energies.mean():>12.5f}"
        yield f"  {name:<28}{took:>10.2f}{search:>10.2f}{host:>10.2f}{host / took:>8.1f}{energies}"


def exchange_lines(exchanges: list[tuple[int, int, int]], device: str, budget: float) -> Iterator[str]:
    """Milliseconds and best energies of replica exchange, and of annealing with as many replicas."""
    yield f"{'one problem':<40}{'ms':>10}{'energy':>12}"
    for spins, sweeps, ladders in exchanges:
        J = torch.randn(spins, spins, generator=torch.Generator().manual_seed(0)).to(device)
        for method, reads in (("exchange", ladders), ("anneal", RUNGS * ladders)):
            call = partial(
                solve_ising, None, J, device=device, method=method, num_reads=reads, num_sweeps=sweeps, seed=0
            )
            best, took = call().best_energies.item(), milliseconds(call, device, budget)
            name = f"{method}, {spins} spins, {sweeps} sweeps, {reads} reads"
            yield f"  {name:<38}{took:>10.2f}{best:>12.3f}"


def peer_lines(peers: list[tuple[int, int, int]], device: str, budget: float) -> Iterator[str]:
    """Milliseconds and mean energies of simulated-bifurcation, one problem a call, and of ours."""
    try:
        import simulated_bifurcation as sb
    except ImportError:
        yield "simulated-bifurcation is not installed: left out"
        return
    yield f"{'simulated bifurcation':<40}{'ms':>10}{'energy':>12}"
    for spins, rows, steps in peers:
        h, J = (torch.from_numpy(part).to(device) for part in rows_of_layer(spins, rows))
        own = partial(solve_ising, h, J, device=device, method="tabu", num_sweeps=3, seed=0)
        took, energy = milliseconds(own, device, budget), own().energies.mean().item()
        yield f"  {f'tabu, 3 sweeps, {rows} rows':<38}{took:>10.2f}{energy:>12.5f}"
        few = h[: min(rows, 8)]

        def peer(few: torch.Tensor = few, J: torch.Tensor = J, steps: int = steps) -> list[float]:
            options = {"domain": "spin", "agents": 16, "max_steps": steps, "verbose": False, "device": device}
            with warnings.catch_warnings():  # says that its agents did not converge within max_steps
                warnings.simplefilter("ignore")
                return [float(sb.minimize(J, row, 0.0, **options)[1]) for row in few]

        energy = float(np.mean(peer()))
        took = milliseconds(peer, device, budget) * rows / len(few)
        yield f"  {f'its 16 agents, {steps} steps, {rows} rows':<38}{took:>10.2f}{energy:>12.5f}"


def search_alone(h: torch.Tensor, J: torch.Tensor, options: dict[str, Any]) -> Callable[[], object]:
    """The search of a solve, without the checks before it and the float64 after it."""
    batch = ising_batch(h, J, h.device, initial_states=None, num_reads=1)
    couplings = fixed_couplings(batch.couplings())
    own = fixed_fields(batch.h[None], couplings.shifts)
    numbers = torch.arange(len(h), device=h.device)[None]
    how = Search(options["method"], options["num_sweeps"], None, options["seed"])
    return lambda: search(couplings, own, None, numbers, torch.zeros_like(numbers), how)


@contextmanager
def patched(module: Any, name: str, value: Any) -> Iterator[None]:
    """Let a module have another value."""
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


@contextmanager
def patched_parts(parts: int) -> Iterator[None]:
    """Let the kernel work with so many parts; 0 leaves it as it is."""
    if not parts:
        yield
        return
    from qpsbgd.step.device import kernel

    before = kernel.settings
    with patched(kernel, "settings", lambda *widths: {**before(*widths), "PARTS": parts}):
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--smoke", action="store_true")
    smoke = parser.parse_args().smoke
    if not CUDA and not smoke:
        raise SystemExit("there is no CUDA device here; --smoke runs the program on the CPU")
    device, budget = ("cpu", 0.0) if smoke else ("cuda", 2.0)
    if smoke:
        torch.set_num_threads(1)  # idle threads spin: no gain for small layers
    card = "the CPU" if smoke else torch.cuda.get_device_name()
    kernel = "kernel" if uses_kernel(device, 784) else "torch operations"
    print(f"{card}; {kernel}; {torch.get_num_threads()} threads of the host; torch {torch.__version__}")
    for line in projection_lines(SMALL_ROWS if smoke else ROWS, device, budget):
        print(line, flush=True)
    for line in solver_lines(SMALL_SOLVES if smoke else SOLVES, 40 if smoke else 784, device, budget):
        print(line, flush=True)
    for line in exchange_lines(SMALL_EXCHANGES if smoke else EXCHANGES, device, budget):
        print(line, flush=True)
    for line in peer_lines(SMALL_PEERS if smoke else PEERS, device, budget):
        print(line, flush=True)
    for line in step_lines(SMALL_NETS if smoke else NETS, device, budget):
        print(line, flush=True)


if __name__ == "__main__":
    main()
