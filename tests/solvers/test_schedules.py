"""Schedules and acceptance of the sampler: as dwave.samplers has them, in numbers too."""

import dimod
import numpy as np
import pytest

from oracles import all_spins
from qpsbgd import NativeSampler

INSTANCES = {
    "dense": dimod.generators.gnp_random_bqm(12, 1.0, "SPIN", random_state=1),
    "sparse": dimod.generators.gnp_random_bqm(90, 0.03, "SPIN", random_state=2),
    "binary": dimod.generators.gnp_random_bqm(14, 0.5, "BINARY", random_state=3),
}
RULES = [
    {},
    {"proposal_acceptance_criteria": "Gibbs"},
    {"randomize_order": True},
    {"randomize_order": True, "proposal_acceptance_criteria": "Gibbs"},
]


def mean_and_error(sampleset):
    energies = sampleset.record.energy
    return energies.mean(), energies.std() / np.sqrt(len(energies))


def assert_same_mean(one, other):
    (a, error_a), (b, error_b) = mean_and_error(one), mean_and_error(other)
    assert abs(a - b) < 4.5 * np.hypot(error_a, error_b), (a, b, error_a, error_b)


def both(bqm, **options):
    theirs = pytest.importorskip("dwave.samplers").SimulatedAnnealingSampler()
    return NativeSampler().sample(bqm, keep="last", seed=1, **options), theirs.sample(bqm, seed=2, **options)


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("beta", [0.1, 0.6, 2.0])
@pytest.mark.parametrize("instance", INSTANCES)
def test_samples_at_a_constant_temperature_have_the_mean_energy_of_dwaves(instance, beta, rule):
    """Few sweeps, so that it is the dynamics that is compared."""
    assert_same_mean(
        *both(INSTANCES[instance], num_reads=1500, beta_range=(beta, beta), num_sweeps=4, **rule)
    )


@pytest.mark.parametrize(
    "schedule",
    [
        {"beta_schedule_type": "linear", "beta_range": (0.05, 3.0), "num_sweeps": 12},
        {"beta_schedule_type": "geometric", "beta_range": (3.0, 0.05), "num_sweeps": 12},
        {
            "beta_schedule_type": "linear",
            "beta_range": (0.0, 2.0),
            "num_sweeps": 12,
            "num_sweeps_per_beta": 4,
        },
        {"beta_schedule_type": "custom", "beta_schedule": [2.0, 0.0, 1.0, 0.3], "num_sweeps_per_beta": 2},
        {"beta_range": (0.1, 1.5), "num_sweeps": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("instance", INSTANCES)
def test_schedules_end_at_the_mean_energy_of_dwaves(instance, schedule):
    assert_same_mean(*both(INSTANCES[instance], num_reads=1500, **schedule))


@pytest.mark.parametrize("rule", RULES[1:], ids=str)
def test_long_runs_follow_boltzmanns_distribution(rule):
    bqm = dimod.generators.gnp_random_bqm(5, 1.0, "SPIN", random_state=5)
    states = all_spins(5)
    weights = np.exp(-0.7 * bqm.energies((states, range(5))))
    expected = weights / weights.sum()
    found = NativeSampler().sample(
        bqm, keep="last", num_reads=8000, num_sweeps=60, beta_range=(0.7, 0.7), seed=3, **rule
    )
    numbers = (found.record.sample > 0) @ (1 << np.arange(5)[::-1])
    counts = np.bincount(numbers, minlength=32)
    chi_squared = ((counts - 8000 * expected) ** 2 / (8000 * expected)).sum()
    assert chi_squared < 31 + 4.5 * np.sqrt(2 * 31)


@pytest.mark.parametrize("instance", INSTANCES)
def test_no_sweeps_give_the_initial_states_back(instance):
    bqm = INSTANCES[instance]
    rng = np.random.default_rng(0)
    states = rng.choice(sorted(bqm.vartype.value), (6, len(bqm)))
    sampleset = NativeSampler().sample(bqm, num_sweeps=0, initial_states=(states, list(bqm.variables)))
    order = [sampleset.variables.index(label) for label in bqm.variables]
    assert sorted(sampleset.record.sample[:, order].tolist()) == sorted(states.tolist())
    np.testing.assert_allclose(sampleset.record.energy, bqm.energies(sampleset), rtol=1e-12)
    assert (
        len(np.unique(NativeSampler().sample(bqm, num_sweeps=0, num_reads=9, seed=1).record.sample, axis=0))
        > 5
    )


@pytest.mark.parametrize("rule", RULES[1:], ids=str)
def test_best_states_are_kept_and_improved_unless_last_ones_are_asked_for(rule):
    bqm = INSTANCES["sparse"]
    options = {"num_reads": 20, "num_sweeps": 20, "beta_range": (2.0, 0.1), "seed": 1, **rule}
    best, last = (NativeSampler().sample(bqm, keep=keep, **options) for keep in ("best", "last"))
    assert best.record.energy.max() < last.record.energy.min()
    for sample, energy in best.data(["sample", "energy"]):
        assert all(bqm.energy({**sample, v: -sample[v]}) >= energy - 1e-9 for v in bqm.variables)


def test_default_range_serves_a_linear_schedule():
    sampleset = NativeSampler().sample(
        INSTANCES["sparse"], beta_schedule_type="linear", num_sweeps=50, seed=0
    )
    assert sampleset.info["beta_schedule_type"] == "linear"
    hot, cold = sampleset.info["beta_range"]
    assert 0 < hot < cold


@pytest.mark.parametrize("threads", [1, 2])
def test_samples_do_not_depend_on_the_threads(threads):
    options = {"num_reads": 7, "num_sweeps": 9, "randomize_order": True, "seed": 4}
    one = NativeSampler().sample(INSTANCES["dense"], num_threads=1, **options)
    other = NativeSampler().sample(INSTANCES["dense"], num_threads=threads, **options)
    np.testing.assert_array_equal(one.record.sample, other.record.sample)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beta_schedule_type": "quadratic"}, "beta_schedule_type must be one of linear, geometric, custom"),
        ({"beta_schedule_type": "custom"}, "beta_schedule must be given"),
        (
            {"beta_schedule": [1.0]},
            "beta_schedule must be given with beta_schedule_type = 'custom' and only then",
        ),
        ({"beta_schedule_type": "custom", "beta_schedule": [-1.0]}, "beta_schedule must not be negative"),
        ({"beta_schedule_type": "custom", "beta_schedule": [np.nan]}, "beta_schedule .*nan"),
        ({"beta_schedule_type": "custom", "beta_schedule": []}, "beta_schedule must have shape"),
        (
            {"beta_schedule_type": "custom", "beta_schedule": [1.0], "num_sweeps": 3},
            "num_sweeps must be None or 1",
        ),
        (
            {"beta_schedule_type": "custom", "beta_schedule": [1.0], "beta_range": (1.0, 2.0)},
            "beta_range must be",
        ),
        ({"num_sweeps": 10, "num_sweeps_per_beta": 3}, "num_sweeps must be a multiple"),
        ({"num_sweeps_per_beta": 0}, "num_sweeps_per_beta must be at least 1"),
        ({"beta_range": (0.0, 1.0)}, "beta_range must be positive"),
        ({"proposal_acceptance_criteria": "gibbs"}, "proposal_acceptance_criteria must be one of Gibbs"),
        ({"keep": "first"}, "keep must be one of best, last"),
        ({"keep": "last", "method": "tabu"}, "method must be 'anneal' or 'auto'"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        NativeSampler().sample(INSTANCES["dense"], **change)
