"""Rows on qubits and back, against Ocean's own embedding functions."""

import dimod
import dwave.embedding
import networkx as nx
import numpy as np
import pytest
from dwave.embedding.chain_strength import uniform_torque_compensation
from hypothesis import given
from hypothesis import strategies as st

from oracles import all_spins
from qpsbgd.solvers.qpu.chip.layout import make_layout
from qpsbgd.solvers.qpu.chip.packing import pack_cliques
from qpsbgd.solvers.qpu.scaling import Limits, bounded_fields, chain_strengths, effective_bits, row_scales
from qpsbgd.solvers.qpu.session import Device
from qpu_samplers import mock

N, ROWS = 6, 4


@pytest.fixture(scope="module", params=["zephyr", "pegasus"])
def device(request, tmp_path_factory):
    shape = {"zephyr": (2, 4), "pegasus": (3,)}[request.param]
    properties = {"per_group_coupling_range": [-7.0, 5.0]} if request.param == "zephyr" else {}
    return Device(mock(request.param, shape, properties=properties), tmp_path_factory.mktemp("packings"))


def rows(seed=0, b=ROWS, n=N):
    rng = np.random.default_rng(seed)
    W = rng.normal(size=(b, n, n))
    W = W + W.swapaxes(1, 2)
    W[:, np.arange(n), np.arange(n)] = 0
    return rng.normal(size=(b, n)), W


def row_model(h, W):
    upper = np.triu_indices(len(h), 1)
    return dimod.BinaryQuadraticModel.from_numpy_vectors(h, (*upper, W[upper]), 0, "SPIN")


def qubit_model(layout, fields, couplings):
    ends = layout.qubits[layout.couplers]
    model = dimod.BinaryQuadraticModel("SPIN")
    model.add_linear_from(zip(layout.qubits.tolist(), fields, strict=True))
    model.add_quadratic_from((int(a), int(b), float(c)) for (a, b), c in zip(ends, couplings, strict=True))
    return model


def test_embedding_is_that_of_ocean(device):
    h, W = rows()
    strengths = np.arange(1.0, ROWS + 1)
    layout = device.layout(N, ROWS)
    ours = qubit_model(layout, *layout.embed(h, W, strengths))
    graph = nx.Graph(device.sampler.edgelist)
    expected = dimod.BinaryQuadraticModel("SPIN")
    for row, clique in enumerate(device.store.packing(N)[:ROWS]):
        model = row_model(h[row], W[row])
        embedding = dict(enumerate(clique))
        expected.update(dwave.embedding.embed_bqm(model, embedding, graph, chain_strength=strengths[row]))
    assert set(ours.variables) == set(expected.variables)
    for qubit, bias in expected.linear.items():
        assert ours.linear[qubit] == pytest.approx(bias)
    assert {frozenset(pair) for pair in ours.quadratic} == {frozenset(pair) for pair in expected.quadratic}
    for pair, bias in expected.quadratic.items():
        assert ours.quadratic[pair] == pytest.approx(bias)


def test_shared_couplings_are_those_of_every_row(device):
    h, W = rows()
    layout = device.layout(N, ROWS)
    shared = layout.embed(h, W[0], np.ones(ROWS))
    repeated = layout.embed(h, np.repeat(W[:1], ROWS, axis=0), np.ones(ROWS))
    np.testing.assert_array_equal(shared[1], repeated[1])


def test_majority_vote_is_that_of_ocean(device):
    layout = device.layout(N, ROWS)
    rng = np.random.default_rng(1)
    samples = rng.choice(np.array([-1, 1], dtype=np.int8), size=(30, len(layout.qubits)))
    found = layout.unembed(samples, preferred=np.ones((ROWS, N), dtype=np.int8))
    place = {qubit: column for column, qubit in enumerate(layout.qubits.tolist())}
    for row, clique in enumerate(device.store.packing(N)[:ROWS]):
        chains = [[place[qubit] for qubit in chain] for chain in clique]
        voted, _ = dwave.embedding.majority_vote(samples, chains)
        decided = np.stack([samples[:, chain].sum(axis=1) != 0 for chain in chains], axis=1)
        np.testing.assert_array_equal(found.spins[row][decided], voted[decided])
        assert np.all(found.spins[row][~decided] == 1)
        broken = dwave.embedding.chain_break_frequency(
            dimod.SampleSet.from_samples((samples, layout.qubits.tolist()), "SPIN", energy=0),
            dict(enumerate(clique)),
        )
        assert found.break_fractions[row] == pytest.approx(np.mean(list(broken.values())))


def test_first_chains_of_larger_cliques_serve_smaller_rows(device):
    h, W = rows(n=5)
    layout = make_layout(device.graph, pack_cliques(device.graph, N)[:ROWS], 5)
    fields, couplings = layout.embed(h, W, np.ones(ROWS))
    spins = np.random.default_rng(2).choice([-1, 1], size=(ROWS, 5))
    model = qubit_model(layout, fields, couplings)
    states = dict(zip(layout.qubits.tolist(), spins.reshape(-1)[layout.chain], strict=True))
    logical = sum(row_model(h[row], W[row]).energy(spins[row]) for row in range(ROWS))
    chains = len(layout.couplers) - layout.num_between
    assert model.energy(states) == pytest.approx(logical - chains)


@pytest.mark.parametrize("strength", [0.1, 1.0, 30.0])
def test_scaled_rows_keep_every_limit_and_touch_one(device, strength):
    h, W = rows(seed=3)
    h[0] *= 100
    layout = device.layout(N, ROWS)
    fields, couplings = layout.embed(h, W, np.full(ROWS, strength))
    scales = row_scales(layout, fields, couplings, device.limits, device.groups_of(layout))
    fields, couplings = fields * scales[layout.qubit_row], couplings * scales[layout.coupler_row]
    usage = limit_usage(device, layout, fields, couplings)
    np.testing.assert_allclose(usage, 1.0, rtol=1e-9)


def limit_usage(device, layout, fields, couplings):
    """For every row the largest part of any limit that it uses, by plain loops."""
    properties = device.sampler.properties
    usage = np.zeros(ROWS)

    def use(row, value, limits):
        usage[row] = max(usage[row], value / limits[1], value / limits[0])

    sums, group_sums = {}, {}
    for qubit, row, field in zip(layout.qubits, layout.qubit_row, fields, strict=True):
        use(row, field, properties["h_range"])
        sums[int(qubit)] = [row, 0.0]
    for number, ((a, b), row, value) in enumerate(
        zip(layout.qubits[layout.couplers].tolist(), layout.coupler_row, couplings, strict=True)
    ):
        use(row, value, properties["j_range" if number < layout.num_between else "extended_j_range"])
        sums[a][1] += value
        sums[b][1] += value
        group_sums[frozenset((a, b))] = (row, value)
    for row, total in sums.values():
        use(row, total, properties["per_qubit_coupling_range"])
    if "per_group_coupling_range" in properties:
        from dwave.system.coupling_groups import coupling_groups

        for group in coupling_groups(device.graph.network()):
            members = [group_sums[frozenset(edge)] for edge in group if frozenset(edge) in group_sums]
            if members:
                use(members[0][0], sum(value for _, value in members), properties["per_group_coupling_range"])
    return usage


def test_row_of_zeros_keeps_its_scale(device):
    layout = device.layout(N, 1)
    zeros = np.zeros(len(layout.qubits)), np.zeros(len(layout.couplers))
    scales = row_scales(layout, *zeros, device.limits, None)
    assert scales.tolist() == [1.0]


def test_limits_that_are_not_named_do_not_bind():
    limits = Limits.of({"h_range": [-2, 2], "j_range": [-1, 1]})
    assert limits.chain_j == (-1.0, 1.0)
    assert limits.qubit is None


@given(st.integers(0, 1000), st.integers(1, 5))
def test_bounded_fields_keep_the_optimum(seed, n):
    h, W = rows(seed, b=1, n=n)
    h *= 10 ** np.random.default_rng(seed).uniform(-2, 3, size=h.shape)
    states = all_spins(n).astype(float)

    def optima(fields):
        energies = states @ fields + 0.5 * np.einsum("si,ij,sj->s", states, W[0], states)
        return set(np.flatnonzero(energies <= energies.min() + 1e-9))

    bounded = bounded_fields(h, W)
    assert optima(bounded[0]) == optima(h[0])
    assert np.all(np.abs(bounded) <= np.abs(h))


def test_chain_strength_is_uniform_torque_compensation_by_default():
    h, W = rows()
    W[1, 0, 1:3] = W[1, 1:3, 0] = 0.0
    ours = chain_strengths(None, h, W, model=None)
    models = [row_model(h[row], W[row]) for row in range(ROWS)]
    for model in models:
        model.remove_interactions_from([pair for pair, bias in list(model.quadratic.items()) if bias == 0])
    np.testing.assert_allclose(ours, [uniform_torque_compensation(model) for model in models])


def test_chain_strength_function_gets_every_rows_model():
    h, W = rows()
    strengths = chain_strengths(
        lambda model, _: 1 + model.quadratic[0, 1] ** 2, h, W, lambda row: row_model(h[row], W[row])
    )
    np.testing.assert_allclose(strengths, 1 + W[:, 0, 1] ** 2)


def test_chain_strength_function_must_be_positive():
    h, W = rows()
    with pytest.raises(ValueError, match="chain_strength returned"):
        chain_strengths(lambda *_: 0.0, h, W, lambda row: None)


def test_halving_a_rows_couplings_against_its_fields_costs_one_bit():
    sampler = mock()
    device = Device(sampler)
    layout = device.layout(2, 1)
    bits = []
    for coupling in (0.5, 0.25):
        W = coupling * (np.ones((2, 2)) - np.eye(2))
        fields, couplings = layout.embed(np.array([[4.0, 0.0]]), W, np.ones(1))
        scales = row_scales(layout, fields, couplings, device.limits, None)
        bits.append(effective_bits(layout, couplings, scales, 0.02)[0])
    assert bits[0] - bits[1] == pytest.approx(1.0)
    assert bits[0] == pytest.approx(np.log2(0.5 / 0.02))
