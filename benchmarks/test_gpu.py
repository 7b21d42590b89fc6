"""Steps, projections and solves of `gpu.py` on a GPU are as good as the host's; the times are its own."""

import pytest
import torch

from gpu import NETS, ROWS, SOLVES, layer, mean_objective, rows_of_layer, training_step
from qpsbgd import solve_ising
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


@pytest.mark.parametrize(("method", "sweeps", "rows"), SOLVES)
def test_solves_are_as_good_as_native_ones(method, sweeps, rows):
    h, J = rows_of_layer(784, rows)
    options = {"method": method, "num_sweeps": sweeps, "seed": 0}
    native = solve_ising(h, J, **options).energies.mean()
    own = solve_ising(torch.tensor(h).cuda(), torch.tensor(J).cuda(), **options)
    assert own.samples.is_cuda
    assert own.energies.mean().item() < native + 5e-3 * abs(native)


@pytest.mark.parametrize(("method", "sweeps"), [("tabu", 1), ("anneal", 3), ("descent", None)])
def test_answers_of_kernels_are_those_of_torch_operations(method, sweeps):
    h, J = (torch.from_numpy(part) for part in rows_of_layer(784, 6))
    options = {"method": method, "num_sweeps": sweeps, "seed": 0, "num_reads": 2}
    own, expected = (solve_ising(h, J, device=device, **options) for device in ("cuda", "cpu"))
    assert torch.equal(own.samples.cpu(), expected.samples)
    assert torch.equal(own.energies.cpu(), expected.energies)


def test_widest_problems_are_solved():
    generator = torch.Generator().manual_seed(0)
    J = torch.randint(-1, 2, (8192, 8192), generator=generator, dtype=torch.int8)
    answer = solve_ising(None, J.cuda(), method="tabu", num_sweeps=1, num_reads=4, seed=0)
    spins = answer.samples[0].cpu().double()
    assert torch.equal(((spins @ J.double()) * spins).sum(dim=1), answer.energies[0].cpu())
