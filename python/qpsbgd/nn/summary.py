"""`summary` shows which weights of a model are binary, and what they take."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass

from torch import nn

from qpsbgd.capture.weight import is_binary

__all__ = ["Summary", "WeightSummary", "summary"]


@dataclass(frozen=True)
class WeightSummary:
    """One parameter.

    Attributes
    ----------
    name, layer : str
        Its name in the state dict, and the type of the module that holds it.
    shape : tuple of int
        Its shape.
    binary : bool
        Whether it is of -1 and +1.
    num_bytes : int
        Bytes as a tensor.
    packed_bytes : int
        Bytes in a file of `qpsbgd.export.save_packed`: one bit an entry where it is binary.
    """

    name: str
    layer: str
    shape: tuple[int, ...]
    binary: bool
    num_bytes: int
    packed_bytes: int


@dataclass(frozen=True)
class Summary:
    """All parameters of a model, those that layers share once; printed as a table.

    Attributes
    ----------
    weights : tuple of WeightSummary
        In the order of the state dict.
    """

    weights: tuple[WeightSummary, ...]

    @property
    def num_bytes(self) -> int:
        """Bytes of all parameters as tensors."""
        return sum(weight.num_bytes for weight in self.weights)

    @property
    def packed_bytes(self) -> int:
        """Bytes of all parameters with one bit for each binary weight."""
        return sum(weight.packed_bytes for weight in self.weights)

    @property
    def binary_share(self) -> float:
        """Part of all entries that are binary; 0 without any."""
        entries = [(math.prod(weight.shape), weight.binary) for weight in self.weights]
        total = sum(count for count, _ in entries)
        return sum(count for count, binary in entries if binary) / total if total else 0.0

    def _repr_html_(self) -> str:
        head, *rows = self._cells()
        lines = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
        return (
            f"<table><tr>{''.join(f'<th>{cell}</th>' for cell in head)}</tr>"
            f"{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
        )

    def __str__(self) -> str:
        cells = self._cells()
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  ".join(
                cell.rjust(width) if place > 3 else cell.ljust(width)
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in cells
        ]
        return "\n".join(lines)

    def _cells(self) -> list[tuple[str, ...]]:
        """Return the table's rows: the head, a row for each parameter, the sum."""
        head = ("parameter", "layer", "shape", "weights", "bytes", "packed")
        rows = [
            (
                weight.name,
                weight.layer,
                " x ".join(map(str, weight.shape)) or "1",
                "binary" if weight.binary else "real",
                f"{weight.num_bytes:,}",
                f"{weight.packed_bytes:,}",
            )
            for weight in self.weights
        ]
        total = (
            "all",
            "",
            "",
            f"{self.binary_share:.1%} binary",
            f"{self.num_bytes:,}",
            f"{self.packed_bytes:,}",
        )
        return [head, *rows, total]


def summary(model: nn.Module) -> Summary:
    """List the parameters of a model: which are binary, and the memory of each.

    Parameters
    ----------
    model : torch.nn.Module
        Any model.

    Returns
    -------
    Summary
        Printed, it is a table.

    Raises
    ------
    TypeError
        If `model` is no module.

    Examples
    --------
    >>> from qpsbgd.nn import BinaryLinear
    >>> print(summary(nn.Sequential(BinaryLinear(784, 512), nn.BatchNorm1d(512))))
    parameter  layer         shape      weights           bytes  packed
    0.weight   BinaryLinear  512 x 784  binary        1,605,632  50,176
    1.weight   BatchNorm1d   512        real              2,048   2,048
    1.bias     BatchNorm1d   512        real              2,048   2,048
    all                                 99.7% binary  1,609,728  54,272
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, but is {type(model).__name__}")
    weights = []
    for name, parameter in model.named_parameters():
        owner = model.get_submodule(name.rpartition(".")[0])
        binary, entries = is_binary(parameter), parameter.numel()
        size = entries * parameter.element_size()
        weights.append(
            WeightSummary(
                name,
                type(owner).__name__,
                tuple(parameter.shape),
                binary,
                size,
                (entries + 7) // 8 if binary else size,
            )
        )
    return Summary(tuple(weights))
