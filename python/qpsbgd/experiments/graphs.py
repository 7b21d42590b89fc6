"""Tasks that train a network on one graph to classify its nodes, from the labels of a few."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from qpsbgd.data.graphs import GraphDataset, load_graph
from qpsbgd.experiments.core.results import Run
from qpsbgd.experiments.core.task import Settings, Split, Task
from qpsbgd.experiments.core.training import fit
from qpsbgd.experiments.networks import Gcn
from qpsbgd.experiments.optimizers import make_optimizer

__all__ = ["NodeClassification"]


@dataclass(frozen=True, kw_only=True)
class NodeClassification(Task):
    """A graph network trained on the whole graph in every step, by the cross-entropy of its labelled nodes.

    As in Kipf and Welling, the features of each node are divided by their sum, and the validation nodes
    choose when to stop: a run keeps the weights of the point of its learning curve that classifies them best.
    Among equal points it is the one with the lowest loss on them. A graph without validation nodes keeps the
    last weights.

    Attributes
    ----------
    graph : str
        Name for `qpsbgd.data.graphs.load_graph`.
    network : Gcn
        What is trained.
    steps : int
        Steps, over which the learning rate decays to 0 along a cosine.
    """

    graph: str
    network: Gcn
    steps: int = 150

    version: ClassVar[int] = 2

    def run(
        self,
        optimizer: str,
        settings: Settings,
        seed: int,
        *,
        split: Split = "test",
        data_dir: str | os.PathLike[str] | None = None,
    ) -> Run:
        """Train once; `seed` fixes initial weights and what dropout leaves out, for all optimizers alike."""
        graph = _graph(self.graph, None if data_dir is None else os.fspath(data_dir))
        return self.train(optimizer, settings, seed, graph, split=split)

    def train(
        self, optimizer: str, settings: Settings, seed: int, graph: GraphDataset, *, split: Split = "test"
    ) -> Run:
        """Do the run on a graph in memory.

        Raises
        ------
        ValueError
            If the graph does not fit the network, or has no nodes for `split`.
        FloatingPointError
            If the training loss becomes infinite or NaN.
        """
        judged = torch.from_numpy(graph.val_mask if split == "validation" else graph.test_mask)
        self._check(graph, judged, split)
        features = torch.from_numpy(graph.row_normalised())
        edges, labels = torch.from_numpy(graph.edge_index), torch.from_numpy(graph.labels)
        labelled, held_out = torch.from_numpy(graph.train_mask), torch.from_numpy(graph.val_mask)
        best = _Best()
        model = self.network.build(torch.Generator().manual_seed(2 * seed))

        def loss_of(mask: Tensor) -> Tensor:
            return nn.functional.cross_entropy(model(features, edges)[mask], labels[mask])

        def evaluate() -> dict[str, float]:
            scores = model(features, edges)
            correct = (scores.argmax(dim=1) == labels).float()
            measured = {f"{split}_accuracy": float(correct[judged].mean())}
            if held_out.any():
                measured["validation_accuracy"] = float(correct[held_out].mean())
                loss = float(nn.functional.cross_entropy(scores[held_out], labels[held_out]))
                best.offer((measured["validation_accuracy"], -loss), measured, model)
            return measured

        # Dropout draws from torch's own generator, whose state is restored afterwards.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(2 * seed + 1)
            curve, metrics = fit(
                model,
                make_optimizer(optimizer, model, settings, seed=seed, steps=self.steps),
                lambda: loss_of(labelled),
                evaluate,
                steps=self.steps,
                label=f"{self.name} {optimizer}, seed {seed}",
            )
        if best.weights is not None:
            model.load_state_dict(best.weights)
            metrics.update(best.measured)
        model.eval()
        with torch.no_grad():
            metrics["train_loss"] = float(loss_of(labelled))
        return Run(seed, metrics, curve, model.state_dict())

    def _check(self, graph: GraphDataset, judged: Tensor, split: Split) -> None:
        found = (graph.features.shape[1], graph.num_classes)
        if found != (self.network.inputs, self.network.outputs):
            raise ValueError(
                f"graph has {found[0]} features and {found[1]} classes, but the network is {self.network}"
            )
        if not judged.any():
            raise ValueError(f"graph {graph.name!r} has no {split} nodes")


class _Best:
    """The weights with the highest rank so far, and what was measured with them; of equals the first."""

    def __init__(self) -> None:
        self.weights: dict[str, Any] | None = None
        self.measured: Mapping[str, float] = {}
        self._rank: tuple[float, ...] = ()

    def offer(self, rank: tuple[float, ...], measured: Mapping[str, float], model: nn.Module) -> None:
        """Copy the weights if they rank above all before."""
        if self.weights is None or rank > self._rank:
            self._rank, self.measured = rank, measured
            self.weights = copy.deepcopy(model.state_dict())


@lru_cache(maxsize=1)  # runs on one graph come one after the other
def _graph(name: str, data_dir: str | None) -> GraphDataset:
    return load_graph(name, data_dir)
