"""`Diagnostics` watches the steps of a training: it compares each step with the full gradient.

`qpsbgd.diagnostics.summary` explains the figures.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from types import TracebackType
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import nn

from qpsbgd.data.files import atomic_write
from qpsbgd.diagnostics.full_gradient import Data, LossFunction, full_gradient
from qpsbgd.diagnostics.measures import Doubles, QuboGap, cdp, cosine, qubo_gap, sign_agreement
from qpsbgd.diagnostics.posed import is_proximal, solved_rows
from qpsbgd.diagnostics.summary import (
    NOTE,
    STEPS,
    Counts,
    LayerRecord,
    LayerSummary,
    html_table,
    known_mean,
    markdown_table,
    summarise,
)
from qpsbgd.extras import needed_for
from qpsbgd.nn import BinaryWeight
from qpsbgd.optim import QPSBGD, Projection
from qpsbgd.problem.checks import check_choice, check_integer
from qpsbgd.projection import project_gradient
from qpsbgd.step.arrays import to_host

__all__ = ["Diagnostics"]


class Diagnostics:
    """Watches the steps of any optimizer on a model's binary weights, by hooks on ``optimizer.step``.

    In an observed step it compares what the optimizer does with the gradient ∇L over all training samples at
    the same weights:

    - Of a `qpsbgd.QPSBGD` it looks at Π(g), the projection of the batch gradient alone, and at the step
      taken, the projection of gradient and memory. Where these two differ, the built-in solver computes Π(g).
    - Of any other optimizer, and of ``variant="projected"``, it looks at the step taken, which is the change
      of the latent weights.

    The training gives the same numbers as without `Diagnostics`; see `full_gradient`.

    Parameters
    ----------
    model : torch.nn.Module
        Has layers of `qpsbgd.nn`.
    optimizer : torch.optim.Optimizer
        Steps their weights.
    loss_fn : callable
        ``loss_fn(model(*inputs), target)``, a mean over samples, as in the training.
    full_data : sequence of tensors ``(*inputs, target)``, or iterable of such sequences
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
        Number of steps so far; set it when a training is resumed.
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
        self._counts = {name: {of: Counts() for of in (*STEPS, "coordinates")} for name in self._weights}
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
        """Before a step: keep the weights, and the full gradient at them."""
        self._projections.clear()
        self._before = None
        if self.step % self._every == 0:
            self._before = {name: weight.detach().clone() for name, weight in self._weights.items()}
            self._full = full_gradient(self._model, self._loss_fn, self._data, self._weights)

    def _keep(self, projection: Projection) -> None:
        # The projected variant moves to new weights instead of projecting g: it has a step, but no Π(g).
        if self._before is not None and not is_proximal(projection):
            self._projections.setdefault(projection.weight, []).append(projection)

    def _observe(self, *_: Any) -> None:
        """After a step: compare."""
        if self._before is not None:
            for name, weight in self._weights.items():
                if weight.grad is not None:
                    self._observe_layer(name, weight, self._before[name])
        self._before, self._full = None, {}
        self._projections.clear()
        self.step += 1

    def _observe_layer(self, name: str, weight: torch.Tensor, before: torch.Tensor) -> None:
        """Record what the step did to one layer."""
        parts = self._projections.get(weight, [])
        sign = -1 if self._maximize[weight] else 1
        full = _rows(sign * self._full[name])
        taken = _taken(parts, before, weight, sign)
        unknown = np.full(len(full), np.nan)
        now = {
            "projection": unknown if taken.projected is None else cdp(taken.projected, full),
            "sign": cdp(np.sign(taken.gradient), full),
            "step": cdp(taken.step, full),
            "coordinates": sign_agreement(taken.gradient, full),
        }
        for of, value in now.items():
            self._counts[name][of].add(value)
        gaps = self._gaps(parts, len(full))
        record = LayerRecord(
            step=self.step,
            layer=name,
            descends=None if taken.projected is None else _descends(taken.projected, full),
            rows_descending=known_mean(now["projection"]),
            sign_rows_descending=known_mean(now["sign"]),
            step_rows_descending=known_mean(now["step"]),
            sign_agreement=known_mean(now["coordinates"]),
            cosine=known_mean(cosine(taken.step.ravel(), full.ravel())),
            flipped=float(((before >= 0) != (weight.detach() >= 0)).double().mean()),
            gap=known_mean(np.concatenate([gap.relative for gap in gaps])) if gaps else None,
            gap_proven=all(gap.proven for gap in gaps) if gaps else None,
        )
        self.records.append(record)
        if self._writer is not None:
            self._write_scalars(record)

    def _gaps(self, parts: list[Projection], num_rows: int) -> list[QuboGap]:
        """Measure the gaps of the rows looked at: one result for each part that was projected together."""
        rows = np.linspace(0, num_rows - 1, min(self._gap_rows, num_rows)).astype(int).tolist()
        solved = [solved_rows(part, rows) for part in parts]
        return [qubo_gap(one.problem, one.spins, seed=self.step) for one in solved if len(one.rows)]

    def _write_scalars(self, record: LayerRecord) -> None:
        for name, value in asdict(record).items():
            if name not in ("step", "layer", "gap_proven") and value is not None:
                self._writer.add_scalar(f"diagnostics/{name}/{record.layer}", float(value), record.step)

    # The figures so far.

    def cdp(self, of: str = "projection") -> dict[str, Doubles]:
        """Return the CDP of every row: layer -> float64 array (m,), NaN where there was nothing to compare.

        Parameters
        ----------
        of : {"projection", "sign", "step"}
            The CDP of Π(g), of sign(g), or of the step taken.

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
        """Summarise every layer that was observed."""
        return [
            summarise(name, [record for record in self.records if record.layer == name], counts)
            for name, counts in self._observed()
        ]

    def table(self) -> str:
        """Make a Markdown table of the summary, with the note on CDP and SP below it."""
        return markdown_table(self.summary())

    def to_json(self) -> dict[str, Any]:
        """Return the content of the file: note, summary, CDP and mean SP of every row, records."""
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

    def __repr__(self) -> str:
        """Show how many layers and steps were observed, and each layer's CDP."""
        shown = ", ".join(
            f"{summary.layer}: {'unknown' if summary.cdp is None else f'{summary.cdp:.3f}'}"
            for summary in self.summary()
        )
        observed = len({record.step for record in self.records})
        return (
            f"Diagnostics({len(self._weights)} layers, {observed} steps observed; CDP {shown or 'unknown'})"
        )

    def _repr_html_(self) -> str:
        return html_table(self.summary())

    def remove(self) -> None:
        """Stop watching. The records stay; a writer that was made from `log_dir` is closed."""
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

    def _observed(self) -> list[tuple[str, dict[str, Counts]]]:
        seen = {record.layer for record in self.records}
        return [(name, counts) for name, counts in self._counts.items() if name in seen]


class _Taken(NamedTuple):
    """What an optimizer did with a layer in one step, as float64 arrays (m, d)."""

    gradient: Doubles
    """The batch gradient g, to be descended."""
    step: Doubles
    """What was subtracted from the weights, in any unit."""
    projected: Doubles | None
    """Π(g), or None where nothing was projected."""


def _taken(parts: list[Projection], before: torch.Tensor, weight: torch.Tensor, sign: int) -> _Taken:
    """Find what a step did: from its projections if it has any, else from the change of the weights."""
    if not parts:
        gradient = cast(torch.Tensor, weight.grad)
        return _Taken(_rows(sign * gradient), _rows(before - weight.detach()), None)
    return _Taken(
        np.concatenate([_rows(part.gradient) for part in parts]),
        np.concatenate([_rows(part.G) for part in parts]),
        np.concatenate([_projected(part) for part in parts]),
    )


def _projected(projection: Projection) -> Doubles:
    """Compute Π(g) of the gradient alone, as a float64 array (m, d)."""
    if projection.p is projection.gradient or torch.equal(projection.p, projection.gradient.to(projection.p)):
        return _rows(projection.G)
    gradient = to_host(projection.gradient, projection.p.dtype)
    return project_gradient(gradient, projection.A, **projection.options).astype(np.float64)


def _descends(step: Doubles, full: Doubles) -> bool | None:
    """Return whether a layer's whole step descends; None without a full gradient."""
    value = cdp(step.reshape(1, -1), full.reshape(1, -1))[0]
    return None if np.isnan(value) else bool(value)


def _rows(tensor: torch.Tensor) -> Doubles:
    """Make a float64 array (m, d) of a weight or its gradient, one row per output."""
    return cast(Doubles, tensor.detach().to("cpu", torch.float64).flatten(1).numpy())


def _numbers(values: Doubles) -> list[float | None]:
    """Make values JSON-able: NaN becomes None."""
    return [None if np.isnan(value) else float(value) for value in values]


def _summary_writer(log_dir: str | os.PathLike[str]) -> Any:
    with needed_for("log_dir", "tensorboard", "tensorboard"):
        from torch.utils.tensorboard import SummaryWriter
    return SummaryWriter(os.fspath(log_dir))
