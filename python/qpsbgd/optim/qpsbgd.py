"""QP-SBGD: stochastic gradient descent whose steps are binary projections of the gradient."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT
from torch.utils.hooks import RemovableHandle

from qpsbgd.capture.record import Capture, Record, attach
from qpsbgd.capture.weight import BinaryWeight
from qpsbgd.optim.latent import LatentWeightOptimizer, Update, descend
from qpsbgd.problem.checks import DOMAINS, MEMORIES, check_choice, check_nonnegative, check_scale, check_seed
from qpsbgd.problem.ising import Solutions
from qpsbgd.projection import (
    Doubles,
    Floats,
    average,
    error_feedback,
    move_weights,
    native_step,
    projection_requests,
    to_host,
)
from qpsbgd.solvers.protocol import AsyncQuboSolver
from qpsbgd.solvers.requests import Request, answer_requests
from qpsbgd.solvers.resolve import resolve_solver
from qpsbgd.step.inputs import gram_matrices, row_chunks, weighted_grams
from qpsbgd.step.projected import MAJORIZERS, proximal_step, row_curvatures, with_curvature_average

__all__ = ["QPSBGD", "Projection"]

VARIANTS = ("continuous", "projected")
JACOBIANS = ("pre-activation", "post-activation")

_FIRST_OPTIONS = {
    "variant": "continuous",
    "majorizer": "gauss-newton",
    "damping": None,
    "jacobian": "pre-activation",
}
"""What groups of state dicts did that were saved before these options existed."""
_ROW_STATE = ("residual", "gradient_average", "curvature_rows")
"""State with a row for every neuron."""
_GRAM_STATE = ("gram_average", "curvature_gram")
"""State with a matrix for every group of a layer."""


class Projection(NamedTuple):
    """The projection of some rows of a weight, as a step made it; what projection hooks are called with."""

    weight: BinaryWeight
    """The latent weight of m rows, which the step has not changed yet."""
    rows: slice
    """Which of its rows: all, or those that were projected together."""
    gradient: Tensor
    """Their gradients g (r, d) to be descended."""
    p: Tensor
    """Gradients plus memory, or their running means (r, d)."""
    A: Floats
    """Gram matrix, or its running mean: (d, d) for all these rows, or (r, d, d)."""
    G: Tensor
    """The binary step (r, d)."""
    options: dict[str, Any]
    """Further arguments of `qpsbgd.projection.project_gradient`: scale, kappa, domain, num_samples."""


class QPSBGD(LatentWeightOptimizer):
    """Quadratic projection stochastic binary gradient descent.

    Every weight of a `qpsbgd.nn` layer takes a step G in {-1, +1}: the gradient p (plus memory) projected
    by one QUBO per output neuron, whose couplings are the Gram matrix A of the layer's inputs::

        G_j = argmin over G in {-1,+1}^d of  s_j G'AG - 2 p_j'G          A = (a²/n) X'X, a = 1/sqrt(d)
        W  <- clip(W - lr G, -clip, clip)

    All other parameters (batch norm, scales, biases) take steps of Adam with `other_lr`.

    Parameters
    ----------
    params : iterable of parameters or of parameter groups
        Layers must be in training mode when their gradients are computed. A weight's inputs are recorded
        for the optimizer that was built last over it.
    lr : float
        Size of a binary weight's step.
    variant : {"continuous", "projected"}
        Latent weights are real and change by ``lr G``; or they are -1 and +1, and a step minimises a
        quadratic model of the loss over them, starting at the present weights (see Notes).
    memory : {"auto", "error-feedback", "momentum", None}
        What p holds beside the gradient: what earlier projections left behind; a running mean of gradients
        (and of A) over about ten steps; nothing. "auto" is "error-feedback" for the continuous variant,
        "momentum" for the projected one with Gauss-Newton factors, and None with a fixed majorizer.
    scale : {"relative", "auto", "step", "raw"} or float
        The size s_j that a step is taken to have. "relative": ``kappa ‖p‖₁ / (σ'Aσ)``, σ = sign(p);
        "auto": fitted in turn with G; "step": lr; "raw": the paper's literal form; or the number given.
    kappa : float, optional
        Factor of the relative scale, at least 0, where 0 is signSGD. 1, or 0.5 with momentum.
    domain : {"spin", "mask"}
        G in {-1, +1}, or in {0, sign(p)}.
    jacobian : {"pre-activation", "post-activation"}
        What the QUBO takes to change with a weight: the layer's output, so that all neurons share A; or the
        output of the activation behind it, which gives neuron j ``A_j = (a²/n) X' diag(φ'(z_j)²) X``. The
        second needs layers inside `qpsbgd.nn.Activated` (others count as linear outputs), costs a Gram matrix
        a neuron and does not go with momentum.
    solver : {"auto", "native", "neal", "qpu"}, dimod.Sampler or QuboSolver
        The built-in greedy descent from sign(p), simulated annealing from dwave-samplers, a D-Wave QPU, or
        your own. "auto" is "native", unless the environment has ``QPSBGD_SOLVER=qpu`` and a token is
        configured. Not part of the state dict.
    other_lr : float
        Learning rate of Adam for all parameters that are no binary weights.
    clip : float
        Bound of the latent weights.
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
    process_group : torch.distributed.ProcessGroup, optional
        Average gradients and Gram matrices over these processes. Every process then takes the same step.
        Under DistributedDataParallel it adds the averaged Gram matrix.

    Raises
    ------
    TypeError, ValueError
        If an option is of the wrong type or out of range; the message names it.

    Notes
    -----
    All options but solver and process_group may differ between parameter groups.
    ``scale="step"`` and ``"raw"`` depend on the size of the loss, which they take to be a mean over samples;
    the other scales do not. A layer whose input is the same unchanged tensor as in the last step keeps its
    Gram matrix; write to such a tensor through torch, which counts its versions.

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

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.01,
        *,
        variant: str = "continuous",
        memory: str | None = "auto",
        scale: str | float = "relative",
        kappa: float | None = None,
        domain: str = "spin",
        jacobian: str = "pre-activation",
        solver: Any = "auto",
        other_lr: float | Tensor = 0.01,
        clip: float = 1.0,
        maximize: bool = False,
        majorizer: str | float = "gauss-newton",
        damping: float | None = None,
        seed: int = 0,
        process_group: Any = None,
    ) -> None:
        self._solver = resolve_solver(solver)
        if process_group is not None and isinstance(self._solver, AsyncQuboSolver):
            raise ValueError(
                f"process_group needs a solver whose answers depend on the seed alone, so that every process "
                f"takes the same step; {type(self._solver).__name__} is none"
            )
        self._forget()
        defaults = {
            "lr": lr,
            "variant": variant,
            "memory": memory,
            "scale": scale,
            "kappa": kappa,
            "domain": domain,
            "jacobian": jacobian,
            "other_lr": other_lr,
            "clip": clip,
            "maximize": maximize,
            "majorizer": majorizer,
            "damping": damping,
            "seed": seed,
        }
        super().__init__(params, defaults, process_group)

    def _check_options(self, options: dict[str, Any]) -> None:
        super()._check_options(options)
        check_choice("variant", options["variant"], VARIANTS)
        check_choice("memory", options["memory"], ("auto", *MEMORIES))
        check_scale(options["scale"])
        if options["kappa"] is not None:
            check_nonnegative("kappa", options["kappa"])
        check_choice("domain", options["domain"], DOMAINS)
        check_choice("jacobian", options["jacobian"], JACOBIANS)
        if options["jacobian"] == "post-activation" and options["memory"] == "momentum":
            raise ValueError(
                "jacobian 'post-activation' does not go with memory 'momentum', which would keep "
                "a Gram matrix of every neuron; use 'error-feedback' or None"
            )
        check_seed(options["seed"])
        _check_majorizer(options["majorizer"])
        if options["damping"] is not None:
            check_nonnegative("damping", options["damping"])
        if options["variant"] == "projected":
            _check_projected(options)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own, as `torch.optim.Optimizer.add_param_group`."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        projected, factors = group["variant"] == "projected", group["majorizer"] == "gauss-newton"
        if group["memory"] == "auto":
            group["memory"] = ("momentum" if factors else None) if projected else "error-feedback"
        if group["damping"] is None:
            group["damping"] = 1.0 if factors else 0.0
        if group["kappa"] is None:
            group["kappa"] = 0.5 if group["memory"] == "momentum" else 1.0
        group.setdefault("num_qubos", 0)
        group.setdefault("qpu_seconds", 0.0)
        self._attach(group)

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
        """Load what `state_dict` returned; a QPU solver's budget goes on from the QPU time in it."""
        super().load_state_dict(state_dict)
        solver: Any = self._solver
        if hasattr(solver, "qpu_seconds"):
            solver.qpu_seconds = max(solver.qpu_seconds, self.qpu_seconds)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Reset gradients, and forget the inputs that were recorded with them."""
        super().zero_grad(set_to_none)
        for capture in self._captures.values():
            capture.clear()

    def _gather(self) -> list[Update]:
        updates = super()._gather()
        for update in updates:
            if isinstance(update.parameter, BinaryWeight):
                self._check_capture(update.parameter)
        return updates

    def _check_capture(self, weight: BinaryWeight) -> None:
        """Refuse a gradient without the layer's inputs, and say how that came to be."""
        capture = self._captures.get(weight)
        shape = tuple(weight.shape)
        if capture is None:
            reason = "it became binary after the optimizer was built; build the optimizer after to_binary"
        elif not capture.attached:
            reason = "another optimizer or capture was attached to it later; keep only one in use"
        elif not capture.records:
            reason = "its gradient was not computed by a backward pass through a layer in training mode"
        elif any(record.overwritten for record in capture.records):
            reason = "the input was overwritten in place after the backward pass; use a new tensor each time"
        else:
            return
        raise RuntimeError(f"no layer input was captured for the binary weight of shape {shape}: {reason}")

    def _check_slopes(self, updates: Sequence[Update]) -> None:
        """Refuse post-activation Jacobians of a net none of whose layers tells its activation's slopes."""
        asked = [u.parameter for u in updates if u.group["jacobian"] == "post-activation"]
        records = [record for weight in asked for record in self._captures[weight].records]
        if records and all(record.slopes is None for record in records):
            raise RuntimeError(
                "jacobian is 'post-activation', but no layer told its activation's slopes: "
                "put each layer and its activation into one qpsbgd.nn.Activated"
            )

    def _step_binary(self, updates: Sequence[Update]) -> None:
        self._check_slopes(updates)
        # Gather and solve everything first: an interrupt or a solver's error leaves all weights as they are.
        before = self._solver_seconds()
        try:
            solved = answer_requests([self._work(update) for update in updates], self._solver)
        finally:
            group = self.param_groups[0]
            group["qpu_seconds"] = group.get("qpu_seconds", 0.0) + self._solver_seconds() - before
        for update, (G, memory) in zip(updates, solved, strict=True):
            if update.group["variant"] == "projected":
                update.parameter.copy_(G)
            elif G.dtype == torch.int8:
                move_weights(update.parameter, G, float(update.group["lr"]), update.group["clip"])
            else:
                descend(update.parameter, G, update.group)
            self.state[update.parameter].update(memory)
            update.group["num_qubos"] += len(G)
        for capture in self._captures.values():
            capture.clear()

    def _solver_seconds(self) -> float:
        return float(getattr(self._solver, "qpu_seconds", 0.0))

    def _work(self, update: Update) -> Generator[Request, Solutions, tuple[Tensor, dict[str, Any]]]:
        """Return one weight's step (or its next weights) and next state, asking for solutions on the way."""
        if update.group["variant"] == "projected":
            return self._propose(update)
        return (yield from self._project(update))

    def _project(self, update: Update) -> Generator[Request, Solutions, tuple[Tensor, dict[str, Any]]]:
        """Return the binary step G of one weight, in its shape, and what its state becomes."""
        weight = update.parameter
        dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
        state = self.state.get(weight, {})
        gradient = update.gradient.reshape(len(weight), -1)
        steps, memories = [], []
        for rows, A, num_samples in self._grams(weight, dtype, update.group["jacobian"]):
            known = _state_of(state, rows, len(weight))
            G, memory = yield from self._project_rows(update, gradient[rows], rows, A, num_samples, known)
            steps.append(G)
            memories.append(memory)
        G = steps[0] if len(steps) == 1 else torch.cat(steps)
        return G.view(weight.shape), _joined(memories)

    def _project_rows(
        self,
        update: Update,
        gradient: Tensor,
        rows: slice,
        A: Floats,
        num_samples: int,
        state: dict[str, Any],
    ) -> Generator[Request, Solutions, tuple[Tensor, dict[str, Any]]]:
        """Return the step G (m, d) of `rows` of one weight, all of them or a part, and their next state."""
        group, weight = update.group, update.parameter
        dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
        memory: dict[str, Any] = {}
        scale = float(group["lr"]) if group["scale"] == "step" else group["scale"]
        if self._solver == "native" and scale != "raw" and group["memory"] != "momentum" and A.ndim == 2:
            # The common case in one pass, error feedback included.
            feedback = group["memory"] == "error-feedback"
            residual = state.get("residual") if feedback else None
            spins, left = native_step(
                to_host(gradient, dtype),
                A,
                residual=None if residual is None else to_host(residual, dtype),
                keep_residual=feedback,
                scale=scale,
                kappa=group["kappa"],
                domain=group["domain"],
            )
            if left is not None:
                memory["residual"] = torch.from_numpy(left).to(weight.device)
            G = torch.from_numpy(spins).to(weight.device)
            if self._projection_hooks:
                p = gradient.to(dtype) if residual is None else gradient.to(dtype) + residual
                self._show(update, rows, gradient, p, A, G, scale, num_samples)
            return G, memory
        p = gradient.to(dtype)
        if group["memory"] == "error-feedback" and "residual" in state:
            p = p + state["residual"]
        elif group["memory"] == "momentum":
            p, A, memory = _with_momentum(p, A, state)
        spins = yield from projection_requests(
            to_host(p, dtype),
            A,
            scale=scale,
            kappa=group["kappa"],
            domain=group["domain"],
            solver=self._solver,
            seed=0 if self._solver == "native" else _layer_seed(update, rows.start),
            num_samples=num_samples,
        )
        G = torch.from_numpy(spins).to(device=weight.device, dtype=dtype)
        if group["memory"] == "error-feedback":
            memory["residual"] = error_feedback(p, G)
        self._show(update, rows, gradient, p, A, G, scale, num_samples)
        return G, memory

    def _show(
        self,
        update: Update,
        rows: slice,
        gradient: Tensor,
        p: Tensor,
        A: Floats,
        G: Tensor,
        scale: str | float,
        num_samples: int,
    ) -> None:
        """Call the projection hooks."""
        if not self._projection_hooks:
            return
        group = update.group
        options = {"scale": scale, "kappa": group["kappa"], "domain": group["domain"]}
        weight = cast(BinaryWeight, update.parameter)
        options["num_samples"] = num_samples
        projection = Projection(weight, rows, gradient, p, A, G, options)
        for hook in list(self._projection_hooks.values()):
            hook(projection)

    def _propose(self, update: Update) -> tuple[Tensor, dict[str, Any]]:
        """Return the next binary weights of the projected variant, and what the state becomes."""
        group, weight = update.group, update.parameter
        dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
        state = self.state.get(weight, {})
        gradient = update.gradient.reshape(len(weight), -1)
        factors: tuple[Tensor, Tensor] | None = None
        if group["majorizer"] == "gauss-newton":
            V, X = self._captures[weight].jacobian_factors()
            factors = (V, X) if V.dim() == 3 else (V[None], X[None])
        parts, memories = [], []
        for number, (rows, A, _) in enumerate(self._grams(weight, dtype, "pre-activation")):
            known = _state_of(state, rows, len(weight))
            own = None if factors is None else (factors[0][number], factors[1][number])
            new, memory = self._propose_rows(update, gradient[rows], rows, A, own, known)
            parts.append(new)
            memories.append(memory)
        return torch.cat(parts).view(weight.shape), _joined(memories)

    def _propose_rows(
        self,
        update: Update,
        gradient: Tensor,
        rows: slice,
        A: Floats,
        factors: tuple[Tensor, Tensor] | None,
        state: dict[str, Any],
    ) -> tuple[Tensor, dict[str, Any]]:
        """Return the next binary weights (m, d) of one group of rows, and their next state."""
        group = update.group
        weight = update.parameter.reshape(len(update.parameter), -1)[rows]
        dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
        p = gradient.to(dtype)
        memory: dict[str, Any] = {}
        curvatures: Doubles
        if factors is not None:
            current = row_curvatures(*factors, gradient, self._all_mean)
            A, curvatures, memory = with_curvature_average(A, current, state)
            if group["memory"] == "momentum":
                step = memory["curvature_step"]
                before = state.get("gradient_average", torch.zeros_like(p))
                memory["gradient_average"], p = average(before, p, step)
        else:
            curvatures = np.full(len(weight), MAJORIZERS.get(group["majorizer"], group["majorizer"]))
            if group["memory"] == "momentum":
                p, A, memory = _with_momentum(p, A, state)
        new = proximal_step(
            np.where(to_host(weight, dtype) >= 0, 1, -1).astype(np.int8),
            to_host(p, dtype),
            A,
            curvatures=curvatures,
            damping=group["damping"],
            solver=self._solver,
            seed=0 if self._solver == "native" else _layer_seed(update, rows.start),
        )
        return torch.from_numpy(new).to(weight.device), memory

    def _grams(
        self, weight: Tensor, dtype: torch.dtype, jacobian: str
    ) -> Iterator[tuple[slice, Floats, int]]:
        """Yield rows of `weight`, their Gram matrix, and the number n of samples in it.

        One part per group of a layer; with post-activation Jacobians chunks of rows, with a matrix for each.
        """
        records = self._captures[weight].records
        if jacobian == "post-activation" and any(record.slopes is not None for record in records):
            yield from self._weighted_grams(records, weight, dtype)
            return
        A, num_samples = self._gram(weight, dtype)
        rows = len(weight) // len(A)
        for group, matrix in enumerate(A):
            yield slice(group * rows, (group + 1) * rows), matrix, num_samples

    def _weighted_grams(
        self, records: Sequence[Record], weight: Tensor, dtype: torch.dtype
    ) -> Iterator[tuple[slice, Floats, int]]:
        """As `_grams`, of post-activation Jacobians."""
        if any(record.slopes is None for record in records):
            raise RuntimeError(
                f"the weight of shape {tuple(weight.shape)} was used both inside and outside of "
                "qpsbgd.nn.Activated, so its activation's slopes are not known everywhere"
            )
        num_samples = sum(record.num_samples for record in records)
        groups = records[0].groups
        per_group = len(weight) // groups
        for group in range(groups):
            for rows in row_chunks(per_group, weight[0].numel()):
                blocks = (
                    (to_host(X[group], dtype), to_host(slopes[group][:, rows], dtype))
                    for record in records
                    for X, slopes in record.blocks()
                    if slopes is not None
                )
                A, total = self._shared(weighted_grams(blocks, num_samples), num_samples, weight)
                first = group * per_group
                yield slice(first + rows.start, first + rows.stop), A, total

    def _gram(self, weight: Tensor, dtype: torch.dtype) -> tuple[list[Floats], int]:
        """Return A (d, d) of everything recorded for `weight`, one a group, and the number of samples n."""
        records = self._captures[weight].records
        num_samples = sum(record.num_samples for record in records)
        source, version = records[0].source(), records[0].source_version
        known = self._static.pop(weight, None)
        static = len(records) == 1 and source is not None
        if static and known is not None and known[0]() is source and known[1] == version:
            A = known[2]
        else:
            blocks = (
                [to_host(X, dtype) for X in block] for record in records for block, _ in record.blocks()
            )
            A = gram_matrices(blocks, num_samples)
        if static:
            self._static[weight] = (records[0].source, version, A)
        shared = [self._shared(matrix, num_samples, weight) for matrix in A]
        return [matrix for matrix, _ in shared], shared[0][1]

    def _shared(self, A: Floats, num_samples: int, weight: Tensor) -> tuple[Floats, int]:
        """Average A over the process group, and count its samples."""
        if self._process_group is None:
            return A, num_samples
        mean = self._all_mean(torch.from_numpy(A).to(weight.device))
        world = torch.distributed.get_world_size(self._process_group)
        return to_host(mean, mean.dtype), num_samples * world

    def _attach(self, group: dict[str, Any]) -> None:
        for parameter in group["params"]:
            if isinstance(parameter, BinaryWeight):
                self._captures[parameter] = attach(
                    parameter,
                    keep_output_gradients=_uses_factors(group),
                    keep_slopes=group["jacobian"] == "post-activation",
                )

    def _forget(self) -> None:
        self._captures: dict[Tensor, Capture] = {}
        # Layers with static inputs: the input, its version, and the Gram matrices made of it.
        self._static: dict[Tensor, tuple[weakref.ref[Tensor], int, list[Floats]]] = {}
        self._projection_hooks: OrderedDict[int, Callable[[Projection], None]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_solver": self._solver}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in _FIRST_OPTIONS.items():
                group.setdefault(name, value)
            for parameter in group["params"]:
                capture = self.__dict__.get("_captures", {}).get(parameter)
                if capture is not None:
                    capture.keep_output_gradients = _uses_factors(group)
                    capture.keep_slopes = group["jacobian"] == "post-activation"
        # load_state_dict comes through here too, with captures in place.
        if "_captures" not in self.__dict__:
            self._forget()
            for group in self.param_groups:
                self._attach(group)


def _uses_factors(group: dict[str, Any]) -> bool:
    """Whether the group's steps need Gauss-Newton factors."""
    return bool(group["variant"] == "projected" and group["majorizer"] == "gauss-newton")


def _check_majorizer(majorizer: Any) -> None:
    if isinstance(majorizer, str):
        check_choice("majorizer", majorizer, ("gauss-newton", *MAJORIZERS))
        return
    check_nonnegative("majorizer", majorizer)
    if majorizer == 0:
        raise ValueError("majorizer must be a positive number, but is 0")


def _check_projected(options: dict[str, Any]) -> None:
    """Refuse options that mean nothing to the projected variant, rather than pass over them."""
    given = {"scale": "relative", "kappa": None, "domain": "spin", "jacobian": "pre-activation"}
    for name, default in given.items():
        if options[name] != default:
            raise ValueError(f"{name} {options[name]!r} has no meaning with variant 'projected'")
    if options["memory"] == "error-feedback":
        raise ValueError(
            "memory 'error-feedback' has no meaning with variant 'projected', which leaves nothing behind; "
            "use 'momentum' or None"
        )


def _with_momentum(p: Tensor, A: Floats, state: dict[str, Any]) -> tuple[Tensor, Floats, dict[str, Any]]:
    """Return p and A as running means, and the state after this step."""
    gram = torch.from_numpy(A).to(p.device)
    step = state.get("step", 0) + 1
    p_state, p = average(state.get("gradient_average", torch.zeros_like(p)), p, step)
    gram_state, gram = average(state.get("gram_average", torch.zeros_like(gram)), gram, step)
    memory = {"step": step, "gradient_average": p_state, "gram_average": gram_state}
    return p, to_host(gram, gram.dtype), memory


def _state_of(state: dict[str, Any], rows: slice, num_rows: int) -> dict[str, Any]:
    """Return the part of a weight's state that belongs to `rows`: all of it, or that of one group."""
    size = rows.stop - rows.start
    if size == num_rows:
        return state
    part = dict(state)
    for name, value in state.items():
        if name in _ROW_STATE:
            part[name] = value[rows]
        elif name in _GRAM_STATE and len(value) * size == num_rows:
            part[name] = value[rows.start // size]
    return part


def _joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Put the states of all rows together, in their order; counters are the same in all parts."""
    if len(parts) == 1:
        return parts[0]
    joined = dict(parts[0])
    for name in joined:
        if name in _ROW_STATE:
            joined[name] = torch.cat([part[name] for part in parts])
        elif name in _GRAM_STATE:
            joined[name] = torch.stack([part[name] for part in parts])
    return joined


def _layer_seed(update: Update, first_row: int) -> int:
    """Hash seed, step, parameter and row: resumed runs draw the same numbers, layers different ones."""
    entropy = [update.group["seed"], update.group["step"], update.number]
    if first_row:
        entropy.append(first_row)
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])
