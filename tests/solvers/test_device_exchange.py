"""Replica exchange on a device, here on the CPU: its ladders, its probabilities and its answers."""

import numpy as np
import pytest
import torch

from interpreted import interpreted
from oracles import all_spins
from qpsbgd import NativeSampler, solve_ising
from qpsbgd.problem import ising_problem
from qpsbgd.solvers.device import moves
from qpsbgd.solvers.device.choose import has_triton
from qpsbgd.solvers.device.exchange import RUNGS, Ladders, exchange
from qpsbgd.solvers.device.fixed import fixed_couplings, fixed_fields
from qpsbgd.solvers.device.reads import placed
from qpsbgd.solvers.device.search import Search, quantiles
from qpsbgd.solvers.device.streams import read_keys


@pytest.fixture(autouse=True)
def one_thread():
    """Small operations: more threads than one cost time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def rounded(h, J):
    """Couplings and fields (1, 1, n) as the search has them."""
    sides = torch.from_numpy(J + J.T)[None]
    sides.diagonal(dim1=-2, dim2=-1).zero_()
    couplings = fixed_couplings(sides)
    return couplings, fixed_fields(torch.from_numpy(h)[None, None], couplings.shifts)


def chain(n, seed):
    """A chain whose couplings fall with the distance: annealing often stays in its valleys."""
    random, place = np.random.default_rng(seed), np.arange(n)
    distance = np.abs(place[:, None] - place)
    distance = np.minimum(distance, n - distance)
    return np.triu(random.normal(size=(n, n)) / np.maximum(distance, 1) ** 3, 1)


def test_every_rung_has_the_probabilities_of_its_temperature():
    """Many ladders of three spins, swept and swapped: Boltzmann's distribution at the ends and between."""
    random, count = np.random.default_rng(2), 3000
    h, J = random.normal(size=3), random.normal(size=(3, 3))
    couplings, own = rounded(h, J)
    own = own.expand(1, count * RUNGS, 3)
    zeros = torch.zeros(1, count, dtype=torch.int64)
    keys = read_keys(1, 0, zeros, torch.arange(count)[None])
    of_replicas = read_keys(2, 0, zeros.repeat_interleave(RUNGS, 1), torch.arange(count * RUNGS)[None])
    reads = placed(couplings.values, own, torch.ones_like(own, dtype=torch.int8), of_replicas)
    unit = torch.full((1, count), 2.0 ** int(couplings.shifts), dtype=torch.float64)
    ladders, table = Ladders.of(unit, 10.0, 0.7), quantiles(torch.device("cpu"))
    levels, swapped = reads.levels(), torch.zeros(RUNGS)
    for sweep in range(16):
        before = ladders.replicas.clone()
        ladders.swap(levels + 4 * reads.now, keys, sweep, table)
        swapped += (ladders.replicas != before).float().mean(dim=(0, 1))
        moves.anneal(reads, sweep, ladders.of_replicas(), table)
    assert (swapped > 2).all()  # of eight times that a rung may swap with a neighbour on each side
    states, energies = all_spins(3), ising_problem(h, J).energies(all_spins(3)[None])[0]
    spins = reads.spins[0].unflatten(0, (count, RUNGS))
    for rung, temperature in ((0, 10.0), (8, 10.0 * 0.07 ** (8 / 15)), (15, 0.7)):
        at = spins.gather(1, ladders.replicas[0, :, rung, None, None].expand(-1, 1, 3))[:, 0].numpy()
        found = np.array([(at == state).all(axis=1).mean() for state in states])
        weights = np.exp(-energies / temperature)
        np.testing.assert_allclose(found, weights / weights.sum(), atol=0.035)


def test_ladders_stay_ladders():
    typical = torch.tensor([[2.0, 3.0]], dtype=torch.float64)
    ladders, table = Ladders.of(typical, 1.0, 0.1), quantiles(torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    keys = torch.arange(2)[None]
    for number in range(6):
        levels = torch.randint(-9, 9, (1, 2 * RUNGS), generator=generator)
        before = ladders.replicas.clone()
        ladders.swap(levels, keys, number, table)
        assert torch.equal(ladders.replicas.sort(dim=-1).values, torch.arange(RUNGS).expand(1, 2, RUNGS))
        if number % 2:
            assert torch.equal(ladders.replicas[..., [0, -1]], before[..., [0, -1]])
    own = ladders.of_replicas()[0, RUNGS:]
    assert own[ladders.replicas[0, 1, 0]] == own.max() == 1.5
    assert own[ladders.replicas[0, 1, -1]] == own.min()


def test_a_lower_state_at_the_hotter_rung_always_goes_to_the_colder_one():
    ladders = Ladders.of(torch.ones(1, 1, dtype=torch.float64), 1.0, 0.1)
    levels = torch.arange(RUNGS)[None] * 1000  # the hotter the lower
    ladders.swap(levels, torch.zeros(1, 1, dtype=torch.int64), 0, quantiles(torch.device("cpu")))
    expected = torch.arange(RUNGS).unflatten(0, (-1, 2)).flip(-1).flatten()
    assert torch.equal(ladders.replicas[0, 0], expected)
    # Now the colder one is so much lower that no swap has a chance.
    ladders.swap(levels, torch.zeros(1, 1, dtype=torch.int64), 2, quantiles(torch.device("cpu")))
    assert torch.equal(ladders.replicas[0, 0], expected)


def test_chains_end_lower_than_by_as_many_annealing_runs():
    options = {"num_sweeps": 60, "seed": 0, "device": "cpu"}
    lower = []
    for seed in range(6):
        J = chain(60, seed)
        by_ladder = solve_ising(None, J, method="exchange", **options).best_energies.item()
        by_runs = solve_ising(None, J, method="anneal", num_reads=RUNGS, **options).best_energies.item()
        lower.append(by_runs - by_ladder)
    assert np.mean(lower) >= 0


def test_temperatures_and_sweeps_are_told():
    J = chain(20, 0)
    answer = solve_ising(
        None, J, method="exchange", num_reads=2, num_sweeps=5, beta_range=(0.1, 2.0), seed=0, device="cpu"
    )
    assert answer.info["method"] == "exchange"
    assert answer.info["beta_range"] == pytest.approx((0.1, 2.0))
    assert answer.info["sweeps"] == 2 * 5 * RUNGS


def test_problems_without_couplings_or_with_one_spin_have_ladders_too():
    for h, J in ((np.zeros(4), np.zeros((4, 4))), (np.array([2.0]), np.zeros((1, 1)))):
        answer = solve_ising(h, J, method="exchange", num_sweeps=9, seed=0, device="cpu")
        assert answer.best_energies.item() == -np.abs(h).sum()


def test_exchange_is_for_devices():
    with pytest.raises(ValueError, match="method 'exchange' needs a device, such as device='cuda'"):
        solve_ising(None, np.zeros((2, 2)), method="exchange")
    sampler = NativeSampler(device="cpu")
    assert (
        sampler.sample_ising({}, {("a", "b"): 1.0}, method="exchange", num_sweeps=3, seed=0).first.energy
        == -1
    )


@pytest.mark.skipif(not has_triton(), reason="Triton is not installed (pip install triton, 1 GB)")
def test_kernels_give_the_answer_of_the_torch_operations(monkeypatch):
    name = "qpsbgd.solvers.device.kernel"
    couplings, own = rounded(np.zeros(5), chain(5, 1))
    one = torch.zeros(1, 1, dtype=torch.int64)
    how = Search("exchange", 6, None, seed=0)
    expected = exchange(couplings, own, None, one, one, how)
    called = []
    with interpreted(name) as kernel:
        anneal = kernel.anneal
        monkeypatch.setattr(kernel, "anneal", lambda *given: called.append(1) or anneal(*given))
        monkeypatch.setattr("qpsbgd.solvers.device.exchange.moves_of", lambda device, width: kernel)
        found = exchange(couplings, own, None, one, one, how)
    assert len(called) == 6
    assert torch.equal(found.spins, expected.spins)
    assert (found.sweeps, found.beta_range) == (expected.sweeps, expected.beta_range)
