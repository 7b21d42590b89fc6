"""A training in several processes goes on after the loss of one, and with another number of them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch.distributed import checkpoint
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict
from torch.utils._pytree import tree_leaves

from process_groups import assert_equal_weights, in_processes, weights
from qpsbgd.optim import QPSBGD
from training import small_net

EXAMPLE = Path(__file__).parents[2] / "examples" / "torchrun_training.py"


def children(process):
    return Path(f"/proc/{process}/task/{process}/children").read_text().split()


def killed_once(folder):
    """Run the example under torchrun, and kill one of its processes after the first checkpoint."""
    options = ["--standalone", "--nproc-per-node=2", "--max-restarts=1"]
    command = [sys.executable, "-m", "torch.distributed.run", *options, str(EXAMPLE), str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (
        (folder / "output").open("w+") as output,
        subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT) as torchrun,
    ):
        try:
            while not (folder / "checkpoint.pt").exists() and torchrun.poll() is None:
                time.sleep(0.005)
            if torchrun.poll() is None:
                os.kill(int(children(torchrun.pid)[-1]), signal.SIGKILL)
            torchrun.wait(240)
        finally:
            torchrun.kill()
    text = (folder / "output").read_text()
    assert torchrun.returncode == 0, text
    return text


def test_torchrun_restarts_from_the_last_checkpoint_to_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLE.parent))
    import torchrun_training

    cut, whole = tmp_path / "cut", tmp_path / "whole"
    cut.mkdir()
    whole.mkdir()
    output = killed_once(cut)
    assert "going on from step" in output
    assert float(output.split()[-1]) > 0.93, output

    def uninterrupted(rank):
        torchrun_training.train(whole)

    _, errors = in_processes(tmp_path, uninterrupted)
    assert errors == [None, None]
    one, other = (torch.load(folder / "checkpoint.pt", weights_only=True) for folder in (cut, whole))
    assert one["step"] == other["step"] == torchrun_training.STEPS
    pairs = list(zip(tree_leaves(one), tree_leaves(other), strict=True))
    assert len(pairs) > 20
    assert all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


def batch_of(step):
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(12, 6, generator=generator).double()
    return x, (x[:, :3] + 0.3 * x[:, 3:]).sin()


def steps_on(model, optimizer, rank, size, steps):
    for step in steps:
        x, y = (values[rank::size] for values in batch_of(step))
        optimizer.zero_grad()
        (model(x) - y).square().mean().backward()
        optimizer.step()


def test_a_checkpoint_of_two_processes_is_loaded_by_three_and_by_one(tmp_path):
    folder = tmp_path / "saved"

    def made():
        torch.manual_seed(3)
        model = small_net(torch.float64)
        model[1] = torch.nn.Tanh()  # the statistics of batch norm are each process's own
        return model, QPSBGD(model.parameters(), parallelism="rows", memory="momentum", gram_every=2)

    def first(rank):
        model, optimizer = made()
        steps_on(model, optimizer, rank, 2, range(3))
        state = {"model": model.state_dict(), "optimizer": get_optimizer_state_dict(model, optimizer)}
        checkpoint.save(state, checkpoint_id=folder)
        steps_on(model, optimizer, rank, 2, range(3, 6))
        return weights(model)

    def then(size):
        def loaded(rank):
            model, optimizer = made()
            state = {"model": model.state_dict(), "optimizer": get_optimizer_state_dict(model, optimizer)}
            checkpoint.load(state, checkpoint_id=folder)
            model.load_state_dict(state["model"])
            set_optimizer_state_dict(model, optimizer, state["optimizer"])
            steps_on(model, optimizer, rank, size, range(3, 6))
            return weights(model)

        return loaded

    expected, errors = in_processes(tmp_path, first)
    assert errors == [None, None]
    for size in (2, 3, 1):
        found, errors = in_processes(tmp_path, then(size), size=size)
        assert errors == [None] * size
        assert_equal_weights(found)
        for one, other in zip(found[0], expected[0], strict=True):
            if size == 2:
                assert (one == other).all()
            else:
                torch.testing.assert_close(torch.tensor(one), torch.tensor(other), rtol=0, atol=1e-9)
