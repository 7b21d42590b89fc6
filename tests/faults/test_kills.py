"""SIGKILL at random moments of a training with checkpoints: the weights are those of an uninterrupted one.

`make soak` asks for more kills by QPSBGD_KILLS.
"""

import multiprocessing as mp
import os
import random
import sys
import time

import pytest
import torch
from torch import nn

from qpsbgd import QPSBGD
from qpsbgd.data.files import atomic_write
from qpsbgd.nn import BinaryConv2d, BinaryLinear
from same import same

KILLS = int(os.environ.get("QPSBGD_KILLS", "6"))
STEPS = 60


def train(folder, options):
    """Train to the end from the last checkpoint, and leave one behind after every step."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = nn.Sequential(
        *(BinaryConv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(0.2)),
        *(BinaryLinear(144, 32, bias=True), nn.Hardtanh(), BinaryLinear(32, 10), nn.BatchNorm1d(10)),
    )
    optimizer = QPSBGD(model.named_parameters(), **options)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
    checkpoint, begin = folder / "checkpoint.pt", 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        torch.set_rng_state(saved["random"])
        begin = saved["steps"]
    for step in range(begin, STEPS):
        x, y = torch.randn(16, 1, 8, 8), torch.randint(10, (16,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        schedule.step()
        with atomic_write(checkpoint) as file:
            states = {name: part.state_dict() for name, part in parts.items()}
            torch.save({**states, "random": torch.get_rng_state(), "steps": step + 1}, file)


@pytest.mark.skipif(sys.platform != "linux", reason="forks: torch does that on Linux only")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("options", [{}, {"variant": "projected"}], ids=["continuous", "projected"])
def test_killed_training_goes_on_to_the_same_bits(tmp_path, options):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    begin = time.perf_counter()
    train(whole, options)
    duration = time.perf_counter() - begin
    moments = random.Random(3)
    for _ in range(KILLS):
        process = mp.get_context("fork").Process(target=train, args=(killed, options))
        process.start()
        time.sleep(moments.uniform(0, 1.5 * duration / KILLS))
        process.kill()
        process.join()
    train(killed, options)
    one, other = (torch.load(folder / "checkpoint.pt", weights_only=True) for folder in (whole, killed))
    assert one["steps"] == other["steps"] == STEPS
    assert same(one, other)
