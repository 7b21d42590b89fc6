"""Graph networks and tasks of the experiments."""

import dataclasses

import numpy as np
import pytest
import torch

from qpsbgd.data.graphs import karate
from qpsbgd.experiments import TASKS
from qpsbgd.experiments.graphs import NodeClassification
from qpsbgd.experiments.networks import Cnn, Gcn
from qpsbgd.nn import BinaryConv2d, BinaryGCNConv

TASK = NodeClassification(
    name="small",
    description="for these tests",
    graph="karate",
    network=Gcn((34, 8, 2), dropout=0.5),
    steps=5,
    optimizers={"qpsbgd": {"lr": 0.01}, "binaryconnect-adam": {"lr": 0.01}},
)


def weights(run):
    return torch.cat([value.float().flatten() for value in run.weights.values()])


@pytest.mark.parametrize("optimizer", TASK.optimizers)
def test_same_seed_gives_the_same_run_whatever_the_global_random_state(optimizer):
    runs = []
    for state in (1, 2):
        torch.manual_seed(state)
        runs.append(TASK.train(optimizer, TASK.optimizers[optimizer], 3, karate()))
        assert torch.initial_seed() == state
    assert torch.equal(weights(runs[0]), weights(runs[1]))
    assert runs[0].metrics["test_accuracy"] == runs[1].metrics["test_accuracy"]
    other = TASK.train(optimizer, TASK.optimizers[optimizer], 4, karate())
    assert not torch.equal(weights(runs[0]), weights(other))


def test_kept_weights_give_the_reported_accuracy():
    graph = karate()
    run = TASK.run("qpsbgd", {"lr": 0.01}, 0)
    model = TASK.network.build(torch.Generator()).eval()
    model.load_state_dict(run.weights)
    predicted = model(torch.from_numpy(graph.features), torch.from_numpy(graph.edge_index)).argmax(dim=1)
    accuracy = np.mean(predicted.numpy()[graph.test_mask] == graph.labels[graph.test_mask])
    assert run.metrics["test_accuracy"] == pytest.approx(accuracy)


def with_validation_nodes(graph):
    """The graph with half of its test nodes as validation nodes."""
    held_out = graph.test_mask & (np.arange(len(graph.labels)) % 2 == 0)
    return dataclasses.replace(graph, val_mask=held_out, test_mask=graph.test_mask & ~held_out)


@pytest.mark.parametrize("optimizer", TASK.optimizers)
def test_kept_weights_are_those_of_the_best_validation_point(optimizer):
    graph = with_validation_nodes(karate())
    run = TASK.replaced(steps=30).train(optimizer, TASK.optimizers[optimizer], 0, graph)
    accuracies = [point.values["validation_accuracy"] for point in run.curve]
    assert run.metrics["validation_accuracy"] == max(accuracies) > accuracies[0]
    model = TASK.network.build(torch.Generator()).eval()
    model.load_state_dict(run.weights)
    predicted = model(torch.from_numpy(graph.row_normalised()), torch.from_numpy(graph.edge_index)).argmax(1)
    correct = predicted.numpy() == graph.labels
    assert run.metrics["validation_accuracy"] == pytest.approx(correct[graph.val_mask].mean())
    assert run.metrics["test_accuracy"] == pytest.approx(correct[graph.test_mask].mean())


def test_kept_point_does_not_depend_on_test_labels():
    graph = with_validation_nodes(karate())
    changed = dataclasses.replace(graph, labels=np.where(graph.test_mask, 1 - graph.labels, graph.labels))
    one, two = (TASK.train("qpsbgd", {"lr": 0.01}, 0, each) for each in (graph, changed))
    assert torch.equal(weights(one), weights(two))


def test_karate_club_is_told_apart_from_its_two_leaders():
    task = TASKS["karate"]
    accuracies = [
        task.run("qpsbgd", task.optimizers["qpsbgd"], seed).metrics["test_accuracy"] for seed in (0, 1)
    ]
    assert min(accuracies) >= 0.95


def test_graph_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="graph has 34 features and 4 classes, but the network is gcn 34"):
        TASK.train("qpsbgd", {"lr": 0.01}, 0, karate("communities"))


def test_split_without_nodes_is_refused():
    with pytest.raises(ValueError, match="graph 'karate' has no validation nodes"):
        TASK.run("qpsbgd", {"lr": 0.01}, 0, split="validation")


def test_graph_network_drops_features_and_activations_in_training_only():
    model = Gcn((34, 8, 2), dropout=0.5).build(torch.Generator().manual_seed(0))
    graph = karate()
    x, edges = torch.from_numpy(graph.features), torch.from_numpy(graph.edge_index)
    assert not torch.equal(model(x, edges), model(x, edges))
    model.eval()
    assert torch.equal(model(x, edges), model(x, edges))


def test_networks_are_built_of_binary_layers_from_their_generator():
    for network, kind in ((Gcn((34, 8, 8, 2)), BinaryGCNConv), (Cnn(8, (4, 6), 3), BinaryConv2d)):
        one, two = (network.build(torch.Generator().manual_seed(seed)) for seed in (1, 1))
        layers = [layer for layer in one.modules() if isinstance(layer, kind)]
        assert len(layers) == (3 if kind is BinaryGCNConv else 2)
        for a, b in zip(one.parameters(), two.parameters(), strict=True):
            assert torch.equal(a, b)


def test_convolutional_network_takes_flattened_images():
    network = Cnn(8, (4, 6), 3, kernel=3, activation="sign")
    assert (network.inputs, network.outputs) == (64, 3)
    assert str(network) == "8x8-4-6-3 conv3 sign"
    assert network.build(torch.Generator())(torch.randn(2, 64)).shape == (2, 3)
