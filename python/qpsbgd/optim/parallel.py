"""How processes divide a step, and how they put its parts together: rows that each has solved, or votes.

- "replicated": every process solves all rows. Nothing but a status is sent.
- "rows": every process solves its part of each layer's rows, and all get the bits of all.
- "vote": every process projects its own gradients, and the majority decides on every entry (signSGD with
  majority vote, Bernstein et al. 2019). What the vote leaves of a process's p goes into its own memory
  (error feedback, Karimireddy et al. 2019).

All steps of a whole model travel in one message, in a bit a weight. Every process ends with the same values,
or all of them raise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from qpsbgd.optim.bits import decode_step, encode_step
from qpsbgd.solvers.resolve import Solver
from qpsbgd.step.arrays import Spins
from qpsbgd.step.memory import error_feedback
from qpsbgd.step.processes import Processes, Share
from qpsbgd.step.rule import StepResult

__all__ = ["PARALLELISMS", "Team", "chosen"]

PARALLELISMS = ("auto", "rows", "replicated", "vote")

_WORTH_SHARING = 768
"""Width d of layers whose rows are worth sharing among very many processes: twice that among two. A row costs
some d² to solve, of which a process of N saves (N - 1) / N, and some d to send and keep. Two processes took a
quarter more processor time with it at a width of 1,024, and a sixth less at 2,048: 1,536 lies between."""


def chosen(
    parallelism: str, solver: Solver, weights: Sequence[Tensor], size: int, rounded: bool = False
) -> str:
    """Return how a step of these weights is divided.

    "auto" shares rows where that saves more time than a message takes. It does so only if answers do not
    depend on who solves a row; and always if processes may have `rounded` in different ways what the rows'
    problems are made of, so that each row is solved once.
    """
    if parallelism != "auto":
        return parallelism
    if rounded:
        return "rows"
    if not isinstance(solver, str) and not hasattr(solver, "solve_part"):
        return "replicated"
    work = sum(weight.numel() * (weight.numel() // len(weight)) for weight in weights)
    count = sum(weight.numel() for weight in weights)
    return "rows" if work * (size - 1) > _WORTH_SHARING * count * size else "replicated"


class Team(NamedTuple):
    """The processes of one step."""

    processes: Processes
    division: str = "replicated"
    """How they divide it; not "auto"."""
    observed: bool = False
    """Whether any process has projection hooks."""

    @property
    def votes(self) -> bool:
        """Whether every process projects its own gradients."""
        return self.division == "vote" and not self.processes.alone

    @property
    def share(self) -> Share:
        """Which rows this process solves."""
        if self.division != "rows" or self.processes.alone:
            return Share()
        return Share(self.processes.rank, self.processes.size)

    def settle(
        self,
        weights: Sequence[Tensor],
        results: Mapping[int, StepResult],
        error: BaseException | None,
    ) -> list[StepResult]:
        """Put together what the processes have found for each weight.

        Parameters
        ----------
        weights : sequence of Tensor
            The weights of the step, the same in every process.
        results : mapping of int to StepResult
            What this process found, by the number of the weight. With votes some may be left out.
        error : BaseException or None
            What kept this process from finding it.

        Raises
        ------
        BaseException
            `error`, in the process that has one.
        RuntimeError
            In the others then.
        """
        encode, decode = (_votes, _elected) if self.votes else (_own_rows, _all_rows)
        payload = b""
        if error is None and self.division != "replicated":
            payload = encode(weights, results, self.share)
        received = self.processes.gather_bytes(payload, error, weights[0].device)
        if self.division == "replicated":
            return [results[number] for number in range(len(weights))]
        return decode(weights, results, received)

    def raise_together(self, error: Exception | None, device: torch.device) -> None:
        """Raise if hooks of any process have raised."""
        if self.observed and not self.processes.alone:
            self.processes.gather_bytes(b"", error, device)
        elif error is not None:
            raise error


def _width(weight: Tensor) -> int:
    return weight.numel() // len(weight)


def _host(values: Tensor) -> Spins:
    return values.cpu().numpy()


def _parts(result: StepResult, weight: Tensor) -> Sequence[slice]:
    return result.split or (slice(0, len(weight)),)


def _own_rows(weights: Sequence[Tensor], results: Mapping[int, StepResult], share: Share) -> bytes:
    messages = []
    for number, weight in enumerate(weights):
        result = results[number]
        own = [_host(result.values[share.of(part)]) for part in _parts(result, weight)]
        messages.append(encode_step(np.concatenate(own)))
    return b"".join(messages)


def _all_rows(
    weights: Sequence[Tensor], results: Mapping[int, StepResult], received: Sequence[bytes]
) -> list[StepResult]:
    starts = [0] * len(received)
    settled = []
    for number, weight in enumerate(weights):
        result = results[number]
        values = np.empty((len(weight), _width(weight)), np.int8)
        for rank, data in enumerate(received):
            rows = [Share(rank, len(received)).of(part) for part in _parts(result, weight)]
            count = sum(part.stop - part.start for part in rows)
            step, starts[rank] = decode_step(data, starts[rank], (count, _width(weight)))
            for part in rows:
                values[part], step = np.split(step, [part.stop - part.start])
        settled.append(_settled(weight, result, torch.from_numpy(values).to(weight.device)))
    return settled


_VOTES, _ABSTAINS = b"\1", b"\0"


def _votes(weights: Sequence[Tensor], results: Mapping[int, StepResult], share: Share) -> bytes:
    messages = []
    for number in range(len(weights)):
        voted = number in results
        messages.append(_VOTES + encode_step(_host(results[number].values)) if voted else _ABSTAINS)
    return b"".join(messages)


def _elected(
    weights: Sequence[Tensor], results: Mapping[int, StepResult], received: Sequence[bytes]
) -> list[StepResult]:
    starts = [0] * len(received)
    settled = []
    for number, weight in enumerate(weights):
        total = np.zeros((len(weight), _width(weight)), np.int32)
        for rank, data in enumerate(received):
            voted = data[starts[rank] : starts[rank] + 1] == _VOTES
            starts[rank] += 1
            if voted:
                step, starts[rank] = decode_step(data, starts[rank], total.shape)
                total += step
        values = torch.from_numpy(np.sign(total).astype(np.int8)).to(weight.device)
        result = results.get(number)
        if result is None:
            result = StepResult(values, replaces=False, state={})
        settled.append(_settled(weight, result, values))
    return settled


def _settled(weight: Tensor, result: StepResult, values: Tensor) -> StepResult:
    """Complete a result by the values of all rows: memory and projections wait for them."""
    state = dict(result.state)
    if result.p is not None:
        state["residual"] = error_feedback(result.p, values.to(result.p.dtype))
    shown = values
    if result.replaces:
        signs = torch.where(weight.detach().reshape(values.shape) >= 0, 1, -1)
        shown = ((signs - values) // 2).to(torch.int8)
    projections = [projection._replace(G=shown[projection.rows]) for projection in result.projections]
    return replace(result, values=values, state=state, projections=projections, p=None)
