"""The first part of a step: gradients and samples of all processes, and the averages of both.

Averages are under way while this process works on its Gram matrices: gradients are sent first.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from qpsbgd.capture.record import Capture
from qpsbgd.capture.weight import is_captured
from qpsbgd.optim.agreement import Agreement, LocalView, agree, processes_of
from qpsbgd.optim.latent import LatentWeightOptimizer, Update
from qpsbgd.optim.naming import check_gradient
from qpsbgd.optim.options import uses_factors
from qpsbgd.optim.parallel import Team, chosen
from qpsbgd.optim.views import NOTHING, view_of
from qpsbgd.solvers.protocol import AsyncQuboSolver
from qpsbgd.solvers.resolve import Solver
from qpsbgd.step.inputs import LayerInputs, Seen, StaticInputs
from qpsbgd.step.kept import KeptGrams
from qpsbgd.step.processes import Form, Means, Processes, Promise

__all__ = ["GathersTogether"]

_FORM_OPTIONS = ("variant", "memory", "majorizer", "jacobian", "domain", "gram_every")
"""Options that decide on what the processes send."""


class GathersTogether(LatentWeightOptimizer):
    """The part of an optimizer that gathers gradients and samples, of several processes or of one."""

    _solver: Solver
    _process_group: Any
    _parallelism: str
    _captures: dict[Tensor, Capture]
    _static: StaticInputs
    _team: Team
    _inputs: dict[Tensor, LayerInputs]
    """Of the weights that take part in the step."""
    _seen: dict[Tensor, Seen]
    """The same, of all processes together."""
    _projection_hooks: Any

    def _steps(self, parameter: Tensor) -> bool:
        return is_captured(parameter)

    def _gather(self) -> list[Update]:
        """All parameters that take part in the step, the same ones in every process."""
        self._check_binary()
        processes = self._processes()
        own, agreed = self._agreed(processes)
        stepped = [view for view in agreed.views if view.has_gradient and self._steps(view.parameter)]
        if stepped and not any(view.seen.num_samples for view in stepped):
            return []  # batches without samples are no step for anything
        taking = [
            number
            for number, view in enumerate(agreed.views)
            if view.has_gradient and (not self._steps(view.parameter) or view.seen.num_samples)
        ]
        weights = [agreed.views[n].parameter for n in taking if self._steps(agreed.views[n].parameter)]
        division = chosen(self._parallelism, self._solver, weights, processes.size)
        self._team = Team(processes, division, agreed.observed)
        return self._averaged(taking, own, agreed)

    def _averaged(self, taking: Sequence[int], own: Sequence[LocalView], agreed: Agreement) -> list[Update]:
        """Average gradients over the processes; start to average all that the layers will ask for."""
        numbered, means, alone = self._numbered(), Means(self._team.processes), Means(Processes())
        promises: list[Promise] = []
        for number in taking:
            (group, parameter), votes = numbered[number], self._team.votes
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            if votes and self._steps(parameter):
                # What is not finite here is to be raised everywhere.
                checked = partial(check_gradient, group, parameter, gradient)
                promises.append(means.add(checked, Form((1,), torch.float32, parameter.device)))
                continue
            form = Form(tuple(gradient.shape), gradient.dtype, gradient.device)
            where = alone if agreed.averaged[number] else means
            promises.append(where.add(partial(_same, gradient), form))
        self._ask_inputs(taking, own, agreed, means)
        updates = []
        for number, promise in zip(taking, promises, strict=True):
            group, parameter = numbered[number]
            gradient = promise.mean()
            if self._team.votes and self._steps(parameter):
                gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            updates.append(self._update(group, parameter, gradient, number))
        return updates

    def _ask_inputs(
        self, taking: Sequence[int], own: Sequence[LocalView], agreed: Agreement, means: Means
    ) -> None:
        """Make the inputs of every weight; start the averages over the processes that they need."""
        numbered, votes = self._numbered(), self._team.votes
        self._inputs, self._seen = {}, {}
        for number in taking:
            group, weight = numbered[number]
            if not self._steps(weight):
                continue
            everyone = agreed.views[number].seen
            self._inputs[weight] = inputs = LayerInputs(
                weight,
                self._captures[weight],
                self._static,
                Processes() if votes else self._team.processes,
                own[number].seen,
                own[number].seen if votes else everyone,
                KeptGrams(group["gram_every"], group["step"], self.state.get(weight)),
            )
            self._seen[weight] = everyone
            if not inputs.alone:
                inputs.ask(means, group["jacobian"], uses_factors(group))
        means.send()

    def _agreed(self, processes: Processes) -> tuple[list[LocalView], Agreement]:
        """Return what this process has of every parameter, and what all have together."""
        views: list[LocalView] = []
        error: Exception | None = None
        try:
            views = [self._view(parameter) for _, parameter in self._numbered()]
        except RuntimeError as wrong:
            error = wrong
        if processes.alone:
            if error is not None:
                raise error
            return views, Agreement(views, [True] * len(views), bool(self._projection_hooks))
        steps = sum(int(group["step"]) for group in self.param_groups)
        observed = bool(self._projection_hooks)
        return views, agree(processes, views, steps, error, self._forms(), observed)

    def _forms(self) -> str:
        """Options that have to be equal in all processes, in words."""
        by_group = [
            ", ".join(f"{name}={group[name]}" for name in _FORM_OPTIONS) for group in self.param_groups
        ]
        return "; ".join([f"parallelism={self._parallelism}", *by_group])

    def _view(self, parameter: Tensor) -> LocalView:
        """Tell what this process has of a parameter."""
        if parameter.grad is not None:
            self._check_dense(parameter.grad)
        if self._steps(parameter):
            return view_of(parameter, self._captures.get(parameter))
        return LocalView(parameter, parameter.grad is not None, NOTHING)

    def _processes(self) -> Processes:
        processes = processes_of(self._process_group)
        apart = self._parallelism in ("rows", "vote")
        if not processes.alone and not apart and isinstance(self._solver, AsyncQuboSolver):  # slow to ask
            raise ValueError(
                f"process_group needs a solver whose answers depend on the seed alone, so that every process "
                f"takes the same step; {type(self._solver).__name__} is none, and needs parallelism 'rows' "
                "or 'vote', where only one process solves a row"
            )
        return processes


def _same(gradient: Tensor) -> Tensor:
    return gradient
