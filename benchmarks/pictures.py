"""Draw the pictures of the pages about method and QPU: `python benchmarks/pictures.py [--out docs/images]`.

The ground is transparent, and lines and words are grey, so each picture can be read on light and dark pages.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import nn

from qpsbgd import QPSBGD
from qpsbgd.data.datasets import digits
from qpsbgd.diagnostics import QuboRecorder
from qpsbgd.nn import BinaryLinear, Scale
from qpsbgd.solvers.qpu.chip.graph import working_graph
from qpsbgd.solvers.qpu.chip.packing import pack_cliques

GREY = "#7f868f"


def figure_of(width: float, height: float, columns: int, rows: int = 1) -> tuple[Figure, Any]:
    """Make a figure with a transparent ground, and its axes in grey."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        in_grey(ax)
    return figure, axes


def in_grey(ax: Axes) -> None:
    """Draw what surrounds the data in a grey that light and dark pages show."""
    ax.patch.set_alpha(0)
    ax.tick_params(colors=GREY, which="both")
    for part in (ax.title, ax.xaxis.label, ax.yaxis.label):
        part.set_color(GREY)
    for spine in ax.spines.values():
        spine.set_color(GREY)


def write(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=130, transparent=True, metadata={"Software": None})
    print(path)


def draw_layer(path: Path) -> None:
    """Draw the QUBO matrices of two rows of a small layer in training."""
    torch.manual_seed(0)
    data = digits()
    X, y = torch.tensor(data.x_train), torch.tensor(data.y_train)
    net = nn.Sequential(BinaryLinear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), BinaryLinear(32, 10), Scale())
    optimizer = QPSBGD(net.parameters(), lr=0.01)
    layer = net[3]
    steps = [1, 20, 100]
    with QuboRecorder(optimizer, layer.weight, rows=[0, 1], steps=steps) as recorder:
        for _ in range(max(steps)):
            batch = torch.randint(len(X), (100,))
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(X[batch]), y[batch]).backward()
            optimizer.step()
    figure, axes = figure_of(7.2, 4.6, len(steps), 2)
    matrices = {key: np.asarray(matrix) for key, matrix in recorder.matrices.items()}
    for (step, row), matrix in matrices.items():
        ax = axes[row, steps.index(step)]
        # The diagonal is many times larger: it saturates.
        bound = np.abs(matrix - np.diag(np.diag(matrix))).max()
        ax.imshow(matrix, cmap="RdBu_r", vmin=-bound, vmax=bound)
        ax.set_title(f"row {row}, step {step}", color=GREY, fontsize=9)
        ax.set(xticks=[], yticks=[])
    write(figure, path)


def draw_chip(path: Path, spins: int = 8) -> None:
    """Draw where cliques of so many spins lie on a Zephyr chip: a line is a qubit, a colour a clique."""
    from dwave.system.testing import MockDWaveSampler

    graph = working_graph(MockDWaveSampler(topology_type="zephyr", topology_shape=[4, 4]))
    cliques = pack_cliques(graph, spins)
    clique_of = {
        qubit: number for number, clique in enumerate(cliques) for chain in clique for qubit in chain
    }
    figure, ((ax,),) = figure_of(5.4, 5.6, 1)
    colours = matplotlib.colormaps["tab20"].colors
    beside: Counter[tuple[int, ...]] = Counter()
    for qubit, (left, right, top, bottom) in zip(graph.qubits.tolist(), graph.boxes.tolist(), strict=True):
        # Qubits in the same place are drawn side by side, and neighbours in a line with a gap between them.
        place = (left, right, top, bottom)
        beside[place] += 1
        aside = 0.2 * beside[place] - 0.5
        if left == right:
            x, y = (left + aside, left + aside), (top - 0.4, bottom + 0.4)
        else:
            x, y = (left - 0.4, right + 0.4), (top + aside, top + aside)
        number = clique_of.get(qubit)
        style = {"color": GREY, "alpha": 0.25} if number is None else {"color": colours[number % 20]}
        ax.plot(x, y, linewidth=1.3, **style)
    ax.set_title(f"{len(cliques)} cliques of {spins} spins on {len(graph.qubits)} qubits", color=GREY)
    ax.set(xticks=[], yticks=[], aspect="equal")
    for spine in ax.spines.values():
        spine.set_visible(False)
    write(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs" / "images")
    folder = parser.parse_args().out
    torch.set_num_threads(1)
    draw_layer(folder / "layer-qubo.png")
    draw_chip(folder / "chip.png")


if __name__ == "__main__":
    main()
