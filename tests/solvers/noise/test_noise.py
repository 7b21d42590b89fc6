"""Noisy devices: each channel against its closed form, and what undoes them."""

import math
import pickle
import tracemalloc
from dataclasses import replace

import dimod
import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st

from oracles import all_spins
from qpsbgd import QPSBGD
from qpsbgd.problem import CSRCouplings, Solutions, ising_problem, qubo_problem
from qpsbgd.solvers import DeviceNoise, DimodSolver, NativeSolver, NoisySolver
from qpsbgd.solvers.noise.readout import misread
from training import batches, small_net, train

PERFECT = DeviceNoise().scaled(0)


class Recorder:
    """Keeps what reaches it, and answers with all spins up."""

    def __init__(self, reads=1):
        self.reads, self.problems, self.seeds = reads, [], []

    def solve(self, problem, *, seed):
        self.problems.append(problem)
        self.seeds.append(seed)
        spins = np.ones((problem.num_problems, self.reads, problem.num_spins), dtype=np.int8)
        return Solutions(spins, problem.energies(spins))


class Exact:
    """Finds the ground state of whatever it is given, by trying all states."""

    def solve(self, problem, *, seed):
        states = np.broadcast_to(
            all_spins(problem.num_spins), (problem.num_problems, 2**problem.num_spins, problem.num_spins)
        )
        energies = problem.energies(states)
        best = states[0][energies.argmin(axis=1)][:, None, :]
        return Solutions(best, problem.energies(best))


def only(**channels):
    """A device that is perfect but for these, with one qubit a spin, so that scales are plain."""
    return replace(PERFECT, **{"chain_length": 1, **channels})


def batch(b=3, n=6, seed=0, **options):
    rng = np.random.default_rng(seed)
    return ising_problem(rng.normal(size=(b, n)), rng.normal(size=(n, n)), **options)


def programmed(problem, device, seed=0, **settings):
    """All rows as the device holds them: fields (b, n) and couplings (b, n, n)."""
    recorder = Recorder()
    NoisySolver(recorder, device, **settings).solve(problem, seed=seed)
    h = np.concatenate([part.h for part in recorder.problems])
    J = np.concatenate(
        [
            part.coupling_scale * np.broadcast_to(part.J, (len(part.h), *part.J.shape[-2:]))
            for part in recorder.problems
        ]
    )
    return h, J


def pairs(J):
    """Couplings of all pairs, both halves together."""
    i, j = np.triu_indices(J.shape[-1], 1)
    return J[..., i, j] + J[..., j, i]


# No noise


@given(
    seed=st.integers(0, 2**64 - 1),
    method=st.sampled_from(["exact", "descent", "anneal", "tabu"]),
    reads=st.integers(1, 3),
)
def test_without_noise_the_answer_is_the_wrapped_solvers(seed, method, reads):
    solver = NativeSolver(method=method, num_reads=reads, num_sweeps=3, num_threads=1)
    expected = solver.solve(batch(), seed=seed)
    found = NoisySolver(solver, PERFECT).solve(batch(), seed=seed)
    np.testing.assert_array_equal(found.samples, expected.samples)
    np.testing.assert_array_equal(found.energies, expected.energies)


def test_without_noise_training_is_the_wrapped_solvers():
    def weights(solver):
        net = small_net()
        train(net, QPSBGD(net.parameters(), solver=solver), batches(3))
        return net.state_dict()

    solver = NativeSolver(method="anneal", num_sweeps=5)
    one, other = weights(solver), weights(NoisySolver(solver, PERFECT))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_reversed_spins_and_exact_coefficients_give_the_same_ground_state():
    problem = batch()
    found = NoisySolver(Exact(), PERFECT, num_spin_reversal_transforms=3).solve(problem, seed=5)
    np.testing.assert_array_equal(found.samples[:, 1], Exact().solve(problem, seed=0).best_samples)


# Control errors


def assert_gaussian(errors, deviation):
    """Mean, spread and the share within one standard deviation, each within 4 of its own deviations."""
    count = errors.size
    assert abs(errors.mean()) < 4 * deviation / math.sqrt(count)
    assert abs(errors.std() / deviation - 1) < 4 / math.sqrt(2 * count)
    assert abs(np.mean(np.abs(errors) < deviation) - math.erf(math.sqrt(0.5))) < 4 * 0.5 / math.sqrt(count)


def constant_fields(value, b, n):
    return ising_problem(np.full((b, n), value), np.zeros((n, n)))


def test_field_errors_are_gaussian_of_the_stated_size():
    h, _ = programmed(constant_fields(2.0, 400, 50), only(h_error=0.1))
    assert_gaussian(2.0 * (h - 2.0), 0.1)  # fields of 2 are scaled to the range's end, 4


def test_coupling_errors_are_gaussian_of_the_stated_size_and_differ_between_rows():
    problem = ising_problem(np.zeros((60, 30)), np.full((30, 30), 0.25))
    _, J = programmed(problem, only(J_error=0.05))
    errors = 2.0 * (pairs(J) - 0.5)  # couplings of .25 + .25 are scaled to 1
    assert_gaussian(errors, 0.05)
    assert np.abs(np.corrcoef(errors)[np.triu_indices(60, 1)]).max() < 5 / math.sqrt(errors.shape[1])


def test_errors_of_a_chains_qubits_add_up():
    h, _ = programmed(constant_fields(3.0, 200, 40), only(h_error=0.1, chain_length=9))
    # The field is spread over 9 qubits that reach 4 each, so the scale is 12.
    assert_gaussian(12.0 * (h - 3.0), math.sqrt(9) * 0.1)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_persistent_errors_return_with_every_programming_of_the_same_device(share):
    problem = constant_fields(4.0, 100, 50)

    def errors(seed, device_seed=0):
        device = only(h_error=0.1, persistent=share, device_seed=device_seed)
        return (programmed(problem, device, seed=seed)[0] - 4.0).ravel()

    def correlation(one, other):
        return np.corrcoef(one, other)[0, 1]

    assert abs(correlation(errors(1), errors(2)) - share) < 4 / math.sqrt(5000)
    assert abs(correlation(errors(1), errors(1, device_seed=7)) - (1 - share)) < 4 / math.sqrt(5000)


def test_persistent_errors_stay_with_the_qubits_when_spins_are_reversed():
    recorder = Recorder()
    solver = NoisySolver(recorder, only(h_error=0.1, persistent=1.0), num_spin_reversal_transforms=2)
    solver.solve(constant_fields(4.0, 1, 400), seed=3)
    h = np.concatenate([part.h for part in recorder.problems])
    gauges = np.where(h > 0, 1, -1)
    errors = h - 4.0 * gauges
    np.testing.assert_allclose(errors[0], errors[1], atol=1e-6)
    assert abs(np.corrcoef(gauges * errors)[0, 1]) < 4 / math.sqrt(400)


# Scale and precision


def test_row_fills_the_device_ranges():
    h, J = np.array([[1.0, 8.0, 0.0], [0.0, 0.0, 1.0]]), np.zeros((3, 3))
    J[0, 1], J[2, 0] = 0.5, -0.25
    device = only(h_error=1.0, J_error=1.0, persistent=1.0)
    found_h, found_J = programmed(ising_problem(h, J), device)
    units_h, units_J = programmed(ising_problem(np.zeros((2, 3)), np.triu(np.ones((3, 3)))), device)
    # Row 0 is limited by its field of 8 (scale 1/2), row 1 by the coupling of .5 (scale 2).
    scale = np.array([[0.5], [2.0]])
    np.testing.assert_allclose(found_h - h, units_h / scale, rtol=1e-5)
    np.testing.assert_allclose(pairs(found_J) - pairs(J), (pairs(units_J) - 1.0) / scale, rtol=1e-5)


def test_strong_chains_shrink_the_problem():
    problem = ising_problem(np.zeros((1, 30)), np.triu(np.ones((30, 30)), 1))
    in_chains = programmed(problem, only(h_error=1.0, persistent=1.0, chain_length=4))[0]
    bare = programmed(problem, only(h_error=1.0, persistent=1.0))[0]
    # Ocean's chain strength for a clique of 30 with J = ±1 is 7.61, in a range of 2.
    np.testing.assert_allclose(in_chains / bare, math.sqrt(4) * 7.6146 / 2.0, rtol=1e-4)


@pytest.mark.parametrize("bits", [2, 3, 8])
def test_coefficients_are_rounded_to_the_devices_steps(bits):
    problem = batch(b=4, n=8)
    h, J = programmed(problem, only(precision_bits=bits))
    levels = 2 ** (bits - 1) - 1
    for row in range(4):
        scale = min(4 / np.abs(problem.h[row]).max(), 1 / np.abs(pairs(problem.J)).max())
        for found, wanted, limit in ((h[row], problem.h[row], 4), (pairs(J[row]), pairs(problem.J), 1)):
            steps = found * scale * levels / limit
            np.testing.assert_allclose(steps, np.rint(steps), atol=1e-6)
            assert np.abs(steps).max() <= levels + 1e-6
            assert np.abs(steps - wanted * scale * levels / limit).max() <= 0.5 + 1e-6


def test_fine_steps_change_nothing():
    problem = batch()
    h, J = programmed(problem, only(precision_bits=52))
    np.testing.assert_allclose(h, problem.h, rtol=1e-12)
    np.testing.assert_allclose(pairs(J), np.broadcast_to(pairs(problem.J), (3, 15)), rtol=1e-12)


# Chains and readout


def flips(device, b=200, n=100, reads=5, seed=0):
    """Fraction of spins read wrongly, of chains read with differing qubits, and how many there were."""
    problem = ising_problem(np.zeros((b, n)), np.zeros((n, n)))
    answer = NoisySolver(Recorder(reads), device).solve(problem, seed=seed)
    return np.mean(answer.samples < 0), answer.info["chain_break_fraction"], answer.samples.size


def wrong_vote(chain, link, readout, vote):
    """Probability that a chain's vote is wrong, by summing over everything that can happen."""
    broken = 1 - (1 - link) ** (chain - 1)
    held = {chain: 1 - broken}
    for part in range(1, chain):
        for right, share in ((part, part / chain), (chain - part, 1 - part / chain)):
            held[right] = held.get(right, 0.0) + broken / (chain - 1) * share
    total = differ = 0.0
    for right, weight in held.items():
        for missed in range(right + 1):
            for luck in range(chain - right + 1):
                heard = right - missed + luck
                chance = weight * math.comb(right, missed) * math.comb(chain - right, luck)
                chance *= readout ** (missed + luck) * (1 - readout) ** (chain - missed - luck)
                differ += chance * (0 < heard < chain)
                if vote == "weighted_random":
                    total += chance * (1 - heard / chain)
                else:
                    total += chance * (0.5 if 2 * heard == chain else 2 * heard < chain)
    return total, differ


@pytest.mark.parametrize("probability", [0.001, 0.1, 0.5])
def test_readout_flips_each_qubit_with_its_probability(probability):
    found, differ, count = flips(only(readout_error=probability))
    assert abs(found - probability) < 4 * math.sqrt(probability * (1 - probability) / count)
    assert differ == 0


@pytest.mark.parametrize("vote", ["majority_vote", "weighted_random"])
@pytest.mark.parametrize("chain", [2, 3, 6])
@pytest.mark.parametrize(("link", "readout"), [(0.1, 0.0), (0.0, 0.1), (0.05, 0.03), (1.0, 0.0)])
def test_votes_of_chains_are_wrong_as_often_as_they_should_be(vote, chain, link, readout):
    device = only(chain_length=chain, chain_break=link, readout_error=readout, vote=vote)
    found, differ, count = flips(device, b=100)
    wrong, apart = wrong_vote(chain, link, readout, vote)
    assert abs(found - wrong) < 4 * math.sqrt(wrong * (1 - wrong) / count)
    assert abs(differ - apart) < 4 * math.sqrt(max(0.0, apart * (1 - apart)) / count) + 1e-9


def test_documented_clique_of_30_breaks_as_often_as_documented():
    # 17.5 % of the reads with a broken chain: 30 chains of 6 qubits.
    spins = np.ones((4000, 1, 30), dtype=np.int8)
    differ = misread(spins, DeviceNoise(chain_length=6, readout_error=0), np.random.default_rng(0))
    assert abs(differ.any(axis=2).mean() - 0.175) < 4 * math.sqrt(0.175 * 0.825 / 4000)


@pytest.mark.parametrize(
    ("n", "length"),
    [
        (1, 1),
        (4, 1),
        (5, 2),
        (8, 2),
        (9, 3),
        (24, 3),
        (25, 4),
        (40, 4),
        (41, 5),
        (64, 6),
        (100, 8),
        (184, 13),
    ],
)
def test_chains_are_as_long_as_busclique_makes_them_on_zephyr_12(n, length):
    assert DeviceNoise().qubits_per_chain(n) == length


# The whole device


def test_same_seed_same_answer():
    solver = NoisySolver(
        NativeSolver(method="anneal", num_sweeps=5, num_reads=3),
        DeviceNoise(),
        num_spin_reversal_transforms=2,
        postprocess="descent",
    )
    one, same, other = (solver.solve(batch(n=30), seed=seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(one.samples, same.samples)
    np.testing.assert_array_equal(one.energies, same.energies)
    assert not np.array_equal(one.samples, other.samples)
    assert pickle.loads(pickle.dumps(solver)) == solver


def test_programming_in_chunks_draws_the_same_errors(monkeypatch):
    problem = batch(b=5)
    whole = programmed(problem, DeviceNoise(), num_spin_reversal_transforms=2)
    monkeypatch.setattr("qpsbgd.solvers.noise.solver._CHUNK_BYTES", 2 * 6 * 6 * 8)  # two rows
    recorder = Recorder()
    NoisySolver(recorder, DeviceNoise(), num_spin_reversal_transforms=2).solve(problem, seed=0)
    assert [len(part.h) for part in recorder.problems] == [2, 2, 1] * 2
    assert len(set(recorder.seeds)) == 6
    np.testing.assert_array_equal(np.concatenate([part.h for part in recorder.problems]), whole[0])
    np.testing.assert_array_equal(np.concatenate([part.J for part in recorder.problems]), whole[1])


def test_memory_is_that_of_a_chunk_not_of_all_rows(monkeypatch):
    class Ones:
        def solve(self, problem, *, seed):
            spins = np.ones((problem.num_problems, 1, problem.num_spins), dtype=np.int8)
            return Solutions(spins, np.zeros((problem.num_problems, 1)))

    monkeypatch.setattr("qpsbgd.solvers.noise.solver._CHUNK_BYTES", 2**20)
    problem = ising_problem(np.ones((1000, 64)), np.ones((64, 64), dtype=np.float32))  # couplings: 16 MB
    tracemalloc.start()
    NoisySolver(Ones()).solve(problem, seed=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 2**20 + 4e6  # a chunk with what makes it, and fields and spins of all rows


@pytest.mark.parametrize(("seed", "error"), [(-1, ValueError), (2**64, ValueError), (0.5, TypeError)])
def test_bad_seed_is_refused(seed, error):
    with pytest.raises(error, match="seed must be"):
        NoisySolver(NativeSolver()).solve(batch(), seed=seed)


def test_exact_couplings_stay_shared():
    problem, recorder = batch(), Recorder()
    NoisySolver(recorder, DeviceNoise(J_error=0, precision_bits=None)).solve(problem, seed=0)
    assert recorder.problems[0].J is problem.J


def test_energies_are_true_and_rise():
    for problem in (batch(), qubo_problem(np.diag([-1.0, 2.0, 1.0]), np.ones((4, 3)))):
        noisy = NoisySolver(
            NativeSolver(num_reads=4, num_sweeps=2, method="anneal"), DeviceNoise(h_error=0.5)
        )
        found = noisy.solve(problem, seed=0)
        spins = 2 * found.samples - 1 if problem.binary else found.samples
        assert set(np.unique(spins)) <= {-1, 1}
        np.testing.assert_allclose(found.energies, problem.energies(spins))
        assert np.all(np.diff(found.energies, axis=1) >= 0)


@given(seed=st.integers(0, 1000))
def test_postprocessing_ends_in_local_minima_below_the_reads(seed):
    problem = batch(seed=seed)
    settings = (Recorder(3), DeviceNoise(readout_error=0.3))
    raw = NoisySolver(*settings).solve(problem, seed=seed)
    found = NoisySolver(*settings, postprocess="descent").solve(problem, seed=seed)
    assert np.all(found.best_energies <= raw.best_energies + 1e-9)
    np.testing.assert_allclose(found.energies, problem.energies(found.samples))
    for spin in range(problem.num_spins):
        flipped = found.samples.copy()
        flipped[:, :, spin] *= -1
        assert np.all(problem.energies(flipped) >= found.energies - 1e-9)


def test_noise_costs_energy_and_mitigation_gets_some_back():
    problem = batch(b=60, n=12)
    best = NativeSolver(method="exact").solve(problem, seed=0).best_energies.mean()
    device = DeviceNoise(h_error=0.3, J_error=0.2, readout_error=0.02)

    def gap(solver, **settings):
        return NoisySolver(solver, device, **settings).solve(problem, seed=1).best_energies.mean() - best

    once = gap(Exact())
    assert once > 0.3
    assert gap(Exact(), num_spin_reversal_transforms=8) < 0.6 * once
    assert gap(Exact(), postprocess="descent") < 0.6 * once


def test_sparse_couplings_err_at_their_nonzeros_only():
    dense = np.zeros((5, 5))
    dense[0, 1], dense[1, 0], dense[3, 2], dense[4, 4] = 1.0, 0.5, -1.0, 7.0
    problem = ising_problem(np.ones((3, 5)), scipy.sparse.csr_array(dense))
    recorder = Recorder()
    NoisySolver(recorder, DeviceNoise(J_error=0.1), num_spin_reversal_transforms=1).solve(problem, seed=0)
    couplings = [part.J for part in recorder.problems]
    assert len(couplings) == 3
    assert all(isinstance(J, CSRCouplings) for J in couplings)
    assert all(J.indptr.tolist() == [0, 1, 1, 2, 2, 2] and J.indices.tolist() == [1, 3] for J in couplings)
    assert len({float(J.data[0]) for J in couplings}) == 3
    exact = NoisySolver(NativeSolver(method="exact"), PERFECT, num_spin_reversal_transforms=1)
    np.testing.assert_allclose(
        exact.solve(problem, seed=0).best_energies, [-5.5 + 7.0 - 1.0 + 1.0] * 3, atol=6
    )


def test_every_rows_own_couplings_are_kept_apart():
    rng = np.random.default_rng(0)
    problem = ising_problem(rng.normal(size=(3, 4)), rng.normal(size=(3, 4, 4)))
    _, J = programmed(problem, only(precision_bits=40))
    np.testing.assert_allclose(pairs(J), pairs(problem.J), rtol=1e-6)


def test_dimod_samplers_can_be_noisy():
    found = NoisySolver(DimodSolver(dimod.ExactSolver()), DeviceNoise()).solve(batch(n=4), seed=0)
    assert found.samples.shape == (3, 16, 4)


def test_row_without_coefficients_is_solved():
    found = NoisySolver(NativeSolver(), DeviceNoise()).solve(ising_problem(np.zeros((2, 1)), [[0.0]]), seed=0)
    assert found.best_energies.tolist() == [0.0, 0.0]


# Bad input


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("h_error", -0.1, ValueError, r"h_error must be at least 0, but is -0\.1"),
        ("J_error", float("nan"), ValueError, "J_error must be finite"),
        ("persistent", 1.5, ValueError, r"persistent must be from 0 to 1, but is 1\.5"),
        ("precision_bits", 1, ValueError, "precision_bits must be at least 2, but is 1"),
        ("precision_bits", 60, ValueError, "precision_bits must be at most 52, but is 60"),
        ("precision_bits", 8.0, TypeError, r"precision_bits must be an integer, but is 8\.0"),
        ("readout_error", 0.6, ValueError, r"readout_error must be from 0 to 0\.5, but is 0\.6"),
        ("chain_break", 2, ValueError, "chain_break must be from 0 to 1, but is 2"),
        ("chain_length", 0, ValueError, "chain_length must be at least 1, but is 0"),
        ("chain_strength", "strong", TypeError, "chain_strength must be a real number, but is 'strong'"),
        (
            "vote",
            "loudest",
            ValueError,
            "vote must be one of majority_vote, weighted_random, but is 'loudest'",
        ),
        ("J_range", 0.0, ValueError, r"J_range must be positive, but is 0\.0"),
        ("device_seed", -1, ValueError, "device_seed must be at least 0, but is -1"),
    ],
)
def test_bad_device_is_refused(name, value, error, message):
    with pytest.raises(error, match=message):
        DeviceNoise(**{name: value})


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (-1.0, "factor must be at least 0"),
        (1e3, "readout_error must be from 0"),
        (100, "precision_bits must be"),
    ],
)
def test_device_that_cannot_be_that_bad_is_refused(factor, message):
    with pytest.raises(ValueError, match=message):
        DeviceNoise().scaled(factor)


def test_scaled_device_is_worse_in_everything():
    device = DeviceNoise().scaled(4)
    assert (device.h_error, device.J_error, device.readout_error) == (0.1, 0.06, 0.004)
    assert (device.chain_break, device.precision_bits) == (0.0052, 6)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"solver": 3}, TypeError, r"solver must have solve\(problem, \*, seed\), but is int"),
        ({"noise": 0.1}, TypeError, "noise must be a DeviceNoise, but is float"),
        ({"num_spin_reversal_transforms": -1}, ValueError, "num_spin_reversal_transforms must be at least 0"),
        ({"postprocess": "anneal"}, ValueError, "postprocess must be None or 'descent', but is 'anneal'"),
    ],
)
def test_bad_settings_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        NoisySolver(**{"solver": NativeSolver(), **arguments})


def test_solver_that_answers_in_another_shape_is_refused():
    class Short(Recorder):
        def solve(self, problem, *, seed):
            answer = super().solve(problem, seed=seed)
            return Solutions(answer.samples[:, :, 1:], answer.energies)

    with pytest.raises(
        ValueError, match=r"solver Short returned samples of shape \(3, 1, 5\), expected \(3, reads, 6\)"
    ):
        NoisySolver(Short(), DeviceNoise()).solve(batch(), seed=0)
