"""The Gram matrices behind one weight's gradient: of all its passes, channel groups and processes."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from qpsbgd.capture.record import Capture, Record
from qpsbgd.step.arrays import Floats, Matrix, to_host
from qpsbgd.step.gram import gram_matrices, row_chunks, weighted_grams
from qpsbgd.step.kept import KeptGrams
from qpsbgd.step.processes import Form, Means, Processes, Promise
from qpsbgd.step.sampling import SampleDraw
from qpsbgd.step.tensor_gram import tensor_grams, weighted_tensor_grams
from qpsbgd.step.triangles import pack_symmetric, packed_size, unpack_symmetric
from qpsbgd.step.wide import by_inputs, first_by_inputs, is_wide

__all__ = [
    "CurvatureFactors",
    "InputStatistics",
    "LayerInputs",
    "Part",
    "Seen",
    "StaticInputs",
    "fold_inputs",
    "seen_by",
]

_BLOCK_ROWS = 64
"""Rows of a matrix that are added at once: a temporary of them stays in the cache."""


class Part(NamedTuple):
    """Rows of a weight that are projected together."""

    rows: slice
    """Which rows of the weight."""
    A: Matrix
    """Their Gram matrix (d, d), or one for each, (r, d, d). On devices (q, d, d), each for r / q rows."""
    num_samples: int
    """Number of samples in it, of all processes."""


class CurvatureFactors(NamedTuple):
    """What the Gauss-Newton factor of a channel group needs of its per-sample gradients."""

    gradient: Tensor
    """The gradient of the recorded passes (r, d)."""
    mean_squares: Tensor
    """Mean square of each row's per-sample gradients (r,), float64."""


@dataclass(frozen=True)
class InputStatistics:
    """What several records come to: means over their samples.

    Attributes
    ----------
    num_samples : int
        Number n of samples.
    grams : list of array or Tensor (d, d)
        Mean Gram matrix of each channel group; empty where n is 0.
    products : list of Tensor (m / groups, d)
        Sum of γ x' over all samples, γ the gradient of the loss with respect to Z, where that is kept.
    squares : list of Tensor (m / groups,)
        Sum of γ², in float64, where that is kept.
    """

    num_samples: int
    grams: list[Matrix]
    products: list[Tensor] = field(default_factory=list)
    squares: list[Tensor] = field(default_factory=list)

    def __add__(self, other: InputStatistics) -> InputStatistics:
        if not self.num_samples or not other.num_samples:
            return self if self.num_samples else other
        total = self.num_samples + other.num_samples
        first, second = self.num_samples / total, other.num_samples / total
        return InputStatistics(
            total,
            [_mean(one, first, two, second) for one, two in zip(self.grams, other.grams, strict=True)],
            [one + two for one, two in zip(self.products, other.products, strict=True)],
            [one + two for one, two in zip(self.squares, other.squares, strict=True)],
        )


def _mean(one: Matrix, first: float, two: Matrix, second: float) -> Matrix:
    """``first one + second two``, with one matrix of memory."""
    if isinstance(one, Tensor):
        return (one * first).add_(two, alpha=second)
    mean = one * one.dtype.type(first)
    for begin in range(0, len(mean), _BLOCK_ROWS):
        rows = slice(begin, begin + _BLOCK_ROWS)
        mean[rows] += two.dtype.type(second) * two[rows]
    return mean


def fold_inputs(
    before: InputStatistics | None,
    records: Sequence[Record],
    on_device: bool = False,
    draw: SampleDraw | None = None,
) -> InputStatistics:
    """Add records to what earlier ones came to; what an optimizer's capture folds with."""
    first = 0 if before is None else before.num_samples
    added = _statistics(records, None, on_device, draw, first)
    return added if before is None else before + added


def _statistics(
    records: Sequence[Record],
    grams: list[Matrix] | None = None,
    on_device: bool = False,
    draw: SampleDraw | None = None,
    first: int = 0,
) -> InputStatistics:
    """Statistics of records, whose Gram matrices may be known already."""
    records = [record for record in records if record.num_samples]
    num_samples = sum(record.num_samples for record in records)
    if not records:
        return InputStatistics(0, [])
    if grams is None:
        grams = _made(records, num_samples, on_device, draw or SampleDraw(), first)
    products: list[Tensor] = []
    squares: list[Tensor] = []
    for record in records:
        gradients = record.output_gradient_samples()
        if gradients is None:
            continue
        products = _sum(products, _products(record, gradients))
        squares = _sum(squares, [rows.double().square().sum(dim=0) for rows in gradients])
    return InputStatistics(num_samples, grams, products, squares)


def _made(
    records: Sequence[Record], num_samples: int, on_device: bool, draw: SampleDraw, first: int
) -> list[Matrix]:
    """Mean Gram matrix of each channel group."""
    if not any(draw.cuts(record) for record in records):
        return _grams_of((X for record in records for X, _ in record.blocks()), num_samples, on_device)
    total = InputStatistics(0, [])
    for record in records:
        blocks, count = draw.blocks(record, first + total.num_samples)
        total += InputStatistics(record.num_samples, _grams_of(blocks, count, on_device))
    return total.grams


def _grams_of(blocks: Iterable[Tensor], num_samples: int, on_device: bool) -> list[Matrix]:
    if on_device:
        return list(tensor_grams(blocks, num_samples))
    return list(gram_matrices(([to_host(X, _dtype(X)) for X in block] for block in blocks), num_samples))


def _sum(total: list[Tensor], added: list[Tensor]) -> list[Tensor]:
    return [one + two for one, two in zip(total, added, strict=True)] if total else added


def _products(record: Record, gradients: Tensor) -> list[Tensor]:
    """γ'X of each channel group."""
    total: list[Tensor] = []
    start = 0
    for X, _ in record.blocks():
        dtype = torch.promote_types(X.dtype, torch.float32)
        rows = gradients[:, start : start + X.shape[1]]
        start += X.shape[1]
        total = _sum(total, [one.to(dtype).T @ two.to(dtype) for one, two in zip(rows, X, strict=True)])
    return total


def _dtype(tensor: Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


class StaticInputs:
    """Gram matrices of layers whose input is the same unchanged tensor in every step.

    Parameters
    ----------
    on_device : bool
        Whether they are tensors on the device of the inputs.
    """

    def __init__(self, on_device: bool = False) -> None:
        self.on_device = on_device
        self._known: dict[Tensor, tuple[weakref.ref[Tensor], int, list[Matrix]]] = {}

    def statistics(
        self, weight: Tensor, records: Sequence[Record], draw: SampleDraw | None = None
    ) -> InputStatistics:
        """Statistics of all samples behind a gradient; a static input's Gram matrix is known already."""
        source = records[0].source() if len(records) == 1 else None
        known = self._known.pop(weight, None)
        if source is None or (draw is not None and draw.cuts(records[0])):
            return _statistics(records, None, self.on_device, draw)
        record = records[0]
        same = known is not None and known[0]() is source and known[1] == record.source_version
        found = _statistics(records, known[2] if known is not None and same else None, self.on_device)
        self._known[weight] = (record.source, record.source_version, found.grams)
        return found


class Seen(NamedTuple):
    """What lies behind one weight's gradient, in this process or in all of them together."""

    num_samples: int
    """Number of samples."""
    groups: int
    """Number of channel groups; 0 where nothing is recorded."""
    has_slopes: bool
    """Whether the slopes of the activation after the layer are recorded."""


class LayerInputs:
    """The samples behind one weight's gradient, as Gram matrices.

    Parameters
    ----------
    weight : Tensor (m, ...)
        The weight.
    capture : Capture
        What is recorded for it here.
    static : StaticInputs
        Gram matrices that earlier steps have left.
    processes : Processes
        Who trains together. All of them ask for the same things in the same order.
    own : Seen, optional
        What lies behind the gradient in this process, if it is known already.
    seen : Seen, optional
        What lies behind the gradient in all processes. Not needed by a process alone.
    kept : KeptGrams, optional
        Matrices of earlier steps that serve this one; it takes what this step makes.
    draw : SampleDraw, optional
        Which samples count in the matrices.
    """

    def __init__(
        self,
        weight: Tensor,
        capture: Capture,
        static: StaticInputs,
        processes: Processes,
        own: Seen | None = None,
        seen: Seen | None = None,
        kept: KeptGrams | None = None,
        draw: SampleDraw | None = None,
    ) -> None:
        self._draw = SampleDraw() if draw is None else draw
        self.kept = KeptGrams() if kept is None else kept
        self._weight = weight
        self._capture = capture
        self._static = static
        self._processes = processes
        self._own = seen_by(capture) if own is None else own
        self._all = self._own if seen is None else seen
        self._known: InputStatistics | None = None
        self._means = Means(processes)
        self._asked_grams: Promise | None = None
        self._asked_factors: tuple[Promise, Promise] | None = None
        self._chunks_left: list[tuple[int, slice]] = []  # those whose average was not asked for

    @property
    def _width(self) -> int:
        return self._weight.numel() // self._weight.shape[0]

    @property
    def alone(self) -> bool:
        """Whether they are this process's own, which no other has a share in."""
        return self._processes.alone

    @property
    def num_samples(self) -> int:
        """Number of samples, of all processes."""
        return self._all.num_samples

    def parts(self, jacobian: str) -> Iterator[Part]:
        """Give the weight's rows with their Gram matrices, in order.

        There is one part for each channel group. With post-activation Jacobians there are chunks of rows,
        with a matrix for each row.
        """
        if jacobian == "post-activation" and self._all.has_slopes:
            yield from self._weighted_parts()
            return
        groups = max(1, self._all.groups)
        rows = self._weight.shape[0] // groups
        for group, A in enumerate(self._grams(groups)):
            yield Part(slice(group * rows, (group + 1) * rows), A, self.num_samples)

    def _grams(self, groups: int) -> list[Matrix]:
        """Give the matrix of every channel group: the mean over all processes, or one that is kept."""
        kept = self.kept.of_groups(groups, self._static.on_device)
        if kept is not None:
            return kept
        if self._processes.alone:
            grams = [self._as_own_type(A) for A in self._statistics(matrices=True).grams]
        else:
            asked = self._asked_grams or self._ask_grams(groups)
            grams = [self._at_home(A) for A in unpack_symmetric(asked.mean(), self._width)]
        self.kept.keep(grams, self._weight.device)
        return grams

    def ask(self, means: Means, jacobian: str, factors: bool) -> None:
        """Start the averages over the processes that a step of this weight will need, in `means`."""
        self._means = means
        if jacobian == "post-activation" and self._all.has_slopes:
            self._chunks_left = self._chunks()
            return  # chunk by chunk: all matrices together may not fit
        groups = max(1, self._all.groups)
        if self.kept.of_groups(groups) is None:
            self._asked_grams = self._ask_grams(groups)
        if factors:
            self._asked_factors = self._ask_factors(groups)

    def _ask_grams(self, groups: int) -> Promise:
        form = Form((groups, packed_size(self._width)), _dtype(self._weight), self._weight.device)

        def packed() -> Tensor | None:
            grams = [self._as_tensor(A) for A in self._statistics(matrices=True).grams]
            return pack_symmetric(torch.stack(grams)) if grams else None

        return self._means.add(packed, form, self._share)

    def tensor_parts(self, jacobian: str) -> Iterator[Part]:
        """Give the weight's rows with their Gram matrices on its device, in order.

        All rows come together, with a matrix for each channel group. With post-activation Jacobians there are
        chunks of rows, with a matrix for each row.
        """
        if jacobian == "post-activation" and self._all.has_slopes:
            yield from self._weighted_parts()
            return
        grams = self._grams(max(1, self._all.groups))
        A = grams[0][None] if len(grams) == 1 else torch.stack(grams)
        yield Part(slice(0, len(self._weight)), A, self.num_samples)

    def few_samples(self) -> tuple[Floats, Floats | None] | None:
        """X (n, d) of all samples, where a layer has so few that the rows descend by X; else None.

        With it comes the matrix A, where that makes the last flips faster.
        """
        width, dtype = self._width, _dtype(self._weight)
        own = self._processes.alone and self._capture.folded is None
        if not (is_wide(width) and own and self._all.groups == 1):
            return None
        records = [record for record in self._capture.records if record.num_samples]
        cut = any(self._draw.cuts(record) for record in records)
        if not records or (cut and len(records) > 1):
            return None
        drawn = [self._draw.blocks(record, 0) for record in records]
        num_samples = sum(count for _, count in drawn)
        by_samples = by_inputs(num_samples, width, dtype.itemsize)
        if not first_by_inputs(num_samples, width) or (self.kept.active and not by_samples):
            return None
        blocks = [to_host(X[0], dtype) for drawn_blocks, _ in drawn for X in drawn_blocks]
        X = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
        if by_samples:
            return X, None
        return X, next(self.parts("pre-activation")).A

    def curvature_factors(self) -> list[CurvatureFactors]:
        """Give the Gauss-Newton factors of each channel group."""
        groups = max(1, self._all.groups)
        recorded, squares = self._asked_factors or self._ask_factors(groups)
        both = zip(recorded.mean().chunk(groups), squares.mean().chunk(groups), strict=True)
        return [CurvatureFactors(*factors) for factors in both]

    def _ask_factors(self, groups: int) -> tuple[Promise, Promise]:
        width, device = self._width, self._weight.device

        def recorded() -> Tensor | None:
            products = self._statistics().products
            return torch.cat(products) / width**0.5 if products else None

        def squares() -> Tensor | None:
            found = self._statistics()
            # The step's gradient is the mean over the N processes. So V is n/N times the gradient with
            # respect to Z, and its mean square n/N times the mean over the processes of the sum of γ².
            return (
                self.num_samples / self._processes.size * torch.cat(found.squares) if found.squares else None
            )

        rows, dtype = len(self._weight), torch.promote_types(self._weight.dtype, torch.float32)
        return (
            self._means.add(recorded, Form((rows, width), dtype, device)),
            self._means.add(squares, Form((rows,), torch.float64, device)),
        )

    @property
    def _share(self) -> float:
        """Part of the samples that this process has, relative to an equal part; 1 where all have as many."""
        if self._processes.alone:
            return 1.0
        return self._own.num_samples * self._processes.size / self._all.num_samples

    def _statistics(self, matrices: bool = False) -> InputStatistics:
        """Statistics of everything recorded here; without matrices where others serve, unless asked for."""
        if self._known is None or (matrices and not self._known.grams):
            self._known = self._computed(matrices or not self.kept.serves)
        return self._known

    def _computed(self, matrices: bool) -> InputStatistics:
        capture = self._capture
        if not matrices and capture.folded is None:
            return _statistics(capture.records, grams=[])
        if not capture.folds:
            return self._static.statistics(self._weight, capture.records, self._draw)
        if capture.folded is not None or not capture.records:
            folded = capture.fold()
            return InputStatistics(0, []) if folded is None else folded
        found = self._static.statistics(self._weight, capture.records, self._draw)
        if found.num_samples > self._width:
            capture.replace_records(found)  # the matrix is smaller than the inputs
        return found

    def leave(self, error: BaseException) -> bool:
        """Take part in the next average of a chunk only to tell of an error; return whether there was one."""
        was_asked, left = self._means.fail(error), self._chunks_left
        if left and not was_asked:
            self._ask_chunk(*left[0], make=lambda: None)
            self._means.send()
        return was_asked or bool(left)

    def _chunks(self) -> list[tuple[int, slice]]:
        """Channel groups, and rows of each that have their matrices at the same time."""
        per_group = len(self._weight) // self._all.groups
        chunks = list(row_chunks(per_group, self._width))
        return [(group, rows) for group in range(self._all.groups) for rows in chunks]

    def _ask_chunk(self, group: int, rows: slice, make: Callable[[], Tensor | None]) -> Promise:
        shape = (rows.stop - rows.start, self._width, self._width)
        return self._means.add(make, Form(shape, _dtype(self._weight), self._weight.device), self._share)

    def _weighted_parts(self) -> Iterator[Part]:
        """As `parts`, of post-activation Jacobians."""
        records, per_group = self._capture.records, len(self._weight) // self._all.groups
        for group, rows in self._chunks():
            asked = self._ask_chunk(group, rows, partial(self._weighted, records, group, rows))
            del self._chunks_left[:1]
            chunk = slice(group * per_group + rows.start, group * per_group + rows.stop)
            yield Part(chunk, self._at_home(asked.mean()), self.num_samples)

    def _weighted(self, records: Sequence[Record], group: int, rows: slice) -> Tensor | None:
        """Matrix of each of the given rows of a channel group, in this process."""
        if not self._own.num_samples:
            return None
        dtype = _dtype(self._weight)
        blocks = (
            (X[group], slopes[group][:, rows])
            for record in records
            for X, slopes in record.blocks()
            if slopes is not None
        )
        if self._static.on_device:
            return self._as_tensor(weighted_tensor_grams(blocks, self._own.num_samples))
        host = ((to_host(X, dtype), to_host(slopes, dtype)) for X, slopes in blocks)
        return self._as_tensor(weighted_grams(host, self._own.num_samples))

    def _at_home(self, A: Tensor) -> Matrix:
        """Give a matrix as rules get it."""
        return A if self._static.on_device else to_host(A, A.dtype)

    def _as_tensor(self, A: Matrix) -> Tensor:
        return torch.as_tensor(self._as_own_type(A), device=self._weight.device)

    def _as_own_type(self, A: Matrix) -> Matrix:
        if isinstance(A, Tensor):
            return A.to(_dtype(self._weight))
        return A.astype(self._numpy_dtype, copy=False)

    @property
    def _numpy_dtype(self) -> type[np.floating[Any]]:
        return np.float64 if self._weight.dtype == torch.float64 else np.float32


def seen_by(capture: Capture) -> Seen:
    """Tell what lies behind a weight's gradient in this process.

    Raises
    ------
    RuntimeError
        If only some of the weight's layers tell their activation's slopes.
    """
    records = capture.records
    folded: InputStatistics | None = capture.folded
    num_samples = sum(record.num_samples for record in records) + (folded.num_samples if folded else 0)
    groups = records[0].groups if records else (len(folded.grams) if folded else 0)
    known = [record.slopes is not None for record in records if record.num_samples]
    if any(known) and not all(known):
        raise RuntimeError(
            f"the weight of shape {tuple(capture.parameter.shape)} was used both inside and outside of "
            "qpsbgd.nn.Activated, so its activation's slopes are not known everywhere"
        )
    return Seen(num_samples, groups, any(known))
