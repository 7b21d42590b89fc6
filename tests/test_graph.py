"""The binary graph convolution against its dense definition, and the graphs it is trained on."""

import copy
import pickle
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from qpsbgd.capture import BinaryWeight, attach
from qpsbgd.data.graphs import FIELDS, karate, load_graph, planetoid
from qpsbgd.nn import BinaryGCNConv, Scale
from qpsbgd.optim import QPSBGD
from qpsbgd.step import inputs

DIRECTED = torch.tensor([[0, 1, 2, 2, 4], [1, 2, 0, 3, 3]])
WITH_LOOPS = torch.tensor([[0, 1, 1, 2, 3], [1, 1, 2, 0, 3]])


def dense_adjacency(nodes, edges, weights, *, normalize=True, loops=True, fill=1.0):
    """Â (target, source), loop by loop from the definition in plain numpy."""
    A = np.zeros((nodes, nodes))
    own = {}
    for (source, target), weight in zip(np.asarray(edges).T, np.asarray(weights), strict=True):
        if loops and source == target:
            own[int(source)] = weight
        else:
            A[target, source] += weight
    if loops:
        A += np.diag([own.get(node, fill) for node in range(nodes)])
    if not normalize:
        return A
    degree = A.sum(axis=1)
    scale = np.array([d**-0.5 if d > 0 else 0.0 for d in degree])
    return scale[:, None] * A * scale


def signs_of(layer):
    return torch.where(layer.weight >= 0, 1.0, -1.0).to(layer.weight.dtype)


@pytest.mark.parametrize("edges", [DIRECTED, WITH_LOOPS], ids=["directed", "with_loops"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "options",
    [{}, {"improved": True}, {"add_self_loops": False}, {"normalize": False}, {"cached": True}],
    ids=["default", "improved", "no_loops", "not_normalised", "cached"],
)
def test_output_is_that_of_the_dense_definition(edges, weighted, options):
    layer = BinaryGCNConv(4, 3, bias=True, **options).double()
    nn.init.normal_(layer.bias)
    x = torch.randn(5, 4, dtype=torch.float64)
    weights = torch.rand(edges.shape[1], dtype=torch.float64) if weighted else None
    normalize = options.get("normalize", True)
    A = dense_adjacency(
        5,
        edges,
        np.ones(edges.shape[1]) if weights is None else weights,
        normalize=normalize,
        loops=options.get("add_self_loops", normalize),
        fill=2.0 if options.get("improved") else 1.0,
    )
    expected = torch.from_numpy(A) @ x @ signs_of(layer).T / 2 + layer.bias
    for training in (True, False):
        torch.testing.assert_close(layer.train(training)(x, edges, weights), expected)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.floats(0.1, 4)), max_size=15))
def test_normalised_adjacency_of_any_graph(triples):
    edges = torch.tensor([triple[:2] for triple in triples], dtype=torch.int64).reshape(-1, 2).T
    weights = torch.tensor([triple[2] for triple in triples], dtype=torch.float64)
    layer = BinaryGCNConv(6, 1).double()
    A = torch.from_numpy(dense_adjacency(6, edges, weights))
    torch.testing.assert_close(
        layer(torch.eye(6, dtype=torch.float64), edges, weights), A @ signs_of(layer).T / 6**0.5
    )


def test_result_is_that_of_pytorch_geometric():
    pyg = pytest.importorskip("torch_geometric.nn", reason="torch_geometric is not installed")
    for edges in (DIRECTED, WITH_LOOPS):
        for options in ({}, {"improved": True}, {"add_self_loops": False}, {"normalize": False}):
            ours, theirs = BinaryGCNConv(4, 3, bias=True, **options), pyg.GCNConv(4, 3, **options)
            x, weights = torch.randn(5, 4), torch.rand(edges.shape[1])
            with torch.no_grad():
                theirs.lin.weight.copy_(signs_of(ours) / 2)
                theirs.bias.copy_(nn.init.normal_(ours.bias))
            torch.testing.assert_close(ours(x, edges, weights), theirs(x, edges, weights))
            if not options.get("improved"):  # without edge weights PyTorch Geometric overlooks it
                torch.testing.assert_close(ours(x, edges), theirs(x, edges))


def test_gradient_is_a_over_n_times_v_transposed_ax():
    layer = BinaryGCNConv(4, 3).double()
    capture = attach(layer.weight, keep_output_gradients=True)
    x = torch.randn(5, 4, dtype=torch.float64)
    layer(x, DIRECTED).square().sum(dim=1).mean().backward()
    V, X = capture.jacobian_factors()
    torch.testing.assert_close(X, torch.from_numpy(dense_adjacency(5, DIRECTED, np.ones(5))) @ x)
    torch.testing.assert_close(layer.weight.grad, V.T @ X / (5 * 2))


def test_factors_are_the_jacobian_of_the_output():
    layer = BinaryGCNConv(4, 3).double()
    capture = attach(layer.weight, keep_output_gradients=True)
    x = torch.randn(5, 4, dtype=torch.float64)
    layer(x, DIRECTED).sum().backward()
    _, X = capture.jacobian_factors()

    def output(weight):
        return torch.func.functional_call(layer, {"weight": weight}, (x, DIRECTED))

    jacobian = torch.autograd.functional.jacobian(output, layer.weight.detach())
    torch.testing.assert_close(jacobian, torch.einsum("jk,nd->njkd", torch.eye(3).double(), X) / 2)


def test_gradients_reach_features_and_edge_weights():
    layer = BinaryGCNConv(4, 3).double()
    x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, w: layer(x, DIRECTED, w), (x, weights))


def two_layers(cached=True):
    torch.manual_seed(3)
    return nn.ModuleList([BinaryGCNConv(34, 8, cached=cached), BinaryGCNConv(8, 2, cached=cached), Scale()])


def scores(model, x, edges):
    return model[2](model[1](torch.tanh(model[0](x, edges)), edges))


def karate_tensors():
    graph = karate()
    arrays = (graph.features, graph.edge_index, graph.labels, graph.train_mask, graph.test_mask)
    return tuple(torch.from_numpy(array) for array in arrays)


def train(model, optimizer, steps, x, edges, labels, mask):
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(scores(model, x, edges)[mask], labels[mask]).backward()
        optimizer.step()


def test_first_layer_of_a_cached_graph_keeps_its_gram_matrix(monkeypatch):
    sizes = []
    gram_matrices = inputs.gram_matrices

    def counted(blocks, num_samples):
        A = gram_matrices(blocks, num_samples)
        sizes.append(len(A[0]))
        return A

    monkeypatch.setattr(inputs, "gram_matrices", counted)
    x, edges, labels, mask, _ = karate_tensors()
    model = two_layers()
    train(model, QPSBGD(model.parameters()), 3, x, edges, labels, mask)
    assert sizes == [34, 8, 8, 8]


def test_caching_changes_nothing_on_one_graph():
    x, edges, labels, mask, _ = karate_tensors()
    trained = []
    for cached in (True, False):
        model = two_layers(cached)
        train(model, QPSBGD(model.parameters()), 4, x, edges, labels, mask)
        trained.append(model.state_dict())
    assert all(torch.equal(trained[0][name], trained[1][name]) for name in trained[0])


def test_cached_layer_notices_other_features_and_writes_to_them():
    layer = BinaryGCNConv(4, 3, cached=True)
    fresh = BinaryGCNConv(4, 3)
    fresh.weight = layer.weight
    x = torch.randn(5, 4)
    for _ in range(2):
        torch.testing.assert_close(layer(x, DIRECTED), fresh(x, DIRECTED))
        x.mul_(3)
    y = torch.randn(5, 4)
    torch.testing.assert_close(layer(y, DIRECTED), fresh(y, DIRECTED))


def test_cached_layer_keeps_the_first_graph_until_it_is_reset():
    layer = BinaryGCNConv(4, 3, cached=True)
    x = torch.randn(5, 4)
    first = layer(x, DIRECTED)
    assert torch.equal(layer(x, WITH_LOOPS), first)
    with pytest.raises(ValueError, match="x has 4 nodes, but the cached graph has 5"):
        layer(x[:4], DIRECTED)
    layer.reset_parameters()
    fresh = BinaryGCNConv(4, 3)
    fresh.weight = layer.weight
    torch.testing.assert_close(layer(x, WITH_LOOPS), fresh(x, WITH_LOOPS))


def test_cached_layer_can_train_after_inference_mode():
    layer = BinaryGCNConv(4, 3, cached=True)
    x = torch.randn(5, 4)
    with torch.inference_mode():
        layer(x, DIRECTED)
    layer(x, DIRECTED).square().mean().backward()
    assert layer.weight.grad.isfinite().all()


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies_work_on_their_own(duplicate):
    layer = BinaryGCNConv(4, 3, cached=True)
    x = torch.randn(5, 4)
    expected = layer(x, DIRECTED)
    twin = duplicate(layer)
    assert type(twin.weight) is BinaryWeight
    torch.testing.assert_close(twin(x, DIRECTED), expected)
    torch.testing.assert_close(twin.double()(x.double(), DIRECTED), expected.double())


def test_state_dict_resumes_exactly():
    data = karate_tensors()[:4]
    model = two_layers()
    optimizer = QPSBGD(model.parameters(), lr=0.01)
    train(model, optimizer, 3, *data)
    twin = copy.deepcopy(model)
    resumed = QPSBGD(twin.parameters(), lr=0.01)
    resumed.load_state_dict(optimizer.state_dict())
    train(model, optimizer, 3, *data)
    train(twin, resumed, 3, *data)
    for name, value in model.state_dict().items():
        assert torch.equal(value, twin.state_dict()[name])


def test_int32_edges_and_half_precision_work():
    layer = BinaryGCNConv(4, 3, dtype=torch.bfloat16)
    x = torch.randn(5, 4, dtype=torch.bfloat16)
    wide = BinaryGCNConv(4, 3)
    wide.load_state_dict({"weight": layer.weight.float()})
    output = layer(x, DIRECTED.int())
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), wide(x.float(), DIRECTED), atol=0.05, rtol=0.05)


def test_repr_shows_the_sizes():
    assert repr(BinaryGCNConv(4, 3)) == "BinaryGCNConv(4, 3, bias=False)"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"in_channels": -1}, "in_channels must be a positive integer, but is -1"),
        ({"out_channels": 0}, "out_channels must be a positive integer"),
        ({"normalize": False, "add_self_loops": True}, "add_self_loops is part of the normalisation"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        BinaryGCNConv(**{"in_channels": 4, "out_channels": 3, **options})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((torch.randn(5, 3), DIRECTED), ValueError, r"x has shape \(5, 3\), expected \(nodes, 4\)"),
        ((torch.randn(4, 4), DIRECTED), ValueError, "edge_index names nodes 0 to 4, but x has nodes 0 to 3"),
        (
            (torch.randn(5, 4), DIRECTED.T),
            ValueError,
            r"edge_index has shape \(5, 2\), expected \(2",
        ),
        ((torch.randn(5, 4), DIRECTED.float()), TypeError, "edge_index must be a dense integer tensor"),
        ((torch.randn(5, 4), torch.eye(5).to_sparse()), TypeError, "edge_index must be a dense integer"),
        ((torch.randn(5, 4), DIRECTED, torch.ones(4)), ValueError, r"edge_weight has shape \(4,\)"),
        ((torch.randn(5, 4), DIRECTED, DIRECTED[0]), TypeError, "edge_weight must be a tensor of floating"),
        ((torch.randn(5, 4), DIRECTED, -3 * torch.ones(5)), ValueError, "negative sum"),
    ],
)
def test_bad_graphs_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        BinaryGCNConv(4, 3)(*arguments)


def test_small_net_learns_the_karate_club():
    x, edges, labels, train_mask, test_mask = karate_tensors()
    model = two_layers()
    train(model, QPSBGD(model.parameters(), lr=0.01), 60, x, edges, labels, train_mask)
    correct = scores(model, x, edges).argmax(dim=1) == labels
    assert correct[test_mask].float().mean() > 0.85


# --- data sets ---


def degrees(graph):
    return np.bincount(graph.edge_index[1], minlength=len(graph.labels))


def is_symmetric(edges):
    return {(int(i), int(j)) for i, j in edges.T} == {(int(j), int(i)) for i, j in edges.T}


def test_karate_club_is_zacharys():
    graph = load_graph("karate")
    assert graph.edge_index.shape == (2, 156)
    assert is_symmetric(graph.edge_index)
    assert degrees(graph)[[0, 33]].tolist() == [16, 17]
    assert np.bincount(graph.labels).tolist() == [17, 17]
    assert np.flatnonzero(graph.train_mask).tolist() == [0, 33]
    assert graph.test_mask.sum() == 32
    np.testing.assert_array_equal(graph.features, np.eye(34))


def test_communities_of_the_karate_club_are_numbered_as_in_pytorch_geometric():
    graph = load_graph("karate-communities")
    assert np.bincount(graph.labels).tolist() == [13, 12, 4, 5]
    assert [int(graph.labels[graph.train_mask][c]) for c in range(4)] == [1, 3, 0, 2]


@pytest.mark.parametrize(
    ("name", "nodes", "edges", "width", "classes", "split"),
    [
        ("cora", 2708, 5278, 1433, 7, (140, 500, 1000)),
        ("pubmed", 19717, 44324, 500, 3, (60, 500, 1000)),
    ],
)
def test_citation_network_has_its_known_sizes(data_folder, name, nodes, edges, width, classes, split):
    if not (data_folder / "planetoid").is_dir():
        pytest.skip("the data folder has no planetoid/")
    graph = load_graph(name, data_folder)
    assert graph.features.shape == (nodes, width)
    assert graph.features.dtype == np.float32
    assert graph.edge_index.shape == (2, 2 * edges)
    assert graph.num_classes == classes
    masks = (graph.train_mask, graph.val_mask, graph.test_mask)
    assert tuple(int(mask.sum()) for mask in masks) == split
    assert np.bincount(graph.labels[graph.train_mask]).tolist() == [20] * classes
    np.testing.assert_allclose(graph.row_normalised().sum(axis=1).max(), 1, rtol=1e-5)


def small_file():
    """Arrays of a network of 4 papers."""
    masks = np.eye(4, dtype=bool)
    return {
        "x_data": np.array([1.0, 2.0, 0.5], dtype=np.float32),
        "x_indices": np.array([2, 0, 1], dtype=np.int32),
        "x_indptr": np.array([0, 1, 3, 3, 3], dtype=np.int32),
        "x_shape": np.array([4, 3]),
        "edge_index": np.array([[0, 1], [1, 3]], dtype=np.int32),
        "y": np.array([0, 1, 1, 0]),
        "train_mask": masks[0],
        "val_mask": masks[1],
        "test_mask": masks[2],
    }


def write(folder, arrays, name="cora"):
    (folder / "planetoid").mkdir()
    np.savez(folder / "planetoid" / f"{name}.npz", **arrays)
    return folder


def test_citation_network_is_what_its_file_says(tmp_path):
    graph = planetoid("cora", write(tmp_path, small_file()))
    np.testing.assert_array_equal(graph.features, [[0, 0, 1], [2, 0.5, 0], [0, 0, 0], [0, 0, 0]])
    assert graph.edge_index.tolist() == [[0, 1, 1, 3], [1, 3, 0, 1]]
    assert graph.num_classes == 2
    np.testing.assert_allclose(graph.row_normalised()[:3], [[0, 0, 1], [0.8, 0.2, 0], [0, 0, 0]])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("x_data", np.array([1.0, np.nan, 2.0], dtype=np.float32)),
        ("x_data", np.ones((3, 1), dtype=np.float32)),
        ("x_indices", np.array([0, 1, 3], dtype=np.int32)),
        ("x_indices", np.array([0, 1, -1], dtype=np.int32)),
        ("x_indptr", np.array([0, 2, 1, 3, 3], dtype=np.int32)),
        ("x_indptr", np.array([0, 1, 3], dtype=np.int32)),
        ("x_shape", np.array([4])),
        ("edge_index", np.array([[0, 1], [1, 4]], dtype=np.int32)),
        ("edge_index", np.array([[0, 1], [0, 3]], dtype=np.int32)),
        ("edge_index", np.array([[0, 1], [1, 0]], dtype=np.int32)),
        ("edge_index", np.array([[0.0, 1.0], [1.0, 2.0]])),
        ("y", np.array([0, 1, -1, 0])),
        ("y", np.array([0, 1, 1])),
        ("val_mask", np.zeros(4, dtype=bool)),
        ("test_mask", np.array([0, 0, 1, 0])),
    ],
)
def test_corrupt_citation_network_is_refused(tmp_path, field, value):
    folder = write(tmp_path, {**small_file(), field: value})
    with pytest.raises(
        ValueError, match=rf"cora\.npz is corrupt: {field} .*expected {re.escape(FIELDS[field])}"
    ):
        planetoid("cora", folder)


def test_overlapping_masks_are_refused(tmp_path):
    arrays = small_file()
    folder = write(tmp_path, {**arrays, "val_mask": arrays["train_mask"]})
    with pytest.raises(ValueError, match="a node is in two of train_mask, val_mask and test_mask"):
        planetoid("cora", folder)


def test_missing_array_is_named(tmp_path):
    arrays = small_file()
    del arrays["y"]
    with pytest.raises(ValueError, match=r"cora\.npz is corrupt: there is no y"):
        planetoid("cora", write(tmp_path, arrays))


@pytest.mark.parametrize("content", [b"", b"not a zip file", b"PK\x03\x04 cut short"])
def test_file_that_is_no_npz_is_refused(tmp_path, content):
    (tmp_path / "planetoid").mkdir()
    (tmp_path / "planetoid" / "cora.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"cora\.npz is corrupt"):
        planetoid("cora", tmp_path)


def test_pickled_objects_are_not_opened(tmp_path):
    with pytest.raises(ValueError, match=r"cora\.npz is corrupt: y has the dtype object"):
        planetoid("cora", write(tmp_path, {**small_file(), "y": np.array([{}, 1, 2, 3], dtype=object)}))


def test_missing_file_says_where_it_belongs(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"pubmed\.npz is missing: put the file there"):
        load_graph("pubmed", tmp_path)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="name is 'citeseer', expected 'karate'"):
        load_graph("citeseer")
    with pytest.raises(ValueError, match="name is 'karate', expected one of cora, pubmed"):
        planetoid("karate")
    with pytest.raises(ValueError, match="labels is 'ages', expected 'clubs' or 'communities'"):
        karate("ages")
