"""The QUBO matrices of chosen rows over a training, and heat maps of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from types import TracebackType

import numpy as np
import numpy.typing as npt
import torch

from qpsbgd.data.pictures import new_figure, write_picture
from qpsbgd.diagnostics.posed import qubo_matrix, solved_rows
from qpsbgd.optim import QPSBGD, Projection

__all__ = ["QuboRecorder", "draw_qubos"]

Doubles = npt.NDArray[np.float64]


class QuboRecorder:
    """Keeps the QUBO matrices of chosen rows of a layer in chosen steps of a training.

    Parameters
    ----------
    optimizer : QPSBGD
        Its steps are counted from 1 on, beginning with the next one.
    weight : Parameter
        The layer's weight (m, d), one of the optimizer's.
    rows : iterable of int
        Numbers of output neurons.
    steps : iterable of int
        Steps in which to keep them. One matrix takes 8 d² bytes.

    Attributes
    ----------
    matrices : dict
        (step, row) -> float64 array (d, d); a row without a gradient poses no problem and is not there.

    Raises
    ------
    ValueError
        If the optimizer does not have the weight, steps it with ``variant="projected"``, or a row or step
        number is out of range.

    Examples
    --------
    >>> from qpsbgd.nn import BinaryLinear
    >>> layer = BinaryLinear(4, 2)
    >>> optimizer = QPSBGD(layer.parameters())
    >>> with QuboRecorder(optimizer, layer.weight, rows=[0], steps=[1, 3]) as recorder:
    ...     for _ in range(3):
    ...         optimizer.zero_grad()
    ...         layer(torch.randn(8, 4)).square().mean().backward()
    ...         optimizer.step()
    >>> sorted(recorder.matrices)
    [(1, 0), (3, 0)]
    """

    def __init__(
        self, optimizer: QPSBGD, weight: torch.Tensor, rows: Iterable[int], steps: Iterable[int]
    ) -> None:
        groups = [group for group in optimizer.param_groups if any(one is weight for one in group["params"])]
        if not groups:
            raise ValueError(f"weight of shape {tuple(weight.shape)} is none of the optimizer's parameters")
        if groups[0].get("variant") == "projected":
            raise ValueError("weight is stepped with variant='projected', expected the continuous variant")
        self._weight, self._rows, self._steps = weight, sorted(set(rows)), frozenset(steps)
        if not all(0 <= row < len(weight) for row in self._rows):
            raise ValueError(f"rows must be in 0..{len(weight) - 1}, but are {self._rows}")
        if not all(step >= 1 for step in self._steps):
            raise ValueError(f"steps must be at least 1, but are {sorted(self._steps)}")
        self._step = 0
        self.matrices: dict[tuple[int, int], Doubles] = {}
        self._handle = optimizer.register_projection_hook(self._keep)

    def _keep(self, projection: Projection) -> None:
        if projection.weight is not self._weight:
            return
        if projection.rows.start == 0:
            self._step += 1
        if self._step not in self._steps:
            return
        solved = solved_rows(projection, self._rows)
        for j, (row, p, scale) in enumerate(zip(solved.rows, solved.p, solved.scales, strict=True)):
            A = solved.A[j] if solved.A.ndim == 3 else solved.A
            matrix, _ = qubo_matrix(p, A, float(scale), domain=solved.domain)
            self.matrices[self._step, int(row)] = matrix

    def __repr__(self) -> str:
        """Show whose problems it keeps, and how many it has."""
        m, d = self._weight.shape[0], self._weight[0].numel()
        steps = sorted(self._steps)
        return (
            f"QuboRecorder(rows {self._rows} of {m} x {d}, steps {steps}; {len(self.matrices)} matrices kept)"
        )

    def remove(self) -> None:
        """Stop recording; the matrices stay."""
        self._handle.remove()

    def __enter__(self) -> QuboRecorder:
        """Return the recorder itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop recording."""
        self.remove()


def draw_qubos(matrices: Mapping[tuple[int, int], Doubles], path: str | os.PathLike[str]) -> None:
    """Draw QUBO matrices as heat maps into a PNG file, one line per row and one column per step.

    All share one colour scale, symmetric about 0, so that rows and steps can be compared.

    Parameters
    ----------
    matrices : mapping
        (step, row) -> array (d, d), as `QuboRecorder.matrices`.
    path : path
        The PNG file; missing folders above it are made.

    Raises
    ------
    ValueError
        If there is no matrix.
    ModuleNotFoundError
        If matplotlib is not installed.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     draw_qubos({(1, 0): np.eye(3), (2, 0): -np.eye(3)}, f"{folder}/qubos.png")
    ...     (Path(folder) / "qubos.png").read_bytes()[1:4]
    b'PNG'
    """
    if not matrices:
        raise ValueError("matrices is empty, expected at least one QUBO matrix")
    steps, rows = (sorted(set(numbers)) for numbers in zip(*matrices, strict=True))
    limit = max(float(np.abs(matrix).max()) for matrix in matrices.values()) or 1.0
    figure = new_figure(2.2 * len(steps) + 1.2, 2.3 * len(rows))
    panels = figure.subplots(len(rows), len(steps), squeeze=False)
    image = None
    for line, row in zip(panels, rows, strict=True):
        for axes, step in zip(line, steps, strict=True):
            axes.set_axis_off()
            if (step, row) in matrices:
                image = axes.imshow(
                    matrices[step, row], cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest"
                )
                axes.set_title(f"row {row}, step {step}", fontsize=9)
    figure.colorbar(image, ax=panels, label="QUBO coefficient")
    write_picture(figure, path)
