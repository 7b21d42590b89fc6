"""The first part of a step: gradients and samples of all processes, and the averages of both.

Everything is sent here, layer by layer, and awaited where a layer is projected. So averages are under way
while this process makes the Gram matrices of later layers, and while it projects earlier ones.

They cannot start in the backward pass: before the step nobody knows whether a pass is the last one of it,
whether gradients will be clipped, or whether another process has a pass for the same layer at all.
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
from qpsbgd.step.processes import Form, LostProcessError, Means, Processes, Promise
from qpsbgd.step.sampling import SampleDraw

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
    _promised: dict[Tensor, Promise]
    """Averages of layers' gradients that nobody has waited for."""
    _failure: BaseException | None
    """What kept this process from its part of the step, since all have agreed to take it."""
    _projection_hooks: Any

    def _steps(self, parameter: Tensor) -> bool:
        return is_captured(parameter)

    def _gather(self) -> list[Update]:
        """All parameters that take part in the step, the same ones in every process."""
        self._check_binary()
        processes = self._processes()
        if processes.alone:
            return self._gathered_alone(processes)
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
        rounded = any(group["singular_power"] != 1 for group in self.param_groups)
        division = chosen(self._parallelism, self._solver, weights, processes.size, rounded)
        self._team = Team(processes, division, agreed.observed)
        return self._averaged(taking, own, agreed)

    def _gathered_alone(self, processes: Processes) -> list[Update]:
        """Do the same for a process alone: nothing is sent, and nobody is waited for."""
        self._open_gate()
        numbered = self._numbered()
        views = [self._view(parameter) for _, parameter in numbered]
        self._team = Team(processes, observed=bool(self._projection_hooks))
        self._inputs, self._seen, self._promised, self._failure = {}, {}, {}, None
        taking, with_gradient = [], False
        for number, ((group, weight), view) in enumerate(zip(numbered, views, strict=True)):
            if not view.has_gradient:
                continue
            steps = self._steps(weight)
            with_gradient = with_gradient or steps
            if steps and not view.seen.num_samples:
                continue
            taking.append(number)
            if steps:
                self._seen[weight] = view.seen
                self._inputs[weight] = self._inputs_of(number, group, weight, processes, view.seen)
        if with_gradient and not self._inputs:
            return []  # batches without samples are no step for anything
        return [
            self._update(*numbered[number], _own_gradient(numbered[number][1]), number) for number in taking
        ]

    def _inputs_of(
        self,
        number: int,
        group: dict[str, Any],
        weight: Tensor,
        processes: Processes,
        own: Seen,
        seen: Seen | None = None,
    ) -> LayerInputs:
        """Make the inputs of a weight, of what this process and all of them have `seen` of it."""
        return LayerInputs(
            weight,
            self._captures[weight],
            self._static,
            processes,
            own,
            seen,
            KeptGrams(group["gram_every"], group["step"], self.state.get(weight)),
            SampleDraw(group, number),
        )

    def _averaged(self, taking: Sequence[int], own: Sequence[LocalView], agreed: Agreement) -> list[Update]:
        """Start to average all that the step will need; wait for the gradients that no layer waits for."""
        numbered, means = self._numbered(), Means(self._team.processes)
        steps = {number: self._steps(numbered[number][1]) for number in taking}
        promises = {n: self._ask_gradient(n, numbered[n], agreed, means) for n in taking if not steps[n]}
        means.send()
        self._inputs, self._seen, self._promised, self._failure = {}, {}, {}, None
        layers = [number for number in taking if steps[number]]
        for place, number in enumerate(layers):
            # The next gradient is sent while this layer's matrix is made.
            for ahead in layers[place : place + 2]:
                if ahead not in promises:
                    promises[ahead] = self._ask_gradient(ahead, numbered[ahead], agreed, means)
            self._ask_inputs(number, numbered[number], own, agreed, means)
        means.send()
        updates = []
        for number in taking:
            group, parameter = numbered[number]
            if steps[number] and not self._team.votes:
                self._promised[parameter] = promises[number]
                updates.append(Update(group, parameter, _own_gradient(parameter), number))
                continue
            gradient = _own_gradient(parameter)
            try:
                mean = promises[number].mean()
                voted = steps[number] and self._team.votes
                updates.append(self._update(group, parameter, gradient if voted else mean, number))
            except BaseException as error:
                if isinstance(error, LostProcessError):
                    raise
                # The others may not have noticed: they hear of it when all put their steps together.
                self._failure = self._failure or error
                updates.append(Update(group, parameter, gradient, number))
        if self._failure is not None and not layers:
            raise self._failure
        return updates

    def _ask_gradient(
        self, number: int, numbered: tuple[dict[str, Any], Tensor], agreed: Agreement, means: Means
    ) -> Promise:
        """Start the average of a gradient, unless all have the same or it is not averaged."""
        group, parameter = numbered
        gradient = _own_gradient(parameter)
        if self._team.votes and self._steps(parameter):
            # What is not finite here is to be raised everywhere.
            checked = partial(check_gradient, group, parameter, gradient)
            return means.add(checked, Form((1,), torch.float32, parameter.device))
        where = Means(Processes()) if agreed.averaged[number] else means
        return where.add(lambda: gradient, Form(tuple(gradient.shape), gradient.dtype, gradient.device))

    def _received(self, update: Update) -> Update:
        """Wait for the average of a layer's gradient, if it is still under way."""
        promise = self._promised.pop(update.parameter, None)
        if promise is None:
            return update
        return self._update(update.group, update.parameter, promise.mean(), update.number)

    def _leave(self, error: BaseException) -> None:
        """Take part in the average that the others ask for next, if there is one: they learn of the error."""
        for inputs in self._inputs.values():
            if inputs.leave(error):
                return

    def _ask_inputs(
        self,
        number: int,
        numbered: tuple[dict[str, Any], Tensor],
        own: Sequence[LocalView],
        agreed: Agreement,
        means: Means,
    ) -> None:
        """Make the inputs of a weight; start the averages over the processes that they need."""
        (group, weight), votes = numbered, self._team.votes
        processes = Processes() if votes else self._team.processes
        mine, everyone = own[number].seen, agreed.views[number].seen
        inputs = self._inputs_of(number, group, weight, processes, mine, mine if votes else everyone)
        self._inputs[weight] = inputs
        self._seen[weight] = everyone
        if not inputs.alone:
            inputs.ask(means, group["jacobian"], uses_factors(group))

    def _open_gate(self) -> None:
        """Raise if an earlier step has turned out not to be finite."""

    def _waits_for(self, tensor: Tensor) -> bool:
        """Whether the host is not to look at this tensor, which is on a device."""
        return False

    def _agreed(self, processes: Processes) -> tuple[list[LocalView], Agreement]:
        """Return what this process of several has of every parameter, and what all have together."""
        views: list[LocalView] = []
        error: Exception | None = None
        try:
            self._open_gate()
            views = [self._view(parameter) for _, parameter in self._numbered()]
        except (RuntimeError, ValueError) as wrong:
            error = wrong
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
        gradient = parameter.grad
        if gradient is not None:
            self._check_dense(gradient)
        if self._steps(parameter):
            return view_of(parameter, self._captures.get(parameter), looks=not self._waits_for(parameter))
        return LocalView(parameter, gradient is not None, NOTHING)

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


def _own_gradient(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
