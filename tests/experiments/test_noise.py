"""The noise experiment: devices as stated, ways of using them, and tables against the level of noise."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from qpsbgd import QPSBGD
from qpsbgd.data.datasets import Dataset
from qpsbgd.experiments import EXPERIMENTS, Experiment, Result, Run
from qpsbgd.experiments.classification import prepare
from qpsbgd.experiments.networks import Mlp
from qpsbgd.experiments.noise import CHANNELS, CHANNELS_EXPERIMENT, EXPERIMENT, NoisyTraining
from qpsbgd.report import axis_table, draw_against_axis
from qpsbgd.solvers import DeviceNoise
from training import batches, small_net, states_equal, train

TINY = EXPERIMENT.tasks[0].replaced(network=Mlp((6, 8, 2), "relu"), batch_size=20, steps=4)


@pytest.fixture(scope="module")
def samples():
    x = np.random.default_rng(0).normal(size=(120, 6)).astype(np.float32)
    y = (x.sum(axis=1) > 0).astype(np.int64)
    return prepare(Dataset("tiny", x[:80], y[:80], x[80:], y[80:], 2), "centred")


def run(task, way, samples, seed=0):
    return task.train(way, task.optimizers[way], seed, samples)


def stepped(way, level=0.0, memory=True):
    """The small net after three steps."""
    net = small_net()
    train(net, TINY.replaced(level=level).make_optimizer(TINY.optimizers[way], net, 0), batches(3))
    return net


def test_sign_is_qpsbgd_without_any_qubo():
    net = small_net()
    train(net, QPSBGD(net.parameters(), lr=0.01, kappa=0.0), batches(3))
    assert states_equal(net, stepped("sign"))


def test_raw_answers_of_a_perfect_device_are_those_that_are_kept():
    # Up to 20 spins annealing finds the optimum, which is never above sign(p).
    assert states_equal(stepped("raw"), stepped("keep-better"))


def test_raw_answers_of_a_bad_device_are_not_kept():
    assert not states_equal(stepped("raw", level=32.0), stepped("keep-better", level=32.0))


def test_rows_without_gradient_or_input_stay():
    layer = nn.Sequential(*list(small_net())[:1])
    before = layer[0].weight.detach().clone()
    optimizer = TINY.make_optimizer(TINY.optimizers["raw"], layer, 0)
    x = torch.randn(5, 6)
    x[:, 2] = 0.0
    layer(x)[:, 1:].square().mean().backward()  # neuron 0 has no gradient, input 2 is always zero
    optimizer.step()
    moved = layer[0].weight.detach() != before
    assert not moved[0].any()
    assert not moved[:, 2].any()
    assert moved[1:, [0, 1, 3, 4, 5]].all()


@pytest.mark.parametrize("way", EXPERIMENT.tasks[0].optimizers)
def test_run_measures_accuracy_cdp_and_gap_and_is_repeatable(samples, way):
    task = TINY.replaced(level=4.0)
    one, same = (run(task, way, samples) for _ in range(2))
    assert {"test_accuracy", "step_cdp", "sign_cdp", "gap", "train_loss"} <= set(one.metrics)
    assert one.metrics["gap"] >= 0
    assert all(0 <= one.metrics[name] <= 1 for name in ("step_cdp", "sign_cdp", "test_accuracy"))
    assert states_equal_dicts(one.weights, same.weights)
    json.dumps(one.to_json(), allow_nan=False)


def states_equal_dicts(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_noise_opens_the_gap_and_mitigation_narrows_it(samples):
    task = TINY.replaced(steps=20, level=32.0)
    raw = run(task, "raw", samples).metrics["gap"]
    assert run(TINY.replaced(steps=20), "raw", samples).metrics["gap"] < 1e-6
    for way in ("more-reads", "spin-reversal", "descent", "keep-better"):
        assert run(task, way, samples).metrics["gap"] < raw


def test_channels_together_are_the_whole_noise():
    whole = TINY.replaced(level=8.0).device(seed=3)
    assert whole == replace(DeviceNoise().scaled(8), device_seed=3)
    perfect = replace(DeviceNoise().scaled(0), device_seed=3)
    changed = [
        {
            name
            for name, value in vars(TINY.replaced(level=8.0, channel=channel).device(3)).items()
            if value != vars(perfect)[name]
        }
        for channel in CHANNELS[1:]
    ]
    assert sum(map(len, changed)) == len(set.union(*changed))
    assert set.union(*changed) == {name for name in vars(whole) if vars(whole)[name] != vars(perfect)[name]}


def test_unknown_channel_is_refused():
    with pytest.raises(ValueError, match="channel is 'heat', expected one of all, control errors"):
        TINY.replaced(channel="heat").device(0)


def test_both_experiments_are_in_the_catalogue():
    assert EXPERIMENTS["noise"] is EXPERIMENT
    assert EXPERIMENTS["noise-channels"] is CHANNELS_EXPERIMENT
    assert all(isinstance(task, NoisyTraining) for task in (*EXPERIMENT.tasks, *CHANNELS_EXPERIMENT.tasks))


# Against an axis


LEVELS = Experiment("levels", "", EXPERIMENT.tasks[:2], "level", EXPERIMENT.positions[:2], ("gap",))
RESULTS = [
    Result(
        task.name,
        way,
        {},
        tuple(Run(seed, {"test_accuracy": 0.9 - at / 10 + seed / 100, "gap": at}) for seed in range(2)),
    )
    for task, at in zip(LEVELS.tasks, LEVELS.positions, strict=True)
    for way in ("raw", "sign")
    if (way, at) != ("sign", 1.0)
]


def test_table_has_a_line_per_optimizer_and_a_column_per_task():
    assert axis_table(LEVELS, RESULTS, "test_accuracy").splitlines() == [
        "| test accuracy at level | 0 | 1 |",
        "| --- | --- | --- |",
        "| raw | 0.905 ± 0.007 | 0.805 ± 0.007 |",
        "| sign | 0.905 ± 0.007 |  |",
    ]


def test_picture_is_written(tmp_path):
    draw_against_axis(LEVELS, RESULTS, tmp_path / "a" / "levels.png")
    assert (tmp_path / "a" / "levels.png").read_bytes().startswith(b"\x89PNG")


def test_experiment_without_axis_is_refused():
    with pytest.raises(ValueError, match="experiment 'noise-channels' has no axis"):
        axis_table(CHANNELS_EXPERIMENT, RESULTS, "gap")
