"""Steps and projections of `gpu.py` on a GPU are as good as those of the host; the times are its own."""

import pytest
import torch

from gpu import NETS, ROWS, layer, mean_objective, training_step
from qpsbgd.step.device.project import project_tensors
from qpsbgd.step.rows import native_step

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.name)
def test_steps_on_the_device_lower_the_loss(net):
    step = training_step(net, "QPSBGD, device", "cuda")
    losses = [step().item() for _ in range(20)]
    assert sum(losses[-4:]) < sum(losses[:4])


@pytest.mark.parametrize("rows", ROWS)
def test_projections_are_as_good_as_native_ones(rows):
    p, A = layer(*rows)
    native = mean_objective(torch.tensor(native_step(p.numpy(), A.numpy())[0]), p, A)
    own = mean_objective(project_tensors(p.cuda(), A.cuda()[None]), p, A)
    assert own < native + 1e-3 * abs(native)
