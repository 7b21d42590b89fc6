"""How good the steps of a training are: agreement with the full gradient, and gaps of the QUBO solver.

Two figures of the paper are easily confused, since both are probabilities of agreeing with the full gradient
∇L (that of the loss over all training samples), taken over the random batches:

==== ============================================================= =============================
name what is compared                                              one figure for
==== ============================================================= =============================
CDP  P(⟨Π(g), ∇L⟩ > 0): does the step Π(g) descend the full loss?  a row, or a whole layer
SP   P(sign(g) = sign(∇L)): is one sign of the batch right?        a coordinate
==== ============================================================= =============================

CDP weighs the coordinates by the size of ∇L and adds them up before it asks; SP asks each coordinate by
itself. So CDP > SP says nothing about Π against sign: what CDP can be held against is the CDP of sign(g),
which `Diagnostics` shows beside it.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from qpsbgd.capture.weight import BinaryWeight
from qpsbgd.data.files import atomic_write
from qpsbgd.diagnostics.full_gradient import Data, LossFunction, full_gradient
from qpsbgd.diagnostics.measures import Doubles, QuboGap, cdp, cosine, qubo_gap, sign_agreement
from qpsbgd.diagnostics.posed import solved_rows
from qpsbgd.optim.qpsbgd import QPSBGD, Projection
from qpsbgd.problem.checks import check_choice, check_integer
from qpsbgd.projection import project_gradient
from qpsbgd.step.arrays import to_host

__all__ = [
    "NOTE",
    "Diagnostics",
    "LayerRecord",
    "LayerSummary",
    "QuboGap",
    "cdp",
    "cosine",
    "full_gradient",
    "qubo_gap",
    "sign_agreement",
]

NOTE = (
    "CDP is the probability that the projection Π(g) of a row's batch gradient g descends the full loss, SP "
    "the probability that one coordinate of g has the sign of the full gradient. They are different "
    "quantities: compare CDP of Π(g) with CDP of sign(g), not with SP. The step taken is Π(g) only without "
    "memory."
)
"""What is written wherever CDP and SP are shown together."""


STEPS = ("projection", "sign", "step")
"""What a CDP can be of: Π(g), sign(g), and the step taken."""


@dataclass(frozen=True)
class LayerRecord:
    """What `Diagnostics` saw of one layer in one step. None where there is nothing to compare.

    Attributes
    ----------
    step : int
        Number of the step, from 0.
    layer : str
        Name of the weight in the model.
    descends : bool or None
        Whether ⟨Π(g), ∇L⟩ > 0 over the whole layer, whose mean over steps is the layer's CDP.
    rows_descending : float or None
        Fraction of rows with ⟨Π(g), ∇L⟩ > 0, whose mean over steps is the rows' mean CDP.
    sign_rows_descending : float or None
        The same for sign(g): what `rows_descending` can be compared with.
    step_rows_descending : float or None
        The same for the step taken, which with memory is not Π(g).
    sign_agreement : float or None
        Fraction of coordinates where sign(g) = sign(∇L), whose mean over steps is the mean SP.
    cosine : float or None
        Cosine of the angle between step and ∇L, over the whole layer.
    flipped : float
        Fraction of binary weights that changed in the step.
    gap : float or None
        Mean relative QUBO gap of the solver's answers, over the rows looked at.
    gap_proven : bool or None
        Whether that is against proven optima.
    """

    step: int
    layer: str
    descends: bool | None
    rows_descending: float | None
    sign_rows_descending: float | None
    step_rows_descending: float | None
    sign_agreement: float | None
    cosine: float | None
    flipped: float
    gap: float | None
    gap_proven: bool | None


@dataclass(frozen=True)
class LayerSummary:
    """One layer over all observed steps. What has no full gradient is left out; None where nothing is left.

    Attributes
    ----------
    layer : str
        Name of the weight in the model.
    steps : int
        Number of observed steps.
    layer_cdp : float or None
        CDP of the layer as a whole.
    cdp, sign_cdp, step_cdp : float or None
        Mean CDP of its rows: of Π(g), of sign(g), and of the step taken.
    rows_above_half, sign_rows_above_half, step_rows_above_half : float or None
        Fraction of rows whose CDP is above ½, of the same three.
    sp : float or None
        Mean SP of its coordinates.
    coordinates_above_half : float or None
        Fraction of coordinates whose SP is above ½.
    cosine, flipped, gap : float or None
        Means of the records.
    """

    layer: str
    steps: int
    layer_cdp: float | None
    cdp: float | None
    rows_above_half: float | None
    sign_cdp: float | None
    sign_rows_above_half: float | None
    step_cdp: float | None
    step_rows_above_half: float | None
    sp: float | None
    coordinates_above_half: float | None
    cosine: float | None
    flipped: float | None
    gap: float | None


class _Counts:
    """Of how many steps something held, for every row or coordinate, among those where it could be asked."""

    def __init__(self) -> None:
        self.held: npt.NDArray[np.int64] | int = 0
        self.asked: npt.NDArray[np.int64] | int = 0

    def add(self, now: Doubles) -> None:
        """Count one step: 1 where it held, 0 where not, NaN where it could not be asked."""
        asked = ~np.isnan(now)
        self.asked = self.asked + asked.astype(np.int64)
        self.held = self.held + (asked & (now == 1)).astype(np.int64)

    def fraction(self) -> Doubles:
        """Fraction of the steps where it held; NaN where it never could be asked."""
        with np.errstate(invalid="ignore"):
            return cast(Doubles, np.true_divide(self.held, self.asked))


class Diagnostics:
    """Watches the steps of any optimizer on a model's binary weights, by hooks on ``optimizer.step``.

    In an observed step it compares what the optimizer does with the gradient ∇L over all training samples at
    the same weights. Of a `qpsbgd.QPSBGD` it looks at Π(g), the projection of the batch gradient alone, and
    at the step taken, the projection of gradient and memory. (Where these differ, Π(g) is computed anew, by
    the built-in solver.) The step of any other optimizer is the change of the latent weights. The training
    goes on as if it were not watched; see `full_gradient`.

    Parameters
    ----------
    model : torch.nn.Module
        Has layers of `qpsbgd.nn`.
    optimizer : torch.optim.Optimizer
        Steps their weights.
    loss_fn : callable
        ``loss_fn(model(*inputs), target)``, a mean over samples, as in the training.
    full_data : sequence of tensors (*inputs, target), or iterable of such sequences
        All training samples, at once or in large batches.
    every : int
        Observe every so many steps, beginning with the first. An observation costs one pass over `full_data`.
    gap_rows : int
        Number of rows of each layer, evenly spread, whose QUBO gap is measured (see `qubo_gap`).
    writer : SummaryWriter, optional
        Of ``torch.utils.tensorboard``, or with the same ``add_scalar`` and ``add_text``; stays open.
    log_dir : path, optional
        Folder for TensorBoard, instead of a writer.

    Attributes
    ----------
    step : int
        Number of steps seen; set it when a training is resumed.
    records : list of LayerRecord
        One per layer and observed step.

    Raises
    ------
    ValueError
        If the optimizer has no binary weight of the model, a number is out of range, or both `writer` and
        `log_dir` are given.
    ModuleNotFoundError
        If `log_dir` is given and tensorboard is not installed.

    Examples
    --------
    >>> from qpsbgd.nn import BinaryLinear
    >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
    <torch._C.Generator object at ...>
    >>> model, x, y = BinaryLinear(6, 2), torch.randn(64, 6), torch.randint(2, (64,))
    >>> optimizer = QPSBGD(model.parameters())
    >>> with Diagnostics(model, optimizer, nn.functional.cross_entropy, (x, y)) as diagnostics:
    ...     for batch in torch.arange(64).split(16):
    ...         optimizer.zero_grad()
    ...         nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
    ...         optimizer.step()
    >>> len(diagnostics.records), diagnostics.cdp()["weight"].shape
    (4, (2,))
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss_fn: LossFunction,
        full_data: Data,
        *,
        every: int = 1,
        gap_rows: int = 4,
        writer: Any = None,
        log_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        for name, value, least in (("every", every, 1), ("gap_rows", gap_rows, 0)):
            check_integer(name, value, least)
        if writer is not None and log_dir is not None:
            raise ValueError("give a writer or a log_dir, not both")
        groups = {p: group for group in optimizer.param_groups for p in group["params"]}
        self._weights = {
            name: p
            for name, p in getattr(model, "_orig_mod", model).named_parameters()
            if isinstance(p, BinaryWeight) and p in groups
        }
        if not self._weights:
            raise ValueError("optimizer steps no binary weight of the model: use layers of qpsbgd.nn")
        self._maximize = {p: bool(group.get("maximize", False)) for p, group in groups.items()}
        self._model, self._loss_fn, self._data = model, loss_fn, full_data
        self._every, self._gap_rows = every, gap_rows
        self._own_writer = log_dir is not None
        self._writer = _summary_writer(log_dir) if log_dir is not None else writer
        if self._writer is not None:
            self._writer.add_text("diagnostics/note", NOTE)
        self.step = 0
        self.records: list[LayerRecord] = []
        self._counts = {name: {of: _Counts() for of in (*STEPS, "coordinates")} for name in self._weights}
        self._before: dict[str, torch.Tensor] | None = None
        self._full: dict[str, torch.Tensor] = {}
        self._projections: dict[torch.Tensor, list[Projection]] = {}
        self._handles = [
            optimizer.register_step_pre_hook(self._prepare),
            optimizer.register_step_post_hook(self._observe),
        ]
        if isinstance(optimizer, QPSBGD):
            self._handles.append(optimizer.register_projection_hook(self._keep))

    # The hooks, in the order in which one step calls them.

    def _prepare(self, *_: Any) -> None:
        """Before a step: the weights, and the full gradient at them."""
        self._projections.clear()
        self._before = None
        if self.step % self._every == 0:
            self._before = {name: weight.detach().clone() for name, weight in self._weights.items()}
            self._full = full_gradient(self._model, self._loss_fn, self._data, self._weights)

    def _keep(self, projection: Projection) -> None:
        if self._before is not None:
            self._projections.setdefault(projection.weight, []).append(projection)

    def _observe(self, *_: Any) -> None:
        """After a step: compare."""
        if self._before is not None:
            for name, weight in self._weights.items():
                if weight.grad is not None:
                    self._observe_layer(name, weight)
        self._before, self._full = None, {}
        self._projections.clear()
        self.step += 1

    def _observe_layer(self, name: str, weight: torch.Tensor) -> None:
        before = cast("dict[str, torch.Tensor]", self._before)[name]
        parts = self._projections.get(weight, [])
        sign = -1 if self._maximize[weight] else 1
        full = _rows(sign * self._full[name])
        if parts:
            batch = np.concatenate([_rows(part.gradient) for part in parts])
            step = np.concatenate([_rows(part.G) for part in parts])
            projected = np.concatenate([_projected(part) for part in parts])
        else:
            batch, step = _rows(sign * cast(torch.Tensor, weight.grad)), _rows(before - weight.detach())
            projected = None
        unknown = np.full(len(full), np.nan)
        now = {
            "projection": unknown if projected is None else cdp(projected, full),
            "sign": cdp(np.sign(batch), full),
            "step": cdp(step, full),
            "coordinates": sign_agreement(batch, full),
        }
        for of, value in now.items():
            self._counts[name][of].add(value)
        gaps = self._gaps(parts, len(full))
        record = LayerRecord(
            step=self.step,
            layer=name,
            descends=None if projected is None else _descends(projected, full),
            rows_descending=_mean(now["projection"]),
            sign_rows_descending=_mean(now["sign"]),
            step_rows_descending=_mean(now["step"]),
            sign_agreement=_mean(now["coordinates"]),
            cosine=_mean(cosine(step.ravel(), full.ravel())),
            flipped=float(((before >= 0) != (weight.detach() >= 0)).double().mean()),
            gap=_mean(np.concatenate([gap.relative for gap in gaps])) if gaps else None,
            gap_proven=all(gap.proven for gap in gaps) if gaps else None,
        )
        self.records.append(record)
        if self._writer is not None:
            self._write_scalars(record)

    def _gaps(self, parts: list[Projection], num_rows: int) -> list[QuboGap]:
        """Gaps of the rows looked at, by parts of the layer that were projected together."""
        rows = np.linspace(0, num_rows - 1, min(self._gap_rows, num_rows)).astype(int).tolist()
        solved = [solved_rows(part, rows) for part in parts]
        return [qubo_gap(one.problem, one.spins, seed=self.step) for one in solved if len(one.rows)]

    def _write_scalars(self, record: LayerRecord) -> None:
        for name, value in asdict(record).items():
            if name not in ("step", "layer", "gap_proven") and value is not None:
                self._writer.add_scalar(f"diagnostics/{name}/{record.layer}", float(value), record.step)

    # What was seen.

    def cdp(self, of: str = "projection") -> dict[str, Doubles]:
        """Return the CDP of every row: layer -> float64 array (m,), NaN where nothing was to be compared.

        Parameters
        ----------
        of : {"projection", "sign", "step"}
            Of Π(g), of sign(g), or of the step taken.

        Raises
        ------
        ValueError
            If `of` is another word.
        """
        check_choice("of", of, STEPS)
        return {name: counts[of].fraction() for name, counts in self._observed()}

    def sign_agreement(self) -> dict[str, Doubles]:
        """Return the SP of every coordinate: layer -> float64 array (m, d), NaN without a full gradient."""
        return {name: counts["coordinates"].fraction() for name, counts in self._observed()}

    def summary(self) -> list[LayerSummary]:
        """Sum up every layer that was observed."""
        return [self._summary(name, counts) for name, counts in self._observed()]

    def _summary(self, name: str, counts: dict[str, _Counts]) -> LayerSummary:
        records = [record for record in self.records if record.layer == name]
        found = {of: count.fraction() for of, count in counts.items()}

        def mean(field: str) -> float | None:
            values = [getattr(record, field) for record in records]
            return _mean(np.array([np.nan if value is None else value for value in values]))

        return LayerSummary(
            layer=name,
            steps=len(records),
            layer_cdp=mean("descends"),
            cdp=_mean(found["projection"]),
            rows_above_half=_above_half(found["projection"]),
            sign_cdp=_mean(found["sign"]),
            sign_rows_above_half=_above_half(found["sign"]),
            step_cdp=_mean(found["step"]),
            step_rows_above_half=_above_half(found["step"]),
            sp=_mean(found["coordinates"]),
            coordinates_above_half=_above_half(found["coordinates"]),
            cosine=mean("cosine"),
            flipped=mean("flipped"),
            gap=mean("gap"),
        )

    def table(self) -> str:
        """Make a Markdown table of the summary, with the note on what CDP and SP compare below it."""
        headings = (
            "layer",
            "steps",
            "CDP, layer",
            "CDP, rows",
            "rows with CDP > ½",
            "CDP of sign(g), rows",
            "rows with it > ½",
            "CDP of the step, rows",
            "rows with it > ½",
            "SP, coordinates",
            "coordinates with SP > ½",
            "cosine",
            "flipped",
            "QUBO gap",
        )
        lines = ["| " + " | ".join(headings) + " |", "|---" * len(headings) + "|"]
        for one in self.summary():
            lines.append("| " + " | ".join(map(_cell, asdict(one).values())) + " |")
        return "\n".join([*lines, "", NOTE])

    def to_json(self) -> dict[str, Any]:
        """Give note, summary, CDP and mean SP of every row, and records in the form of the file."""
        rows = {}
        with np.errstate(invalid="ignore"):
            for (name, cdps), (_, sps) in zip(self.cdp().items(), self.sign_agreement().items(), strict=True):
                asked = ~np.isnan(sps)
                means = np.where(asked, sps, 0).sum(axis=1) / asked.sum(axis=1)
                rows[name] = {"cdp": _numbers(cdps), "sp": _numbers(means)}
        return {
            "note": NOTE,
            "summary": [asdict(summary) for summary in self.summary()],
            "rows": rows,
            "records": [asdict(record) for record in self.records],
        }

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write everything as JSON, whole or not at all.

        Parameters
        ----------
        path : path
            The file; missing folders above it are made.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        text = json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n"
        with atomic_write(path) as file:
            file.write(text.encode())

    def remove(self) -> None:
        """Stop watching; what was seen stays. A writer of our own is closed."""
        for handle in self._handles:
            handle.remove()
        if self._own_writer and self._writer is not None:
            self._writer.close()
            self._writer = None

    def __enter__(self) -> Diagnostics:
        """Return the diagnostics themselves."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop watching."""
        self.remove()

    def _observed(self) -> list[tuple[str, dict[str, _Counts]]]:
        seen = {record.layer for record in self.records}
        return [(name, counts) for name, counts in self._counts.items() if name in seen]


def _summary_writer(log_dir: str | os.PathLike[str]) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "log_dir is written by tensorboard: pip install 'qpsbgd[tensorboard]'", name=error.name
        ) from None
    return SummaryWriter(os.fspath(log_dir))


def _projected(projection: Projection) -> Doubles:
    """Π(g) of the gradient alone, as float64 (m, d)."""
    if projection.p is projection.gradient or torch.equal(projection.p, projection.gradient.to(projection.p)):
        return _rows(projection.G)
    gradient = to_host(projection.gradient, projection.p.dtype)
    return project_gradient(gradient, projection.A, **projection.options).astype(np.float64)


def _descends(step: Doubles, full: Doubles) -> bool | None:
    """Whether a layer's whole step descends; None without a full gradient."""
    value = cdp(step.reshape(1, -1), full.reshape(1, -1))[0]
    return None if np.isnan(value) else bool(value)


def _rows(tensor: torch.Tensor) -> Doubles:
    """Make a float64 array (m, d) of a weight or its gradient, one row per output."""
    return cast(Doubles, tensor.detach().to("cpu", torch.float64).flatten(1).numpy())


def _mean(values: Doubles) -> float | None:
    """Mean of what is not NaN; None of nothing."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else None


def _above_half(values: Doubles) -> float | None:
    known = values[~np.isnan(values)]
    return float((known > 0.5).mean()) if known.size else None


def _numbers(values: Doubles) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
