"""QP-SBGD of real parameters: any residual function, by the Jacobian that `torch.func` computes.

A function z(x) of a parameter x with d entries gives n outputs with a loss on them. With v the loss gradient
with respect to z and U the Jacobian of z (n, d), one step solves

    p = U'v,   A = U'U      min over G in {-1,+1}^d of  ‖v - s U G‖²  =  s² G'AG - 2 s p'G + const
    x <- x - lr G

For a residual function r the loss is L = ½‖r‖², so v = r, and s = lr makes the objective the squared residual
after the step, exactly where r is linear. One parameter is one row of d variables, one QUBO.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT

from qpsbgd.optim.checkpoints import checked_state_dict, restore_state
from qpsbgd.optim.commit import Uninterrupted, without_grad
from qpsbgd.optim.naming import named
from qpsbgd.problem.checks import (
    DOMAINS,
    MEMORIES,
    Domain,
    NotFiniteError,
    Scale,
    check_choice,
    check_clip,
    check_count,
    check_learning_rate,
    check_nonnegative,
    check_scale,
    check_seed,
)
from qpsbgd.projection import project_gradient
from qpsbgd.solvers.resolve import resolve_solver
from qpsbgd.step.arrays import to_host
from qpsbgd.step.memory import average, error_feedback

__all__ = ["ResidualQPSBGD", "jacobians"]

MODES = ("auto", "reverse", "forward")
SCALES = ("auto", "step", "relative")


class ResidualQPSBGD(Optimizer):
    """QP-SBGD for real parameters of a residual function, or of any function with a loss on its outputs.

    Parameters
    ----------
    params : iterable of parameters or of parameter groups
        Floating-point tensors of any shape.
    lr : float
        Size of the step of every entry.
    memory : {"momentum", "error-feedback", None}
        What p holds beside the gradient: a running mean (and one of A) over about ten steps; what earlier
        projections left behind; nothing.
    scale : {"auto", "step", "relative"} or float
        The length s of step that the QUBO assumes: fitted in turn with G; lr; ``kappa ‖p‖₁ / (σ'Aσ)`` with
        σ = sign(p); or the number given.
    kappa : float, optional
        Factor of the relative scale, at least 0. 1, or 0.5 with momentum.
    domain : {"spin", "mask"}
        G in {-1, +1}, or in {0, sign(p)}.
    solver : {"auto", "native", "neal"}, dimod.Sampler or QuboSolver
        As in `qpsbgd.QPSBGD`. Not part of the state dict.
    clip : float, optional
        Bound of the entries; unbounded if not given.
    block_size : int
        Parameters with more entries are cut into blocks of consecutive entries, none larger than this. Each
        block is one QUBO; couplings between blocks are left out.
    mode : {"auto", "reverse", "forward"}
        How Jacobians are differentiated: by vector-Jacobian products, one per output, or by
        `torch.func.jacfwd`, one pass per entry of the parameters. "auto" is "forward" where outputs are more
        than four times as many as entries; the function is then evaluated twice.
    seed : int
        0 <= seed < 2**64, for solvers that draw random numbers.

    Raises
    ------
    TypeError, ValueError
        If an option is of the wrong type or out of range; the message names it.

    Examples
    --------
    Rosenbrock's function is f = ‖r‖², that is twice the loss:

    >>> import torch
    >>> x = torch.nn.Parameter(torch.tensor([-1.2, 1.0]))
    >>> optimizer = ResidualQPSBGD([x], lr=0.01)
    >>> def rosenbrock(x):
    ...     return torch.stack([10 * (x[1] - x[0] ** 2), 1 - x[0]])
    >>> losses = [optimizer.step(rosenbrock).item() for _ in range(500)]
    >>> f"{losses[0]:.2f}", losses[-1] < 0.05
    ('12.10', True)
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.01,
        *,
        memory: Literal["momentum", "error-feedback"] | None = "momentum",
        scale: Scale | float = "auto",
        kappa: float | None = None,
        domain: Domain = "spin",
        solver: Any = "auto",
        clip: float | None = None,
        block_size: int = 1024,
        mode: Literal["auto", "reverse", "forward"] = "auto",
        seed: int = 0,
    ) -> None:
        check_choice("mode", mode, MODES)
        self._mode = mode
        self._solver = resolve_solver(solver)
        defaults = {
            "lr": lr,
            "memory": memory,
            "scale": scale,
            "kappa": kappa,
            "domain": domain,
            "clip": clip,
            "block_size": block_size,
            "seed": seed,
        }
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own, as `torch.optim.Optimizer.add_param_group`."""
        if isinstance(param_group, dict):
            _check_options({**self.defaults, **param_group})
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for parameter in group["params"]:
            if not parameter.is_floating_point():
                raise TypeError(f"params must hold real floating-point numbers, but one is {parameter.dtype}")
        if group["kappa"] is None:
            group["kappa"] = 0.5 if group["memory"] == "momentum" else 1.0
        group.setdefault("step", 0)
        group.setdefault("num_qubos", 0)

    @property
    def num_qubos(self) -> int:
        """Number of QUBO problems solved so far: one for every block of every parameter and step."""
        return sum(int(group["num_qubos"]) for group in self.param_groups)

    @without_grad
    def step(  # type: ignore[override]
        self,
        outputs: Callable[..., Tensor],
        loss: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Take one step.

        Parameters
        ----------
        outputs : function
            Called with all parameters, in the order of the parameter groups; returns r, a tensor of any shape
            with n entries. It must be a function that `torch.func` can differentiate: no ``backward``, no
            writes in place to its arguments.
        loss : function, optional
            The loss of the outputs, a scalar that is a mean over their n entries: then A = U'U / n. If not
            given, the loss is ½‖r‖² and A = U'U.

        Returns
        -------
        Tensor
            The loss before the step.

        Raises
        ------
        TypeError
            If `outputs` is no function or does not return a tensor.
        ValueError
            If outputs, loss or Jacobian are not finite; no parameter has changed then.
        """
        if not callable(outputs):
            raise TypeError(f"outputs must be a function of the parameters, but is {type(outputs).__name__}")
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        names = [named(group, parameter) for group in self.param_groups for parameter in group["params"]]
        z, all_jacobians = jacobians(outputs, parameters, self._mode, names)
        if loss is None:
            value, v, weight = 0.5 * z.square().sum(), z, 1.0
        else:
            gradient, value = torch.func.grad_and_value(loss)(z)
            v, weight = gradient.detach(), 1.0 / z.numel()
        if not torch.isfinite(value):
            raise ValueError(f"the loss of the outputs is {value.item()}, not a finite number")
        solved = []
        number = 0
        for group in self.param_groups:
            for parameter in group["params"]:
                U = all_jacobians[number]
                solved.append((group, parameter, *self._project(group, parameter, number, U, v, weight)))
                number += 1
        with Uninterrupted():
            for group, parameter, G, memory in solved:
                parameter.add_(G.view_as(parameter).to(parameter.dtype), alpha=-float(group["lr"]))
                if group["clip"] is not None:
                    parameter.clamp_(-group["clip"], group["clip"])
                self.state[parameter].update(memory)
                group["num_qubos"] += len(_blocks(parameter.numel(), group["block_size"]))
            for group in self.param_groups:
                group["step"] += 1
        return value

    def _project(
        self, group: dict[str, Any], parameter: Tensor, number: int, U: Tensor, v: Tensor, weight: float
    ) -> tuple[Tensor, dict[str, Any]]:
        """Return the binary step G (d,) of one parameter, and what its state becomes."""
        dtype = torch.float64 if U.dtype == torch.float64 else torch.float32
        U, v = U.to(dtype), v.to(dtype).reshape(-1)
        blocks = _blocks(U.shape[1], group["block_size"])
        p = U.T @ v
        # The Gram matrices of all blocks behind each other, so that the state holds one tensor.
        grams = torch.cat([(weight * (U[:, k].T @ U[:, k])).reshape(-1) for k in blocks])
        state = self.state.get(parameter, {})
        memory: dict[str, Any] = {}
        if group["memory"] == "error-feedback" and "residual" in state:
            p = p + state["residual"]
        elif group["memory"] == "momentum":
            step = state.get("step", 0) + 1
            first = average(state.get("gradient_average", torch.zeros_like(p)), p, step)
            second = average(state.get("gram_average", torch.zeros_like(grams)), grams, step)
            memory = {"step": step, "gradient_average": first[0], "gram_average": second[0]}
            p, grams = first[1], second[1]
        scale = float(group["lr"]) if group["scale"] == "step" else group["scale"]
        seeds = np.random.SeedSequence([group["seed"], group["step"], number]).generate_state(
            len(blocks), np.uint64
        )
        sizes = [block.stop - block.start for block in blocks]
        cut = grams.split([size * size for size in sizes])
        steps = []
        for block, size, gram, seed in zip(blocks, sizes, cut, seeds, strict=True):
            spins = project_gradient(
                to_host(p[block].unsqueeze(0), dtype),
                to_host(gram.view(size, size), dtype),
                scale=scale,
                kappa=group["kappa"],
                domain=group["domain"],
                solver=self._solver,
                seed=int(seed),
            )
            steps.append(torch.from_numpy(spins[0]).to(device=p.device, dtype=dtype))
        if group["memory"] == "error-feedback":
            rows = zip(p.split(sizes), steps, strict=True)
            memory["residual"] = torch.cat([error_feedback(row[None], G[None])[0] for row, G in rows])
        return torch.cat(steps), memory

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` returned, as it was saved: dtypes are kept, tensors are not shared."""
        checked = checked_state_dict(self, state_dict, {})
        super().load_state_dict(checked)
        restore_state(self, checked)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_solver": self._solver, "_mode": self._mode}


def jacobians(
    outputs: Callable[..., Tensor],
    parameters: Sequence[Tensor],
    mode: str = "auto",
    names: Sequence[str] = (),
) -> tuple[Tensor, list[Tensor]]:
    """Evaluate a function of several tensors, and its Jacobian with respect to each.

    Parameters
    ----------
    outputs : function
        Called with all of `parameters`; returns a tensor with n entries.
    parameters : sequence of Tensor
        Where to evaluate.
    mode : {"auto", "reverse", "forward"}
        As in `ResidualQPSBGD`.
    names : sequence of str
        What errors call the parameters.

    Returns
    -------
    Tensor, list of Tensor (n, d)
        The outputs, in their own shape; a Jacobian for each parameter, d its number of entries.

    Raises
    ------
    TypeError
        If `outputs` does not return a tensor of floating-point numbers.
    ValueError
        If it returns an empty tensor, or an output or a Jacobian is not finite.

    Examples
    --------
    >>> import torch
    >>> z, (U,) = jacobians(lambda x: x**2, [torch.tensor([1.0, 3.0])])
    >>> z, U
    (tensor([1., 9.]), tensor([[2., 0.],
            [0., 6.]]))
    """
    check_choice("mode", mode, MODES)
    points = tuple(parameter.detach() for parameter in parameters)
    where = tuple(range(len(points)))

    def flat_and_whole(*inputs: Tensor) -> tuple[Tensor, Tensor]:
        z = outputs(*inputs)
        if not isinstance(z, Tensor) or not z.is_floating_point():
            came = z.dtype if isinstance(z, Tensor) else type(z).__name__
            raise TypeError(f"outputs must return a tensor of floating-point numbers, but returned {came}")
        if z.numel() == 0:
            raise ValueError(f"outputs returned a tensor of shape {tuple(z.shape)}, without entries")
        return z.reshape(-1), z

    evaluated = torch.func.vjp(flat_and_whole, *points, has_aux=True)
    flat, pull_back, z = cast("tuple[Tensor, Callable[..., tuple[Tensor, ...]], Tensor]", evaluated)
    if mode == "reverse" or (mode == "auto" and len(flat) <= 4 * sum(point.numel() for point in points)):
        rows = torch.eye(len(flat), dtype=flat.dtype, device=flat.device)
        found = torch.func.vmap(pull_back)(rows)
    else:
        # The second evaluation draws other random numbers, if it draws any: take its outputs too.
        forward = torch.func.jacfwd(flat_and_whole, argnums=where, has_aux=True, randomness="same")
        with warnings.catch_warnings():
            # The first call makes torch load its own scripted rules, by a function that it deprecates.
            warnings.filterwarnings("ignore", message=r"`torch\.jit\.script` is deprecated")
            found, z = cast("tuple[tuple[Tensor, ...], Tensor]", forward(*points))
    all_jacobians = [U.detach().reshape(len(flat), -1) for U in found]
    made = [("output", "", z)]
    for U, name in itertools.zip_longest(all_jacobians, names):
        made.append(("Jacobian", f" by the {name}" if name else "", U))
    for what, by, tensor in made:
        if not torch.isfinite(tensor).all():
            raise NotFiniteError(
                f"outputs: an entry of the {what} of shape {tuple(tensor.shape)}{by} is not finite"
            )
    return z.detach(), all_jacobians


def _blocks(size: int, most: int) -> list[slice]:
    """Cut `size` entries into as few blocks as allowed, of nearly equal size."""
    count = -(-size // most)
    bounds = [size * i // count for i in range(count + 1)]
    return [slice(first, last) for first, last in itertools.pairwise(bounds)]


def _check_options(options: dict[str, Any]) -> None:
    check_learning_rate("lr", options["lr"])
    check_choice("memory", options["memory"], MEMORIES)
    if options["scale"] == "raw":
        raise ValueError(f"Invalid scale: 'raw' (expected one of {SCALES} or a number)")
    check_scale(options["scale"])
    if options["kappa"] is not None:
        check_nonnegative("kappa", options["kappa"])
    check_choice("domain", options["domain"], DOMAINS)
    check_seed(options["seed"])
    check_clip(options["clip"], optional=True)
    check_count("block_size", options["block_size"])
