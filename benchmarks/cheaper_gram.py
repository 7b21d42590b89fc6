"""Test accuracy and time of a step with cheaper Gram matrices beside the full ones; prints a table.

python benchmarks/cheaper_gram.py digits              8x8 digits, 64-128-10
python benchmarks/cheaper_gram.py digits-cnn          two binary convolutions on 8x8 digits
python benchmarks/cheaper_gram.py mnist               784-256-10, one epoch
python benchmarks/cheaper_gram.py cnn                 two binary convolutions on 12,000 images of MNIST
python benchmarks/cheaper_gram.py cnn --device cuda   with the weights on a GPU

Seconds are those of all steps together, without the passes through the net: processor seconds on the CPU.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from qpsbgd import QPSBGD
from qpsbgd.data import datasets
from qpsbgd.experiments.networks import Cnn, Mlp

VARIANTS: dict[str, dict[str, Any]] = {
    "full": {},
    "solver='device'": {"solver": "device"},
    "gram_every=4": {"gram_every": 4},
    "gram_every=16": {"gram_every": 16},
    "gram_samples=4096": {"gram_samples": 4096},
    "gram_samples=1024": {"gram_samples": 1024},
    "both, 1024 and 4": {"gram_samples": 1024, "gram_every": 4},
    "kappa=0, no A at work": {"kappa": 0.0},
}


class Task(NamedTuple):
    """What is trained."""

    dataset: str
    network: Cnn | Mlp
    samples: int
    epochs: int


TASKS = {
    "digits": Task("digits", Mlp((64, 128, 10), "relu"), 1500, 8),
    "mnist": Task("mnist", Mlp((784, 256, 10), "sign"), 60_000, 1),
    "digits-cnn": Task("digits", Cnn(8, (16, 32), 10, kernel=3), 1400, 6),
    "cnn": Task("mnist", Cnn(28, (16, 32), 10, kernel=3), 12_000, 1),
}


def trained(task: Task, seed: int, device: str, options: dict[str, Any]) -> tuple[float, float]:
    """Accuracy after a training, and the seconds of its steps."""
    data = datasets.load(task.dataset)
    x, y = (torch.from_numpy(np.ascontiguousarray(part)) for part in (data.x_train, data.y_train))
    generator = torch.Generator().manual_seed(seed)
    model = task.network.build(generator).to(device)
    optimizer = QPSBGD(model.parameters(), 0.02, seed=seed, **options)
    size, seconds = min(task.samples, len(x)), 0.0
    steps = task.epochs * (size // 100)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    clock = time.process_time if device == "cpu" else time.perf_counter
    for _ in range(task.epochs):
        for batch in torch.randperm(len(x), generator=generator)[:size].split(100):
            if len(batch) < 100:
                continue
            optimizer.zero_grad()
            F.cross_entropy(model(x[batch].to(device)), y[batch].to(device)).backward()
            _wait(device)
            begin = clock()
            optimizer.step()
            _wait(device)
            seconds += clock() - begin
            schedule.step()
    model.eval()
    test_x, test_y = torch.from_numpy(data.x_test), torch.from_numpy(data.y_test)
    with torch.no_grad():
        right = [
            (model(part.to(device)).argmax(dim=1).cpu() == labels).float()
            for part, labels in zip(test_x.split(500), test_y.split(500), strict=True)
        ]
    return float(torch.cat(right).mean()), seconds


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def lines(name: str, seeds: int, device: str) -> Iterator[str]:
    """The table, line by line."""
    yield f"{name}: {TASKS[name].network}, {seeds} seeds, {device}"
    yield f"{'':<24}{'accuracy':>10}{'±':>8}{'seconds':>10}"
    for variant, options in VARIANTS.items():
        results = [trained(TASKS[name], seed, device, options) for seed in range(seeds)]
        accuracy, seconds = np.array(results).T
        error = accuracy.std(ddof=1) / seeds**0.5 if seeds > 1 else 0.0
        yield f"{variant:<24}{accuracy.mean():>10.4f}{error:>8.4f}{seconds.mean():>10.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for line in lines(arguments.task, arguments.seeds, arguments.device):
        print(line, flush=True)


if __name__ == "__main__":
    main()
