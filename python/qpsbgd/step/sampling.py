"""Which samples of a layer count in its Gram matrix, where only a part of them is to.

A convolution has a sample for every place of every image, and its matrix costs more than the layer itself.
A part of the samples estimates the matrix without bias: one is drawn in each of equal stretches of them, so
that every image has its part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qpsbgd.capture.record import Record

__all__ = ["SampleDraw", "drawn_places"]

_STREAM = 2**32
"""Keeps these random numbers apart from those of solvers."""
_OPTIONS = ("gram_samples", "seed", "step")


class SampleDraw:
    """Draws samples of one weight's records, other ones in each step.

    Parameters
    ----------
    options : mapping
        The parameter group: ``gram_samples``, the most samples of a record that count, or None for all;
        ``seed`` and ``step``.
    number : int
        Number of the weight.
    """

    def __init__(self, options: Mapping[str, Any] | None = None, number: int = 0) -> None:
        self._options: Mapping[str, Any] = {"gram_samples": None} if options is None else options
        self._number = number

    def cuts(self, record: Record) -> bool:
        """Tell whether some samples of a record do not count."""
        most = self._options["gram_samples"]
        return most is not None and record.num_samples > most

    def blocks(self, record: Record, before: int) -> tuple[Iterable[Tensor], int]:
        """Give X (groups, k, d) of the samples that count, in blocks, and their number.

        Parameters
        ----------
        record : Record
            The record.
        before : int
            Number of samples of the records before it, which makes its draw another one.
        """
        if not self.cuts(record):
            return (X for X, _ in record.blocks()), record.num_samples
        most = int(self._options["gram_samples"])
        entropy = [self._options["seed"], self._options["step"], self._number, _STREAM + before]
        seed = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])
        places = drawn_places(most, record.num_samples, seed, record.inputs.device)
        return [record.samples_at(places)], most

    def __reduce__(self) -> tuple[Any, ...]:
        # Without the parameters of the group.
        kept = {name: self._options.get(name) for name in _OPTIONS}
        return SampleDraw, (kept, self._number)


def drawn_places(count: int, among: int, seed: int, device: torch.device) -> Tensor:
    """Draw one place in each of `count` equal stretches of `among` places; they are in order.

    Examples
    --------
    >>> places = drawn_places(4, 100, 0, torch.device("cpu"))
    >>> [int(place) // 25 for place in places]
    [0, 1, 2, 3]
    """
    dtype = torch.float32 if device.type == "mps" else torch.float64  # which has no float64
    generator = torch.Generator(device).manual_seed(seed)
    within = torch.rand(count, generator=generator, dtype=dtype, device=device)
    starts = torch.arange(count, dtype=dtype, device=device)
    return ((starts + within) * (among / count)).long().clamp_(max=among - 1)
