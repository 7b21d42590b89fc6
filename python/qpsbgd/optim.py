"""QP-SBGD: stochastic gradient descent whose steps are binary projections of the gradient."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from qpsbgd.capture import BinaryWeight, Capture, attach
from qpsbgd.latent import LatentWeightOptimizer, Update, descend
from qpsbgd.projection import (
    Floats,
    average,
    error_feedback,
    gram_matrix,
    native_step,
    project_gradient,
    resolve_solver,
    to_host,
)
from qpsbgd.validation import DOMAINS, check_choice, check_nonnegative, check_scale, check_seed

__all__ = ["QPSBGD"]

VARIANTS = ("continuous",)
MEMORIES = ("error-feedback", "momentum", None)


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
    variant : {"continuous"}
        Latent weights are real and change by ``lr G``.
    memory : {"error-feedback", "momentum", None}
        What p holds beside the gradient: what earlier projections left behind; a running mean of gradients
        (and of A) over about ten steps; nothing.
    scale : {"relative", "auto", "step", "raw"} or float
        The size s_j that a step is taken to have. "relative": ``kappa ‖p‖₁ / (σ'Aσ)``, σ = sign(p);
        "auto": fitted in turn with G; "step": lr; "raw": the paper's literal form; or the number given.
    kappa : float, optional
        Factor of the relative scale, at least 0, where 0 is signSGD. 1, or 0.5 with momentum.
    domain : {"spin", "mask"}
        G in {-1, +1}, or in {0, sign(p)}.
    solver : {"auto", "native", "neal"}, dimod.Sampler or QuboSolver
        The built-in greedy descent from sign(p) ("auto" and "native"), simulated annealing from
        dwave-samplers, or your own. Not part of the state dict.
    other_lr : float
        Learning rate of Adam for all parameters that are no binary weights.
    clip : float
        Bound of the latent weights.
    maximize : bool
        Ascend instead.
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
    lr, memory, scale, kappa, domain, other_lr, clip, maximize and seed may differ between parameter groups.
    ``scale="step"`` and ``"raw"`` depend on the size of the loss, which they take to be a mean over samples;
    the other scales do not. A layer whose input is the same unchanged tensor as in the last step keeps its
    Gram matrix; write to such a tensor through torch, which counts its versions.

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
        memory: str | None = "error-feedback",
        scale: str | float = "relative",
        kappa: float | None = None,
        domain: str = "spin",
        solver: Any = "auto",
        other_lr: float | Tensor = 0.01,
        clip: float = 1.0,
        maximize: bool = False,
        seed: int = 0,
        process_group: Any = None,
    ) -> None:
        check_choice("variant", variant, VARIANTS)
        self._solver = resolve_solver(solver)
        self._forget()
        defaults = {
            "lr": lr,
            "memory": memory,
            "scale": scale,
            "kappa": kappa,
            "domain": domain,
            "other_lr": other_lr,
            "clip": clip,
            "maximize": maximize,
            "seed": seed,
        }
        super().__init__(params, defaults, process_group)

    def _check_options(self, options: dict[str, Any]) -> None:
        super()._check_options(options)
        check_choice("memory", options["memory"], MEMORIES)
        check_scale(options["scale"])
        if options["kappa"] is not None:
            check_nonnegative("kappa", options["kappa"])
        check_choice("domain", options["domain"], DOMAINS)
        check_seed(options["seed"])

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own, as `torch.optim.Optimizer.add_param_group`."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        if group["kappa"] is None:
            group["kappa"] = 0.5 if group["memory"] == "momentum" else 1.0
        group.setdefault("num_qubos", 0)
        self._attach(group)

    @property
    def num_qubos(self) -> int:
        """Number of QUBO problems solved so far: one for every row of every projected gradient."""
        return sum(int(group["num_qubos"]) for group in self.param_groups)

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

    def _step_binary(self, updates: Sequence[Update]) -> None:
        # Gather and solve everything first: an interrupt or a solver's error leaves all weights as they are.
        solved = [self._project(update) for update in updates]
        for update, (G, memory) in zip(updates, solved, strict=True):
            descend(update.parameter, G, update.group)
            self.state[update.parameter].update(memory)
            update.group["num_qubos"] += len(G)
        for capture in self._captures.values():
            capture.clear()

    def _project(self, update: Update) -> tuple[Tensor, dict[str, Any]]:
        """Return the binary step G (m, d) of one weight, and what its state becomes."""
        group, weight, gradient = update.group, update.parameter, update.gradient
        state = self.state.get(weight, {})
        dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
        A, num_samples = self._gram(weight, dtype)
        memory: dict[str, Any] = {}
        scale = float(group["lr"]) if group["scale"] == "step" else group["scale"]
        if self._solver == "native" and scale != "raw" and group["memory"] != "momentum":
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
            return torch.from_numpy(spins).to(weight.device), memory
        p = gradient.to(dtype)
        if group["memory"] == "error-feedback" and "residual" in state:
            p = p + state["residual"]
        elif group["memory"] == "momentum":
            p, A, memory = _with_momentum(p, A, state)
        spins = project_gradient(
            to_host(p, dtype),
            A,
            scale=scale,
            kappa=group["kappa"],
            domain=group["domain"],
            solver=self._solver,
            seed=0 if self._solver == "native" else _layer_seed(update),
            num_samples=num_samples,
        )
        G = torch.from_numpy(spins).to(device=weight.device, dtype=dtype)
        if group["memory"] == "error-feedback":
            memory["residual"] = error_feedback(p, G)
        return G, memory

    def _gram(self, weight: Tensor, dtype: torch.dtype) -> tuple[Floats, int]:
        """Return A (d, d) of everything recorded for `weight`, and the number of samples n in it."""
        records = self._captures[weight].records
        num_samples = sum(len(record.inputs) for record in records)
        source, version = records[0].source(), records[0].source_version
        known = self._static.pop(weight, None)
        static = len(records) == 1 and source is not None
        if static and known is not None and known[0]() is source and known[1] == version:
            A = known[2]
        else:
            A = gram_matrix([to_host(record.inputs, dtype) for record in records])
        if static:
            self._static[weight] = (records[0].source, version, A)
        if self._process_group is not None:
            A = to_host(self._all_mean(torch.from_numpy(A).to(weight.device)), dtype)
            num_samples *= torch.distributed.get_world_size(self._process_group)
        return A, num_samples

    def _attach(self, group: dict[str, Any]) -> None:
        for parameter in group["params"]:
            if isinstance(parameter, BinaryWeight):
                self._captures[parameter] = attach(parameter)

    def _forget(self) -> None:
        self._captures: dict[Tensor, Capture] = {}
        # Layers with static inputs: the input, its version, and the Gram matrix made of it.
        self._static: dict[Tensor, tuple[weakref.ref[Tensor], int, Floats]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_solver": self._solver}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        # load_state_dict comes through here too, with captures in place.
        if "_captures" not in self.__dict__:
            self._forget()
            for group in self.param_groups:
                self._attach(group)


def _with_momentum(p: Tensor, A: Floats, state: dict[str, Any]) -> tuple[Tensor, Floats, dict[str, Any]]:
    """Return p and A as running means, and the state after this step."""
    gram = torch.from_numpy(A).to(p.device)
    step = state.get("step", 0) + 1
    p_state, p = average(state.get("gradient_average", torch.zeros_like(p)), p, step)
    gram_state, gram = average(state.get("gram_average", torch.zeros_like(gram)), gram, step)
    memory = {"step": step, "gradient_average": p_state, "gram_average": gram_state}
    return p, to_host(gram, gram.dtype), memory


def _layer_seed(update: Update) -> int:
    """Hash seed, step and parameter, so that resumed runs draw the same numbers and layers different ones."""
    entropy = [update.group["seed"], update.group["step"], update.number]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])
