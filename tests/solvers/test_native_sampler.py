"""The native solver as a dimod sampler."""

import inspect
import json
import threading
import time
import unittest

import dimod
import dimod.testing
import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsbgd import NativeSampler, solve_ising


@dimod.testing.load_sampler_bqm_tests(NativeSampler)
class TestModelsOfDimod(unittest.TestCase):
    pass


def random_bqm(n=30, density=1.0, vartype="SPIN", labels=None, dtype=np.float64, integers=False):
    rng = np.random.default_rng(n)
    row, column = np.nonzero(np.triu(rng.random((n, n)) < density, 1))
    draw = (lambda size: rng.integers(-3, 4, size)) if integers else (lambda size: rng.normal(size=size))
    bqm = dimod.BinaryQuadraticModel.from_numpy_vectors(
        draw(n), (row, column, draw(row.size)), 0.75, vartype, variable_order=labels or list(range(n))
    )
    return dimod.BinaryQuadraticModel(bqm, dtype=dtype)


def assert_energies_exact(sampleset, bqm):
    np.testing.assert_array_equal(sampleset.record.energy, bqm.energies(sampleset))


# --- what dimod asks of a sampler


def test_is_a_sampler_by_dimods_own_checks():
    sampler = NativeSampler()
    dimod.testing.assert_sampler_api(sampler)
    assert isinstance(sampler, dimod.Initialized)


def test_has_the_arguments_of_the_sampler_whose_place_it_takes():
    sampler = pytest.importorskip("dwave.samplers").SimulatedAnnealingSampler()
    # The list that it gives, `parameters`, leaves three out before version 1.5.
    theirs = inspect.signature(sampler.sample).parameters.keys() - {"bqm", "kwargs"} | set(sampler.parameters)
    ours = {"num_threads", "time_limit", "method", "target_energy", "progress", "num_best", "keep"}
    ours.add("presolve")
    assert theirs | ours == set(NativeSampler().parameters)


def test_instances_share_no_parameters():
    one = NativeSampler()
    one.parameters["of_a_composite"] = []
    assert "of_a_composite" not in NativeSampler().parameters


def test_unknown_argument_warns_and_is_ignored():
    bqm = random_bqm(5)
    with pytest.warns(dimod.exceptions.SamplerUnknownArgWarning, match="answer_mode"):
        sampleset = NativeSampler().sample(bqm, answer_mode="raw")
    assert sampleset.first.energy == dimod.ExactSolver().sample(bqm).first.energy


@pytest.mark.parametrize("dtype", [np.float32, np.float64, object], ids=str)
@pytest.mark.parametrize("density", [0.05, 1.0])
@pytest.mark.parametrize("vartype", ["SPIN", "BINARY"])
def test_energies_are_the_models_own_and_the_vartype_is_kept(vartype, density, dtype):
    bqm = random_bqm(90, density, vartype, dtype=dtype)
    sampleset = NativeSampler().sample(bqm, num_reads=3, num_sweeps=20, seed=1)
    assert sampleset.vartype is bqm.vartype
    assert set(np.unique(sampleset.record.sample)) <= set(bqm.vartype.value)
    assert_energies_exact(sampleset, bqm)
    assert list(sampleset.record.energy) == sorted(sampleset.record.energy)


@pytest.mark.parametrize("density", [0.05, 1.0])
@pytest.mark.parametrize("method", ["anneal", "tabu", "descent"])
def test_both_vartypes_are_the_same_problem(method, density):
    """Integer coefficients, so that no rounding tells the two apart."""
    spin = random_bqm(80, density, integers=True)
    binary = spin.change_vartype("BINARY", inplace=False)
    options = {"method": method, "num_sweeps": 20, "num_reads": 2, "seed": 5}
    one, other = (NativeSampler().sample(bqm, **options) for bqm in (spin, binary))
    np.testing.assert_array_equal(one.record.sample, 2 * other.record.sample - 1)
    np.testing.assert_allclose(one.record.energy, other.record.energy)


@given(data=st.data())
def test_small_models_of_any_labels_are_solved(data):
    label = st.one_of(
        st.integers(-99, 99), st.text(max_size=3), st.tuples(st.integers(0, 3), st.text(max_size=2))
    )
    labels = data.draw(st.lists(label, min_size=1, max_size=7, unique=True))
    number = st.integers(-50, 50).map(lambda value: value / 8)
    bqm = dimod.BinaryQuadraticModel(data.draw(st.sampled_from(["SPIN", "BINARY"])))
    bqm.offset = data.draw(number)
    for k, v in enumerate(labels):
        bqm.add_linear(v, data.draw(number))
        for u in labels[:k]:
            bqm.add_quadratic(u, v, data.draw(number))
    sampleset = NativeSampler().sample(bqm, seed=0)
    assert set(sampleset.variables) == set(labels)
    assert sampleset.first.energy == dimod.ExactSolver().sample(bqm).first.energy


@pytest.mark.parametrize("vartype", ["SPIN", "BINARY"])
def test_model_without_variables_has_its_offset_as_energy(vartype):
    sampleset = NativeSampler().sample(dimod.BinaryQuadraticModel({}, {}, 2.5, vartype), num_reads=4)
    assert sampleset.record.energy.tolist() == [2.5] * 4
    assert sampleset.vartype.name == vartype


@pytest.mark.parametrize("vartype", ["SPIN", "BINARY"])
def test_model_without_interactions_is_solved(vartype):
    bqm = dimod.BinaryQuadraticModel(dict.fromkeys(range(200), -1.0), {}, vartype)
    sampleset = NativeSampler().sample(bqm, seed=0)
    assert sampleset.first.energy == -200


def test_interactions_of_a_python_object_model_come_in_any_order():
    bqm = dimod.BinaryQuadraticModel("SPIN", dtype=object)
    n = 100
    for k in reversed(range(n)):
        bqm.add_quadratic(k, (k + 1) % n, -1)
        bqm.add_quadratic((k + 1) % n, k, -1)  # the same pair again: they add up
    assert NativeSampler().sample(bqm, method="tabu", seed=1).first.energy == -2 * n


def test_views_of_a_model_are_models():
    bqm = random_bqm(12, vartype="BINARY")
    sampleset = NativeSampler().sample(bqm.spin, seed=0)
    assert sampleset.vartype is dimod.SPIN
    assert sampleset.first.energy == pytest.approx(dimod.ExactSolver().sample(bqm).first.energy)


def test_model_is_left_as_it_was():
    bqm = random_bqm(40, vartype="BINARY")
    before = bqm.copy()
    NativeSampler().sample(bqm, num_sweeps=5, initial_states=[1] * 40)
    assert bqm == before


# --- the answer


@pytest.mark.parametrize("density", [0.05, 1.0])
def test_answers_are_those_of_solve_ising(density):
    bqm = random_bqm(100, density)
    h, J = np.zeros(100), np.zeros((100, 100))
    for v, bias in bqm.linear.items():
        h[v] = bias
    for (u, v), bias in bqm.quadratic.items():
        J[u, v] = bias
    sampleset = NativeSampler().sample(bqm, num_reads=4, num_sweeps=300, seed=3)
    solution = solve_ising(h, J, num_reads=4, num_sweeps=300, seed=3)
    expected = solution.energies[0] + bqm.offset
    if density == 1.0:
        np.testing.assert_allclose(sampleset.record.energy, expected)
    else:  # compressed rows are searched in float32, a dense matrix in int16
        assert sampleset.first.energy == pytest.approx(expected[0])


def test_seed_fixes_the_samples_whatever_the_threads():
    bqm = random_bqm(60)
    options = {"num_reads": 5, "num_sweeps": 10, "seed": 11}
    one = NativeSampler().sample(bqm, num_threads=1, **options)
    other = NativeSampler().sample(bqm, num_threads=3, **options)
    np.testing.assert_array_equal(one.record.sample, other.record.sample)
    assert one.info["seed"] == 11


def test_drawn_seed_is_told_and_repeats_the_samples():
    bqm = random_bqm(60)
    one = NativeSampler().sample(bqm, num_reads=3, num_sweeps=3)
    other = NativeSampler().sample(bqm, num_reads=3, num_sweeps=3, seed=one.info["seed"])
    np.testing.assert_array_equal(one.record.sample, other.record.sample)


@pytest.mark.parametrize("n", [0, 5, 60])
def test_info_is_json_with_times_in_nanoseconds(n):
    begin = time.perf_counter_ns()
    info = NativeSampler().sample(random_bqm(n), num_reads=2, num_sweeps=40).info
    wall = time.perf_counter_ns() - begin
    assert json.loads(json.dumps(info)) == info
    names = ["preprocessing_ns", "sampling_ns", "postprocessing_ns"]
    assert [info["timing"][name] >= 0 for name in names] == [True] * 3
    assert 0 < sum(info["timing"].values()) <= wall


@pytest.mark.parametrize("density", [0.05, 1.0])
def test_info_tells_the_temperatures_used(density):
    bqm = random_bqm(100, density)
    hot, cold = NativeSampler().sample(bqm, method="anneal", seed=1).info["beta_range"]
    assert 0 < hot < cold
    # Temperatures are in the model's units: four times the energies, a quarter of the inverse temperatures.
    scaled = bqm.copy()
    scaled.scale(4.0)
    info = NativeSampler().sample(scaled, method="anneal", seed=1).info
    assert info["beta_range"] == pytest.approx([hot / 4, cold / 4])
    given = NativeSampler().sample(bqm, beta_range=(0.1, 4), seed=1).info["beta_range"]
    assert given == [0.1, 4.0]


def test_info_has_no_temperatures_where_nothing_was_annealed():
    info = NativeSampler().sample(random_bqm(10), beta_range=[0.1, 1.0]).info
    assert (info["method"], info["proven_optimal"], info["beta_range"]) == ("exact", True, None)


def test_beta_range_matters():
    bqm = random_bqm(100)
    energies = [
        NativeSampler().sample(bqm, method="anneal", num_sweeps=50, beta_range=beta, seed=0).first.energy
        for beta in ([1e-6, 1e-6], None)
    ]
    assert energies[1] < energies[0]


def test_time_limit_ends_the_sampling():
    begin = time.perf_counter()
    sampleset = NativeSampler().sample(random_bqm(200), time_limit=0.1)
    assert time.perf_counter() - begin < 2.0
    assert len(sampleset) == 1


# --- initial states


def test_descent_starts_at_the_initial_states():
    """Two ferromagnetic minima: from each state the next one is known."""
    bqm = dimod.BinaryQuadraticModel.from_ising({}, {(k, k + 1): -1.0 for k in range(99)})
    up = {k: 1 for k in range(100)}
    down = {k: -1 for k in range(100)}
    sampleset = NativeSampler().sample(bqm, initial_states=[up, down], method="descent")
    assert sorted(sampleset.record.sample[:, 0]) == [-1, 1]
    assert sampleset.record.energy.tolist() == [-99.0, -99.0]


@pytest.mark.parametrize("density", [0.05, 1.0])
def test_initial_states_follow_labels_and_vartype(density):
    labels = [f"v{k}" for k in range(80)]
    bqm = random_bqm(80, density, vartype="BINARY", labels=labels)
    minimum = NativeSampler().sample(bqm, method="descent", seed=2)
    sample = minimum.first.sample
    states = dimod.SampleSet.from_samples(
        ([[sample[v] for v in labels[::-1]]], labels[::-1]), "BINARY", energy=[0.0], sort_labels=False
    )
    for start in (states, states.change_vartype("SPIN", inplace=False)):
        again = NativeSampler().sample(bqm, method="descent", initial_states=start, seed=9)
        assert again.first.sample == sample


def test_generators_are_those_of_dimod():
    bqm = dimod.BinaryQuadraticModel.from_ising({}, {(k, k + 1): -1.0 for k in range(49)})
    up = {k: 1 for k in range(50)}
    options = {"initial_states": [up], "method": "descent", "seed": 1}
    tiled = NativeSampler().sample(bqm, num_reads=3, initial_states_generator="tile", **options)
    assert np.all(tiled.record.sample == 1)
    mixed = NativeSampler().sample(bqm, num_reads=3, initial_states_generator="random", **options)
    assert mixed.record.energy[0] == -49
    assert mixed.record.energy[-1] > -49
    with pytest.raises(ValueError, match="insufficient number of initial states"):
        NativeSampler().sample(bqm, num_reads=3, initial_states_generator="none", **options)
    with pytest.raises(ValueError, match="initial_states_generator"):
        NativeSampler().sample(bqm, initial_states_generator="perlin")


def test_reads_are_as_many_as_initial_states():
    bqm = random_bqm(30)
    states = np.random.default_rng(0).choice([-1, 1], size=(6, 30)).astype(np.int8)
    assert len(NativeSampler().sample(bqm, initial_states=(states, range(30)), num_sweeps=3)) == 6


def test_initial_states_must_be_of_the_models_variables():
    with pytest.raises(ValueError, match="mismatch between variables"):
        NativeSampler().sample(random_bqm(5), initial_states=[1, 1])


# --- interrupt_function


@pytest.mark.parametrize("density", [0.05, 1.0])
@pytest.mark.parametrize("integers", [False, True])
@pytest.mark.parametrize("method", ["anneal", "tabu"])
def test_interrupt_function_ends_the_sampling_with_what_was_found(method, integers, density):
    bqm = random_bqm(150, density, integers=integers)
    begin = time.perf_counter()
    sampleset = NativeSampler().sample(
        bqm,
        method=method,
        num_reads=500,
        num_sweeps=1_000_000,
        num_threads=2,
        interrupt_function=lambda: time.perf_counter() - begin > 0.03,
    )
    assert time.perf_counter() - begin < 2.0
    assert 1 <= len(sampleset) < 500
    assert_energies_exact(sampleset, bqm)


def test_interrupt_function_is_called_by_the_calling_thread_until_it_is_true():
    callers = []

    def third_time():
        callers.append(threading.current_thread())
        return len(callers) == 3

    NativeSampler().sample(
        random_bqm(100), num_sweeps=10**8, num_reads=8, num_threads=4, interrupt_function=third_time
    )
    assert callers == [threading.current_thread()] * 3


def test_interrupt_function_that_is_never_true_changes_nothing():
    bqm = random_bqm(100, integers=True)
    options = {"num_reads": 6, "num_sweeps": 300, "seed": 4}
    one = NativeSampler().sample(bqm, **options)
    other = NativeSampler().sample(bqm, interrupt_function=lambda: False, **options)
    np.testing.assert_array_equal(one.record.sample, other.record.sample)


def test_exception_of_the_interrupt_function_is_raised():
    def broken():
        raise RuntimeError("from the callback")

    with pytest.raises(RuntimeError, match="from the callback"):
        NativeSampler().sample(random_bqm(100), num_sweeps=10**8, interrupt_function=broken)
    assert len(NativeSampler().sample(random_bqm(100), num_sweeps=5)) == 1  # usable afterwards


# --- bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_reads": 0}, "num_reads must be at least 1, but is 0"),
        ({"num_sweeps": -1}, "num_sweeps must be at least 0, but is -1"),
        ({"seed": -1}, "seed must be at least 0, but is -1"),
        ({"seed": 2**64}, r"seed must be below 2\*\*64"),
        ({"beta_range": (1.0, -0.1)}, "beta_range must be positive"),
        ({"beta_range": (1.0,)}, "beta_range must be .hot, cold., two numbers"),
        ({"beta_range": 3.0}, "beta_range must be .hot, cold., two numbers, but is 3.0"),
        ({"method": "magic"}, "method must be one of auto, exact"),
        ({"time_limit": 0}, "time_limit must be positive"),
        ({"num_threads": 0}, "num_threads must be at least 1"),
        ({"num_sweeps_per_beta": 0}, "num_sweeps_per_beta must be at least 1, but is 0"),
        ({"beta_schedule_type": "quadratic"}, "beta_schedule_type must be one of linear"),
        (
            {"beta_schedule": np.array([1.0, 2.0])},
            "beta_schedule must be given with .* 'custom' and only then",
        ),
        ({"proposal_acceptance_criteria": "gibbs"}, "proposal_acceptance_criteria must be one of Gibbs"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_value_is_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        NativeSampler().sample(random_bqm(4), **options)


@pytest.mark.parametrize(
    "options",
    [
        {"num_reads": 1.5},
        {"seed": "1"},
        {"interrupt_function": 3},
        {"num_sweeps": "many"},
    ],
    ids=lambda value: next(iter(value)),
)
def test_bad_type_is_refused_by_name(options):
    with pytest.raises(TypeError, match=next(iter(options))):
        NativeSampler().sample(random_bqm(4), **options)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_number_that_is_not_finite_is_refused(bad):
    for bqm, name in [
        (dimod.BinaryQuadraticModel({0: bad}, {(0, 1): 1.0}, 0.0, "SPIN"), "linear"),
        (dimod.BinaryQuadraticModel({0: 1.0}, {(0, 1): bad}, 0.0, "SPIN"), "quadratic"),
        (dimod.BinaryQuadraticModel({0: 1.0}, {(0, 1): 1.0}, bad, "SPIN"), "offset"),
    ]:
        with pytest.raises(ValueError, match=name):
            NativeSampler().sample(bqm)


def test_exact_refuses_what_it_cannot_enumerate():
    with pytest.raises(ValueError, match="'exact' takes at most 24 spins"):
        NativeSampler().sample(random_bqm(30), method="exact")


def test_what_is_no_model_is_refused():
    with pytest.raises(TypeError, match=r"bqm must be a dimod\.BinaryQuadraticModel, but is ndarray"):
        NativeSampler().sample(np.eye(3))


# --- under composites


def test_truncate_composite():
    sampler = dimod.TruncateComposite(NativeSampler(), 2)
    sampleset = sampler.sample(random_bqm(40), num_reads=9, num_sweeps=2, seed=1)
    assert len(sampleset) == 2


def test_composites_of_dwave_preprocessing():
    composites = pytest.importorskip("dwave.preprocessing.composites")
    bqm = random_bqm(12, labels=list("abcdefghijkl"))
    lowest = dimod.ExactSolver().sample(bqm).first.energy
    spins = composites.SpinReversalTransformComposite(NativeSampler())
    parts = composites.ConnectedComponentsComposite(NativeSampler())
    fixed = composites.FixVariablesComposite(NativeSampler(), algorithm="roof_duality")
    scaled = composites.ScaleComposite(NativeSampler())
    clipped = composites.ClipComposite(NativeSampler())
    for sampleset in (
        spins.sample(bqm, num_spin_reversal_transforms=3, seed=1),
        parts.sample(bqm, seed=1),
        fixed.sample(bqm, strict=False, seed=1),
        scaled.sample(bqm, scalar=0.1, seed=1),
        clipped.sample(bqm, lower_bound=-100, upper_bound=100, seed=1),
    ):
        assert set(sampleset.variables) == set(bqm.variables)
        assert sampleset.first.energy == pytest.approx(lowest)


def test_embedding_composites_on_a_structured_graph():
    composites = pytest.importorskip("dwave.system.composites")
    graph = nx.grid_2d_graph(4, 4)
    graph.add_edges_from(((i, j), (i + 1, j + 1)) for i in range(3) for j in range(3))
    structured = dimod.StructureComposite(NativeSampler(), list(graph.nodes), list(graph.edges))
    bqm = dimod.BinaryQuadraticModel.from_ising({"a": 0.5}, {"ab": 1.0, "bc": 1.0, "ac": 1.0, "cd": -1.0})
    lowest = dimod.ExactSolver().sample(bqm).first.energy
    embedding = {"a": [(0, 0)], "b": [(0, 1), (0, 2)], "c": [(1, 1), (1, 0)], "d": [(2, 1)]}
    fixed = composites.FixedEmbeddingComposite(structured, embedding)
    found = composites.EmbeddingComposite(structured)
    for sampler in (fixed, found):
        sampleset = sampler.sample(bqm, num_reads=3, seed=1, chain_strength=3.0)
        assert set(sampleset.variables) == set("abcd")
        assert sampleset.first.energy == pytest.approx(lowest)


def test_structured_graph_is_respected():
    structured = dimod.StructureComposite(NativeSampler(), [0, 1, 2], [(0, 1)])
    with pytest.raises(dimod.exceptions.BinaryQuadraticModelStructureError):
        structured.sample_ising({}, {(0, 2): 1.0})


# --- import


def test_unknown_name_of_the_package_is_an_attribute_error():
    import qpsbgd

    assert "NativeSampler" in qpsbgd.__all__
    with pytest.raises(AttributeError, match="has no attribute 'Sampler'"):
        _ = qpsbgd.Sampler
