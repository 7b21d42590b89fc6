"""`gram_every`: a Gram matrix serves several steps."""

import copy
import io

import numpy as np
import pytest
import torch
from torch import nn

from qpsbgd.nn import BinaryConv2d, BinaryLinear
from qpsbgd.optim import QPSBGD
from qpsbgd.step import inputs

LAYERS = {
    "linear": (lambda: BinaryLinear(8, 6), (20, 8), 1),
    "channel groups": (lambda: BinaryConv2d(4, 6, 2, groups=2), (3, 4, 5, 5), 2),
}
VARIANTS = {
    "error feedback": {},
    "momentum": {"memory": "momentum"},
    "other solver": {"solver": "neal"},
    "gauss-newton": {"variant": "projected"},
    "majorizer": {"variant": "projected", "majorizer": 0.5},
}


def take_steps(model, optimizer, shape, steps):
    """Take these steps, each on inputs of its own."""
    for step in steps:
        x = torch.randn(shape, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        (model(x) - 1.0).square().mean().backward()
        optimizer.step()


@pytest.fixture
def made(monkeypatch):
    """How many times the matrices of a layer were made."""
    calls = []
    real = inputs.gram_matrices

    def counted(*arguments):
        calls.append(1)
        return real(*arguments)

    monkeypatch.setattr(inputs, "gram_matrices", counted)
    return calls


@pytest.mark.parametrize("layer", LAYERS)
def test_matrix_of_a_step_serves_the_next_ones(layer):
    build, shape, groups = LAYERS[layer]
    seen = {}
    for every in (1, 3):
        torch.manual_seed(0)
        model = build()
        optimizer = QPSBGD(model.parameters(), gram_every=every)
        matrices = seen.setdefault(every, [])
        optimizer.register_projection_hook(lambda projection, seen=matrices: seen.append(projection.A.copy()))
        take_steps(model, optimizer, shape, range(5))
    # The inputs do not depend on the weights, so that both runs see the same.
    fresh, kept = (np.array(seen[every]).reshape(5, groups, *seen[every][0].shape) for every in (1, 3))
    assert not np.array_equal(fresh[0], fresh[1])
    np.testing.assert_array_equal(kept, fresh[[0, 0, 0, 3, 3]])


@pytest.mark.parametrize("variant", VARIANTS)
def test_matrices_are_made_in_every_third_step_only(variant, made):
    model = BinaryLinear(8, 6)
    optimizer = QPSBGD(model.parameters(), gram_every=3, **VARIANTS[variant])
    counts = []
    for step in range(7):
        take_steps(model, optimizer, (20, 8), [step])
        counts.append(len(made))
    assert counts == [1, 1, 1, 2, 2, 2, 3]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("layer", LAYERS)
def test_training_resumes_with_the_kept_matrix(layer, variant):
    build, shape, _ = LAYERS[layer]
    torch.manual_seed(0)
    model = build()
    optimizer = QPSBGD(model.parameters(), gram_every=3, **VARIANTS[variant])
    take_steps(model, optimizer, shape, range(2))
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    other = copy.deepcopy(model)
    resumed = QPSBGD(other.parameters(), gram_every=1, **VARIANTS[variant])
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for one, by in ((model, optimizer), (other, resumed)):
        take_steps(one, by, shape, range(2, 6))
    assert torch.equal(model.weight, other.weight)


def test_matrix_does_not_serve_after_its_steps_though_the_weight_took_none(made):
    model = nn.ModuleList([BinaryLinear(8, 6), BinaryLinear(8, 6)])
    optimizer = QPSBGD(model.parameters(), gram_every=2)
    take_steps(model[0], optimizer, (20, 8), [0])
    take_steps(model[1], optimizer, (20, 8), [1, 2])
    assert len(made) == 2
    take_steps(model[0], optimizer, (20, 8), [3])
    assert len(made) == 3


def test_every_step_makes_its_matrix_by_default():
    model = BinaryLinear(8, 6)
    optimizer = QPSBGD(model.parameters())
    take_steps(model, optimizer, (20, 8), range(2))
    assert optimizer.param_groups[0]["gram_every"] == 1
    assert set(optimizer.state[model.weight]) == {"residual"}


@pytest.mark.parametrize("value", [0, -1])
def test_number_below_one_is_refused(value):
    with pytest.raises(ValueError, match=f"Invalid gram_every: {value}"):
        QPSBGD(BinaryLinear(8, 6).parameters(), gram_every=value)


def test_matrices_of_every_neuron_are_not_kept():
    with pytest.raises(ValueError, match="gram_every"):
        QPSBGD(BinaryLinear(8, 6).parameters(), jacobian="post-activation", gram_every=2)
