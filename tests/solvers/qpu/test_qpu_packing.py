"""Packings: disjoint cliques that a graph really holds, kept in files that may be damaged."""

import json
import os

import networkx as nx
import numpy as np
import pytest

from qpsbgd.solvers.qpu.chip import store as store_module
from qpsbgd.solvers.qpu.chip.graph import working_graph
from qpsbgd.solvers.qpu.chip.packing import largest_clique_size, pack_cliques
from qpsbgd.solvers.qpu.chip.store import EmbeddingStore
from qpsbgd.solvers.qpu.cost import DEFAULT_TIMING_DATA, access_time
from qpu_samplers import mock

GRAPHS = {
    "zephyr": {"topology": "zephyr", "shape": (3, 4)},
    "zephyr, two qubits a side": {"topology": "zephyr", "shape": (3, 2)},
    "zephyr with defects": {"topology": "zephyr", "shape": (3, 4), "broken_nodes": [3, 50, 51, 120, 200]},
    "pegasus": {"topology": "pegasus", "shape": (3,)},
    "chimera": {"topology": "chimera", "shape": (3, 5, 4)},
}


def assert_packing(sampler, cliques, size):
    """By networkx, independently of our own check: whole chains, all pairs coupled, no qubit twice."""
    graph = nx.Graph(sampler.edgelist)
    graph.add_nodes_from(sampler.nodelist)
    used = [qubit for clique in cliques for chain in clique for qubit in chain]
    assert len(used) == len(set(used))
    for clique in cliques:
        assert len(clique) == size
        owner = {qubit: number for number, chain in enumerate(clique) for qubit in chain}
        assert all(nx.is_connected(graph.subgraph(chain)) for chain in clique)
        minor = nx.quotient_graph(graph.subgraph(owner), [set(chain) for chain in clique])
        assert minor.number_of_edges() == size * (size - 1) // 2


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("size", [1, 2, 4, 5, 7, 8, 10])
def test_cliques_are_disjoint_and_whole(name, size):
    sampler = mock(**GRAPHS[name])
    cliques = pack_cliques(working_graph(sampler), size)
    assert cliques
    assert_packing(sampler, cliques, size)


@pytest.mark.parametrize("name", GRAPHS)
def test_largest_clique_is_found_and_no_larger_one(name):
    graph = working_graph(mock(**GRAPHS[name]))
    largest = largest_clique_size(graph)
    assert len(pack_cliques(graph, largest)) >= 1
    assert pack_cliques(graph, largest + 1) == []


def test_packing_is_the_same_every_time():
    assert pack_cliques(working_graph(mock()), 7) == pack_cliques(working_graph(mock()), 7)


def test_packing_beats_a_chip_cut_into_squares():
    # Nine blocks of Z2 fit side by side into Z6, and each holds one clique of 20.
    assert len(pack_cliques(working_graph(mock(shape=(6, 4))), 20)) > 9


@pytest.fixture(scope="module")
def z12():
    return working_graph(mock(shape=(12, 4)))


@pytest.mark.parametrize(("size", "floor"), [(20, 37), (40, 15), (60, 8)])
def test_rows_per_submission_on_the_ideal_z12(z12, size, floor):
    cliques = pack_cliques(z12, size)
    assert len(cliques) >= floor
    if size == 20:
        # 128 rows of 20 spins, 100 reads: packed against one row a submission.
        qubits = [sum(map(len, clique)) for clique in cliques]
        submissions = -(-128 // len(cliques))
        packed = submissions * access_time(DEFAULT_TIMING_DATA, sum(qubits), 100)
        alone = 128 * access_time(DEFAULT_TIMING_DATA, min(qubits), 100)
        assert alone >= 20 * packed


@pytest.mark.parametrize("family", ["zephyr", "pegasus", "chimera"])
def test_part_keeps_its_couplers_wherever_it_lies(family):
    sampler = mock(**GRAPHS[family])
    graph = working_graph(sampler)
    chosen = np.random.default_rng(0).random(len(graph.qubits)) < 0.2
    part, labels = graph.within(chosen)
    original = nx.Graph(sampler.edgelist).subgraph(graph.qubits[chosen].tolist())
    moved = {(int(labels[a]), int(labels[b])) for a, b in part.ends}
    assert {frozenset(edge) for edge in moved} == {frozenset(edge) for edge in original.edges}
    # The smaller topology knows every coupler: the part is a subgraph of it.
    assert part.network().number_of_edges() == len(moved)


@pytest.fixture
def fresh_memory(monkeypatch):
    monkeypatch.setattr(store_module, "_PACKINGS", {})
    return monkeypatch


def no_search(*_):
    raise AssertionError("searched again")


def test_file_saves_the_next_process_the_search(tmp_path, fresh_memory):
    graph = working_graph(mock())
    first = EmbeddingStore(graph, tmp_path).packing(6)
    fresh_memory.setattr(store_module, "_PACKINGS", {})
    fresh_memory.setattr(store_module, "pack_cliques", no_search)
    assert EmbeddingStore(working_graph(mock()), tmp_path).packing(6) == first


def test_memory_saves_the_second_solver_the_search(tmp_path, fresh_memory):
    EmbeddingStore(working_graph(mock()), tmp_path / "one").packing(6)
    fresh_memory.setattr(store_module, "pack_cliques", no_search)
    assert EmbeddingStore(working_graph(mock()), tmp_path / "two").packing(6)


def reloaded(store, fresh_memory):
    fresh_memory.setattr(store_module, "_PACKINGS", {})
    return EmbeddingStore(store.graph, store.path(6).parent).packing(6)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "null",
        lambda text: "[" * 100_000,
        lambda text: "\0" * 100,
        lambda text: text.replace('"size":6', '"size":5'),
        lambda text: json.dumps({**json.loads(text), "graph": "another"}),
        lambda text: json.dumps({**json.loads(text), "cliques": []}),
        lambda text: json.dumps({**json.loads(text), "cliques": [[[0], [0]]]}),
        lambda text: json.dumps({**json.loads(text), "cliques": json.loads(text)["cliques"][:1] * 2}),
        lambda text: json.dumps({**json.loads(text), "cliques": [[[0], [1], [2], [3], [4], [5]]]}),
        lambda text: json.dumps({**json.loads(text), "cliques": "x"}),
        lambda text: json.dumps({**json.loads(text), "cliques": [["01", "2", "3", "4", "5", "6"]]}),
        lambda text: json.dumps({**json.loads(text), "cliques": [[[2**80]] * 6]}),
        lambda text: '{"format":1,"cliques":[[[1e999]]]}',
        lambda text: text.replace('"cliques":[[[', '"cliques":[[[1e999,'),
    ],
)
def test_damaged_file_is_made_anew_with_a_warning(tmp_path, fresh_memory, spoil):
    store = EmbeddingStore(working_graph(mock()), tmp_path)
    good = store.packing(6)
    whole = store.path(6).read_text()
    store.path(6).write_text(spoil(whole))
    assert store.path(6).read_text() != whole
    with pytest.warns(RuntimeWarning, match="ignored and made anew"):
        assert reloaded(store, fresh_memory) == good
    assert store.path(6).read_text() == whole


def test_file_of_another_version_is_made_anew(tmp_path, fresh_memory):
    store = EmbeddingStore(working_graph(mock()), tmp_path)
    good = store.packing(6)
    whole = store.path(6).read_text()
    store.path(6).write_text(whole.replace('"format":1', '"format":0'))
    assert reloaded(store, fresh_memory) == good
    assert store.path(6).read_text() == whole


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="makes a pipe")
def test_pipe_in_place_of_a_file_is_not_waited_for(tmp_path):
    store = EmbeddingStore(working_graph(mock()), tmp_path)
    os.mkfifo(store.path(6))
    assert store.packing(6)


def test_folder_that_cannot_be_written_costs_only_the_file(tmp_path, fresh_memory):
    (tmp_path / "file").write_text("")
    assert EmbeddingStore(working_graph(mock()), tmp_path / "file" / "folder").packing(6)


def test_graphs_that_differ_in_one_coupler_have_different_files(tmp_path):
    whole = mock()
    broken = mock(broken_edges=[whole.edgelist[0]])
    paths = {EmbeddingStore(working_graph(sampler), tmp_path).path(6) for sampler in (whole, broken)}
    assert len(paths) == 2


def test_sampler_without_a_known_topology_is_refused():
    sampler = mock()
    sampler.properties["topology"] = {"type": "ring", "shape": [5]}
    with pytest.raises(ValueError, match="topology 'ring'"):
        working_graph(sampler)


def test_unstructured_sampler_is_refused():
    with pytest.raises(TypeError, match="sampler must be structured"):
        working_graph(object())
