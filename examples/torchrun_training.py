"""Trains a binary network on handwritten digits in several processes, and survives the loss of one.

    torchrun --standalone --nproc-per-node 2 --max-restarts 3 examples/torchrun_training.py [FOLDER]

Each process takes its part of every batch and solves its rows of every layer. Where a process dies, torchrun
starts all of them again. They go on from the last checkpoint in FOLDER, if one is given, to the same weights.

For many machines, start on each of them

    torchrun --nnodes 4 --nproc-per-node 1 --max-restarts 3 \
        --rdzv-backend c10d --rdzv-endpoint FIRST_MACHINE:29500 examples/torchrun_training.py FOLDER

with a FOLDER that all machines see. On machines with GPUs choose the backend "nccl", and one process a GPU.
"""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from qpsbgd import QPSBGD
from qpsbgd.data.datasets import digits
from qpsbgd.nn import Scale, to_binary

BATCH = 100
STEPS = 200
CHECKPOINT_EVERY = 20


def batch_of(step: int, count: int) -> torch.Tensor:
    """Numbers of the samples of a step: every process takes its part of them."""
    chosen = torch.randint(count, (BATCH,), generator=torch.Generator().manual_seed(step))
    return chosen[distributed.get_rank() :: distributed.get_world_size()]


def save(path: Path, **parts: Any) -> None:
    """Replace the checkpoint at once: a process that dies leaves the old one or the new one."""
    if distributed.get_rank() == 0:
        torch.save(parts, path.with_suffix(".new"))
        os.replace(path.with_suffix(".new"), path)


def train(folder: Path | None = None) -> nn.Module:
    """Train from the last checkpoint on, or from the start."""
    torch.manual_seed(0)
    data = digits()
    X, y = torch.tensor(data.x_train), torch.tensor(data.y_train)
    net = to_binary(
        nn.Sequential(nn.Linear(64, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 10), Scale())
    )
    optimizer = QPSBGD(net.parameters(), lr=0.01, parallelism="rows")
    begin, path = 0, None if folder is None else folder / "checkpoint.pt"
    if path is not None and path.exists():
        saved = torch.load(path, weights_only=True)
        net.load_state_dict(saved["net"])
        optimizer.load_state_dict(saved["optimizer"])
        begin = saved["step"]
        if distributed.get_rank() == 0:
            print(f"going on from step {begin}", flush=True)
    model = DistributedDataParallel(net)
    for step in range(begin, STEPS):
        batch = batch_of(step, len(X))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(X[batch]), y[batch]).backward()
        optimizer.step()
        if path is not None and (step + 1) % CHECKPOINT_EVERY == 0:
            save(path, net=net.state_dict(), optimizer=optimizer.state_dict(), step=step + 1)
    return net


def main() -> None:
    # A process that waits longer than this for another one gives up, and torchrun starts all again.
    distributed.init_process_group("gloo", timeout=timedelta(minutes=2))
    net = train(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
    if distributed.get_rank() == 0:
        data = digits()
        right = net.eval()(torch.tensor(data.x_test)).argmax(1) == torch.tensor(data.y_test)
        print(f"{distributed.get_world_size()} processes, test accuracy: {right.float().mean().item():.4f}")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
