"""Adam for many parameters at once: the bits of one after the other."""

import copy

import pytest
import torch

from qpsbgd.optim.adam import OtherStep, adam_step, adam_steps

SHAPES = [(1,), (3,), (17,), (64, 64), (200, 100), (0,), ()]
"""One is too large to be stepped with others."""


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.complex64])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_steps_together_have_the_bits_of_steps_one_by_one(dtype, weight_decay):
    torch.manual_seed(0)
    together = [torch.randn(shape, dtype=dtype) for shape in SHAPES]
    alone = copy.deepcopy(together)
    states, states_alone = [{} for _ in SHAPES], [{} for _ in SHAPES]
    group = {"other_betas": (0.8, 0.99), "other_eps": 1e-6, "weight_decay": weight_decay}
    other = {"other_betas": (0.5, 0.9), "other_eps": 1e-8}  # as of an optimizer without weight decay
    for step in range(4):
        # Now and then a parameter has no gradient: its steps lag behind.
        taking = [place for place in range(len(SHAPES)) if (place + step) % 3]
        gradients = {place: torch.randn(SHAPES[place], dtype=dtype) for place in taking}
        groups = {place: other if place == 1 else group for place in taking}
        lr = 0.1 / (step + 1)
        adam_steps([OtherStep(together[n], gradients[n], states[n], groups[n], lr) for n in taking])
        for n in taking:
            decay = 1.0 - lr * groups[n].get("weight_decay", 0.0)
            betas, eps = groups[n]["other_betas"], groups[n]["other_eps"]
            adam_step(alone[n], gradients[n], states_alone[n], lr, betas, eps, decay)
        for one, two in zip(together, alone, strict=True):
            assert torch.equal(one, two)
        for one, two in zip(states, states_alone, strict=True):
            assert one.keys() == two.keys()
            assert all(torch.equal(torch.as_tensor(one[name]), torch.as_tensor(two[name])) for name in one)


def test_a_step_that_may_not_be_taken_changes_nothing_and_others_are():
    states = [{}, {}]
    parameters = [torch.ones(2), torch.ones(2)]
    group = {"other_betas": (0.9, 0.999), "other_eps": 1e-8}
    flags = (torch.tensor(False), None)
    adam_steps(
        [
            OtherStep(parameter, torch.ones(2), state, group, 0.5, only)
            for parameter, state, only in zip(parameters, states, flags, strict=True)
        ]
    )
    assert torch.equal(parameters[0], torch.ones(2))
    assert torch.allclose(parameters[1], torch.full((2,), 0.5))
