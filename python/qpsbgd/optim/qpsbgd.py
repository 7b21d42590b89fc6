"""QP-SBGD: stochastic gradient descent whose steps are binary projections of the gradient.

A step gathers gradients and what the layers saw. It works out every weight's step by the rule of its variant.
Then it commits all of them. Nothing has changed if anything fails before the commit.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT
from torch.utils.hooks import RemovableHandle

from qpsbgd.capture.record import Capture, attach
from qpsbgd.capture.weight import is_binary
from qpsbgd.optim.gate import Gate, GatedSteps, gated
from qpsbgd.optim.gathering import GathersTogether
from qpsbgd.optim.latent import Update
from qpsbgd.optim.naming import naming_errors
from qpsbgd.optim.options import (
    EARLIER_DEFAULTS,
    Kinds,
    check_kinds,
    check_options,
    move_of,
    settle_options,
    uses_factors,
    with_rate,
)
from qpsbgd.optim.packed import LastStep, PackedSteps
from qpsbgd.optim.parallel import PARALLELISMS, Team
from qpsbgd.problem.checks import Domain, Memory, Scale, check_choice
from qpsbgd.solvers.resolve import resolve_solver
from qpsbgd.step.continuous import ContinuousRule
from qpsbgd.step.device.rules import DeviceContinuousRule, DeviceProjectedRule
from qpsbgd.step.device.together import answered
from qpsbgd.step.inputs import LayerInputs, Seen, StaticInputs, fold_inputs
from qpsbgd.step.memory import empty_state
from qpsbgd.step.processes import LostProcessError, Processes, Promise
from qpsbgd.step.projected import ProjectedRule
from qpsbgd.step.rule import LayerStep, Projection, StepResult, StepRule
from qpsbgd.step.sampling import SampleDraw

__all__ = ["QPSBGD", "Projection", "layer_seed"]

_RULES: dict[str, StepRule] = {"continuous": ContinuousRule(), "projected": ProjectedRule()}
_DEVICE_RULES: dict[str, StepRule] = {
    "continuous": DeviceContinuousRule(),
    "projected": DeviceProjectedRule(),
}


class QPSBGD(PackedSteps, GatedSteps, GathersTogether):
    """Quadratic projection stochastic binary gradient descent.

    Every weight of a `qpsbgd.nn` layer takes a step G in {-1, +1}: the gradient p (plus memory) projected
    by one QUBO per output neuron, whose couplings are the Gram matrix A of the layer's inputs::

        G_j = argmin over G in {-1,+1}^d of  s_j G'AG - 2 p_j'G          A = (a²/n) X'X, a = 1/sqrt(d)
        W  <- clip(W - lr G, -clip, clip)                       latent weights of binary layers
        W  <- (1 - lr weight_decay) W - lr a G                  real weights, see `qpsbgd.nn.to_recorded`

    All other parameters (batch norm, scales, biases) take steps of Adam with `other_lr`.

    Parameters
    ----------
    params : iterable of parameters or of parameter groups
        Layers must be in training mode when their gradients are computed. If several optimizers hold a
        weight, its inputs are recorded for the last one built.
    lr : float, optional
        Size of a binary weight's step, 0.01 by default. That of a real weight is ``lr / sqrt(d)``, with
        lr 0.1 by default.
    variant : {"continuous", "projected"}
        Latent weights are real and change by ``lr G``; or they are -1 and +1, and a step minimises a
        quadratic model of the loss over them, starting at the present weights (see Notes).
    memory : {"auto", "error-feedback", "momentum", None}
        What p holds beside the gradient: what earlier projections left behind; a running mean of gradients
        (and of A) over about ten steps; nothing. "auto" is "error-feedback" for the continuous variant,
        "momentum" for real weights and for the projected variant with Gauss-Newton factors, and None with a
        fixed majorizer.
    scale : {"relative", "auto", "step", "raw"} or float
        The length s_j of step that the QUBO of row j assumes. "relative": ``kappa ‖p‖₁ / (σ'Aσ)`` with
        σ = sign(p); "auto": fitted in turn with G; "step": lr; "raw": the paper's literal form; or the number
        given.
    kappa : float, optional
        Factor of the relative scale, at least 0, where 0 is signSGD. 1, or 0.5 with momentum; 4 for real
        weights.
    domain : {"spin", "mask"}
        G in {-1, +1}, or in {0, sign(p)}.
    jacobian : {"pre-activation", "post-activation"}
        What the QUBO takes to change with a weight: the layer's output, so that all neurons share A; or the
        output of the activation behind it, which gives neuron j ``A_j = (a²/n) X' diag(φ'(z_j)²) X``. The
        second needs layers inside `qpsbgd.nn.Activated` (others count as linear outputs), costs a Gram matrix
        a neuron and does not go with momentum.
    solver : {"auto", "native", "device", "neal", "qpu"}, dimod.Sampler or QuboSolver
        The built-in greedy descent from sign(p) on the host, or all of the step on the device of the weights;
        simulated annealing from dwave-samplers, a D-Wave QPU, or your own. "auto" is "native", unless the
        environment has ``QPSBGD_SOLVER=qpu`` and a token is configured. Not part of the state dict.
    betas : (float, float), optional
        Weights of the past in the running means of p and of A, with momentum. (0.9, 0.9), or (0.5, 0.95) for
        real weights.
    other_lr, other_betas, other_eps : float, pair of float, float
        Learning rate, betas and eps of Adam for all parameters that are no binary weights. The rate follows
        schedules of lr: it is ``other_lr * lr / (lr that the group was added with)``.
    clip : float
        Bound of the latent weights of binary layers.
    weight_decay : float
        Decoupled weight decay of all parameters but binary weights, at the rate of their steps, as in
        `torch.optim.AdamW`.
    maximize : bool
        Ascend instead.
    majorizer : {"gauss-newton", "logistic", "softmax"} or float
        Of the projected variant: the matrix H of row j is ``c_j (A + δ mean(diag A) I)``. c_j is the mean
        square of the row's per-sample gradients, and both it and A are running means over about a hundred
        steps; or ¼, ½ or the number given, for a loss on the layer's own outputs.
    damping : float, optional
        Of the projected variant: δ, at least 0. 1 with "gauss-newton", else 0.
    seed : int
        0 <= seed < 2**64, for solvers that draw random numbers. A layer's seed in a step is a hash of seed,
        step and parameter number.
    gram_every : int
        A is made anew, and averaged over the processes, every so many steps; the steps between keep it. 1 by
        default. It saves most where X has many samples, as in convolutions. Layers so wide that they are
        projected by their samples have no A.
    gram_samples : int, optional
        At most so many samples of each pass through a layer count in A, drawn at random in each step; all of
        them by default. A convolution has a sample for every place of every image.
    process_group : torch.distributed.ProcessGroup or "independent", optional
        Processes that train together. Gradients and Gram matrices are averaged over them, so that every
        process takes the same step, that of all their samples. The default is the world, where
        torch.distributed is initialised. "independent" is for processes that train models of their own.
    parallelism : {"auto", "rows", "replicated", "vote"}
        How several processes divide a step. "rows": each solves its part of every layer's rows, and sends
        its steps in a bit a weight. "replicated": each solves all. "auto" takes what is faster, where the
        answers do not depend on it. "vote": each projects its own gradients, which are not averaged, and
        the majority of the processes decides on every entry; draws do not move.
    nonfinite : {"raise", "skip"}
        What a NaN or an infinity in a gradient or in a layer's inputs does: raise before anything changes, or
        leave the step out and count it in `num_skipped`, as `torch.amp.GradScaler` does.
    singular_power : float
        With momentum the singular values of p are raised to this power, from 0 to 1. A QUBO sees one row,
        and so knows what inputs have in common, but not what outputs have: a flatter spectrum makes up for
        it. ½ is Shampoo's left factor, 0 is Muon's. It takes an eigendecomposition of each layer's smaller
        side a step: last bits depend on machine and threads, and on a GPU it waits for the device.

    Raises
    ------
    TypeError, ValueError
        If an option is of the wrong type or out of range; the message names it.

    Notes
    -----
    All options but solver, process_group and parallelism may differ between parameter groups. A group holds
    binary or real weights, not both.
    ``scale="step"`` and ``"raw"`` depend on the size of the loss, which they take to be a mean over samples;
    the other scales do not. A layer whose input is the same unchanged tensor as in the last step keeps its
    Gram matrix; write to such a tensor through torch, which counts its versions.

    The samples behind A are those whose gradients ``weight.grad`` holds: of all backward passes since it was
    dropped or set to zero, by whatever means. A gradient without samples is no step: that of an empty batch,
    or a zero gradient of a weight that no layer used.

    The projected variant sets ``W <- argmin over w in {-1,+1}^d of p'(w - W) + ½ (w - W)'H(w - W)`` by
    descent from W. It has no lr, scale or kappa; its damping can be changed in ``param_groups`` as a schedule
    would change lr. With full batches, memory None and a majorizer of the loss the loss never rises, and the
    weights reach a fixed point: "logistic" (a mean of ``log(1 + exp(-y z))``) and "softmax" (cross-entropy of
    the layer's outputs) are that; behind a fixed factor α give ``majorizer=α²/4`` or ``α²/2``.

    Examples
    --------
    >>> import torch
    >>> from qpsbgd.nn import BinaryLinear
    >>> model = torch.nn.Sequential(BinaryLinear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 2))
    >>> optimizer = QPSBGD(model.parameters(), lr=0.03)
    >>> loss = torch.nn.functional.cross_entropy(model(torch.randn(16, 4)), torch.zeros(16, dtype=torch.long))
    >>> loss.backward()
    >>> optimizer.step()
    >>> optimizer.num_qubos
    8
    """

    earlier_defaults = EARLIER_DEFAULTS
    conversions = "qpsbgd.nn.to_binary(model), or qpsbgd.nn.to_recorded(model) for real weights"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor | None = None,
        *,
        variant: Literal["continuous", "projected"] = "continuous",
        memory: Memory | None = "auto",
        scale: Scale | float = "relative",
        kappa: float | None = None,
        domain: Domain = "spin",
        jacobian: Literal["pre-activation", "post-activation"] = "pre-activation",
        solver: Any = "auto",
        betas: tuple[float, float] | None = None,
        other_lr: float | Tensor = 0.01,
        other_betas: tuple[float, float] = (0.9, 0.999),
        other_eps: float = 1e-8,
        clip: float = 1.0,
        weight_decay: float = 0.0,
        maximize: bool = False,
        majorizer: Literal["gauss-newton", "logistic", "softmax"] | float = "gauss-newton",
        damping: float | None = None,
        seed: int = 0,
        gram_every: int = 1,
        gram_samples: int | None = None,
        process_group: Any = None,
        parallelism: Literal["auto", "rows", "replicated", "vote"] = "auto",
        nonfinite: Literal["raise", "skip"] = "raise",
        singular_power: float = 1.0,
    ) -> None:
        check_choice("parallelism", parallelism, PARALLELISMS)
        self._solver = resolve_solver(solver, on_device=True)
        self._process_group, self._parallelism = process_group, parallelism
        self._processes()  # refuses groups that are none, and solvers that do not go with several processes
        self._forget()
        defaults = {
            "lr": lr,
            "variant": variant,
            "memory": memory,
            "scale": scale,
            "kappa": kappa,
            "domain": domain,
            "jacobian": jacobian,
            "betas": betas,
            "other_lr": other_lr,
            "other_betas": other_betas,
            "other_eps": other_eps,
            "clip": clip,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "majorizer": majorizer,
            "damping": damping,
            "seed": seed,
            "gram_every": gram_every,
            "gram_samples": gram_samples,
            "nonfinite": nonfinite,
            "singular_power": singular_power,
        }
        super().__init__(params, defaults)
        # Only now, so that options that are refused leave another optimizer's captures where they are.
        self._is_built = True
        self._attach_all()

    def _check_options(self, options: dict[str, Any]) -> None:
        super()._check_options(options)
        check_options(options)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own, as `torch.optim.Optimizer.add_param_group`."""
        if isinstance(param_group, dict):
            param_group = with_rate(param_group, self.defaults["lr"])
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            settle_options(group, self._parallelism)
        except (TypeError, ValueError):
            self.param_groups.pop()
            raise
        if self._is_built:
            self._attach(self.param_groups[-1])

    def register_projection_hook(self, hook: Callable[[Projection], None]) -> RemovableHandle:
        """Call `hook` with every projection of a layer's rows, during the step and before the weights change.

        Parameters
        ----------
        hook : callable
            Gets one `Projection`; the arrays are not to be changed. Hooks are not copied or pickled with
            the optimizer.

        Returns
        -------
        torch.utils.hooks.RemovableHandle
            Its `remove` ends the calls.

        Examples
        --------
        >>> import torch
        >>> from qpsbgd.nn import BinaryLinear
        >>> model = BinaryLinear(4, 2)
        >>> optimizer = QPSBGD(model.parameters())
        >>> handle = optimizer.register_projection_hook(lambda projection: print(projection.G.shape))
        >>> model(torch.randn(8, 4)).square().mean().backward()
        >>> optimizer.step()
        torch.Size([2, 4])
        >>> handle.remove()
        """
        handle = RemovableHandle(self._projection_hooks)
        self._projection_hooks[handle.id] = hook
        return handle

    @property
    def num_qubos(self) -> int:
        """Number of QUBO problems solved so far: one for every row of every projected gradient."""
        return sum(int(group["num_qubos"]) for group in self.param_groups)

    @property
    def qpu_seconds(self) -> float:
        """QPU time that the steps so far have taken, in seconds; 0 with a solver that is no QPU."""
        return sum(float(group.get("qpu_seconds", 0.0)) for group in self.param_groups)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` returned; a QPU solver's budget goes on from the QPU time in it.

        Raises
        ------
        ValueError
            If it is the state dict of another optimizer or of other parameters; nothing has changed then.
        """
        saved = state_dict.get("param_groups", ()) if isinstance(state_dict, dict) else ()
        for own, options in zip(self.param_groups, saved, strict=False):
            check_kinds({**own, **options}, Kinds.of(own))
        super().load_state_dict(state_dict)
        solver: Any = self._solver
        if hasattr(solver, "qpu_seconds"):
            solver.qpu_seconds = max(solver.qpu_seconds, self.qpu_seconds)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Reset gradients, and forget the inputs that were recorded with them."""
        super().zero_grad(set_to_none)
        for capture in self._captures.values():
            capture.clear()

    # Work, and commit

    def _work(self, updates: Sequence[Update]) -> list[StepResult]:
        """Work out the step of every weight; all that a solver is asked is asked together."""
        if not updates:
            return []
        self._check_slopes(updates)
        results: dict[int, StepResult] = {}
        error: BaseException | None = None
        before = self._solver_seconds()
        try:
            if self._failure is not None:
                raise self._failure
            numbers = [number for number, update in enumerate(updates) if self._has(update)]
            works = {number: self._work_of(updates[number]) for number in numbers}
            answers = answered(list(works.values()), self._solver, {u.parameter.device.type for u in updates})
            results = dict(zip(works, answers, strict=True))
        except BaseException as wrong:
            if self._team.processes.alone or isinstance(wrong, LostProcessError):
                raise
            error = wrong  # the others wait for this process
            self._leave(error)
        finally:
            self.param_groups[0]["qpu_seconds"] += self._solver_seconds() - before
        if self._team.processes.alone:
            settled = list(results.values())
        else:
            settled = self._team.settle([update.parameter for update in updates], results, error)
        self._call_hooks(settled, updates[0].parameter.device)
        return settled

    def _has(self, update: Update) -> bool:
        """Tell whether this process works on a weight: with votes it abstains if it has no samples."""
        return not self._team.votes or self._inputs[update.parameter].num_samples > 0

    def _call_hooks(self, results: Sequence[StepResult], device: torch.device) -> None:
        error: Exception | None = None
        try:
            with torch._C._EnableTorchFunction():  # hooks may run the model
                for result in results:
                    for projection in result.projections:
                        for hook in list(self._projection_hooks.values()):
                            hook(projection)
        except Exception as wrong:
            error = wrong
        self._team.raise_together(error, device)

    def _work_of(self, update: Update) -> Generator[Any, Any, StepResult]:
        group, weight, gradient, _ = self._received(update)
        gradient = gradient.reshape(weight.shape[0], -1)
        if not is_binary(weight):
            # With W = a U, a = 1/sqrt(d), the layer is Z = a X U' as a binary one. This is the gradient of U.
            gradient = gradient * gradient.shape[1] ** -0.5
        inputs, share = self._inputs[weight], self._team.share
        layer = LayerStep(
            weight=weight,
            gradient=gradient,
            inputs=inputs,
            state=self.state.get(weight, {}),
            options=group,
            solver=self._solver,
            seed=partial(layer_seed, group["seed"], group["step"], update.number),
            observed=bool(self._projection_hooks),
            share=share,
            shared=share.size > 1 or self._team.votes,
        )
        result = yield from naming_errors(group, weight, self.step_rule(group).work(layer))
        self._note_finite(group, weight, result.finite)
        kept = inputs.kept.state
        return replace(result, state={**result.state, **kept}) if kept else result

    def step_rule(self, group: dict[str, Any]) -> StepRule:
        """Return the mathematics of a parameter group's steps; a subclass may return a rule of its own."""
        return (_DEVICE_RULES if self._on_device else _RULES)[group["variant"]]

    def _commit(self, updates: Sequence[Update], worked: Sequence[StepResult]) -> None:
        last = []
        self._allowed = self._gate.close()
        for (group, weight, gradient, number), result in zip(updates, worked, strict=True):
            move, only = move_of(group, weight, result.replaces), self._only(weight)
            if only is not None and self._captures[weight].gradient_was_written:
                only = only & gradient.any()  # it may have been set to zero
            move.apply(weight, result.values.view(weight.shape), only)
            values = result.values if only is None else result.values * only
            last.append(LastStep(number, weight.shape, values, move))
            self.state[weight].update(gated(result.state, self.state[weight], only))
            group["num_qubos"] += result.values.shape[0]
        self._last = last
        for group, parameter in self._numbered():
            # Checkpoints of a fresh optimizer need the names of all state.
            if parameter not in self.state and self._steps(parameter) and parameter.grad is not None:
                self.state[parameter].update(empty_state(parameter, group))

    def _check_slopes(self, updates: Sequence[Update]) -> None:
        """Refuse post-activation Jacobians of a net none of whose layers tells its activation's slopes."""
        asked = [u.parameter for u in updates if u.group["jacobian"] == "post-activation"]
        if asked and not any(self._seen[weight].has_slopes for weight in asked):
            raise RuntimeError(
                "jacobian is 'post-activation', but no layer told its activation's slopes: "
                "put each layer and its activation into one qpsbgd.nn.Activated"
            )

    def _solver_seconds(self) -> float:
        return float(getattr(self._solver, "qpu_seconds", 0.0))

    # Captures

    def _attach_all(self) -> None:
        for group in self.param_groups:
            self._attach(group)

    def _attach(self, group: dict[str, Any]) -> None:
        for parameter in group["params"]:
            if self._steps(parameter):
                self._captures[parameter] = attach(
                    parameter,
                    keep_output_gradients=uses_factors(group),
                    keep_slopes=group["jacobian"] == "post-activation",
                    fold=self._fold_of(group, parameter),
                )

    def _fold_of(self, group: dict[str, Any], weight: Tensor) -> Callable[..., Any]:
        """Give what makes one object of several passes through the layers of a weight."""
        number = next(place for place, (_, known) in enumerate(self._numbered()) if known is weight)
        return partial(fold_inputs, on_device=self._on_device, draw=SampleDraw(group, number))

    def _forget(self) -> None:
        self._is_built = False
        self._captures: dict[Tensor, Capture] = {}
        self._static = StaticInputs(self._on_device)
        self._gate, self._allowed = Gate(), None
        self._seen: dict[Tensor, Seen] = {}
        self._inputs: dict[Tensor, LayerInputs] = {}
        self._promised: dict[Tensor, Promise] = {}
        self._failure: BaseException | None = None
        self._team = Team(Processes())
        self._projection_hooks: OrderedDict[int, Callable[[Projection], None]] = OrderedDict()
        self._last = []

    def __getstate__(self) -> dict[str, Any]:
        # A process group belongs to this process: a copy in another one needs its own.
        group = self._process_group if isinstance(self._process_group, str) else None
        own = {"_solver": self._solver, "_process_group": group, "_parallelism": self._parallelism}
        return {**super().__getstate__(), **own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for parameter in group["params"]:
                capture = self.__dict__.get("_captures", {}).get(parameter)
                if capture is not None:
                    capture.keep_output_gradients = uses_factors(group)
                    capture.keep_slopes = group["jacobian"] == "post-activation"
                    capture.fold_with(self._fold_of(group, parameter))
        # load_state_dict comes through here too, with captures in place.
        if "_captures" not in self.__dict__:
            self._forget()
            self._is_built = True
            self._attach_all()


def layer_seed(seed: int, step: int, number: int, first_row: int) -> int:
    """Hash seed, step, parameter and row: resumed runs draw the same numbers, layers different ones."""
    entropy = [seed, step, number]
    if first_row:
        entropy.append(first_row)
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])
