"""The loop that minimises functions of real parameters, and the optimizers for it, by name.

`qpsbgd.experiments.core.training` is the loop for networks with binary weights.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn, optim

from qpsbgd.data.progress import ProgressBar
from qpsbgd.experiments.core.results import CurvePoint
from qpsbgd.experiments.core.task import Setting, Settings
from qpsbgd.optim.residual import ResidualQPSBGD
from qpsbgd.projection import average

__all__ = ["REAL_OPTIMIZERS", "Objective", "SignDescent", "make_real_optimizer", "minimise", "rates"]

_CURVE_POINTS = 50


class SignDescent(optim.Optimizer):
    """signSGD of real parameters, ``x <- x - lr sign(u)`` with a running mean u of gradients (signum).

    Parameters
    ----------
    params : iterable of parameters or of parameter groups
        What is minimised over.
    lr : float
        Size of a step.
    momentum : float in [0, 1)
        ``u <- momentum u + (1 - momentum) g``; 0 for u = g.

    Examples
    --------
    >>> x = nn.Parameter(torch.tensor([2.0, -3.0]))
    >>> x.square().sum().backward()
    >>> SignDescent([x], lr=0.5).step()
    >>> x.tolist()
    [1.5, -2.5]
    """

    def __init__(self, params: Any, lr: float, momentum: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Take one step."""
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                state["step"] = state.get("step", 0) + 1
                past = state.get("gradient_average", torch.zeros_like(parameter))
                past, u = average(past, parameter.grad, state["step"], group["momentum"])
                state["gradient_average"] = past
                parameter.sub_(u.sign(), alpha=group["lr"])


_MAKERS: Mapping[str, Callable[..., optim.Optimizer]] = {
    "qpsbgd": ResidualQPSBGD,
    "sgd": optim.SGD,
    "adam": optim.Adam,
    "signsgd": SignDescent,
}

REAL_OPTIMIZERS = tuple(_MAKERS)
"""Names of the optimizers of real parameters."""


def rates(*learning_rates: float, **others: Setting) -> tuple[Settings, ...]:
    """Make a grid of settings that differ in ``lr``.

    Examples
    --------
    >>> rates(0.1, 0.3, momentum=0.9)
    ({'lr': 0.1, 'momentum': 0.9}, {'lr': 0.3, 'momentum': 0.9})
    """
    return tuple({"lr": rate, **others} for rate in learning_rates)


def make_real_optimizer(
    name: str, parameters: Sequence[nn.Parameter], settings: Settings, *, seed: int
) -> optim.Optimizer:
    """Build an optimizer over real parameters.

    Parameters
    ----------
    name : str
        One of `REAL_OPTIMIZERS`.
    parameters : sequence of parameters
        What is minimised over.
    settings : mapping
        Arguments of the optimizer's constructor.
    seed : int
        For an optimizer that draws random numbers.

    Raises
    ------
    ValueError
        If there is no optimizer of that name, or its settings are invalid.

    Examples
    --------
    >>> make_real_optimizer("adam", [nn.Parameter(torch.ones(2))], {"lr": 0.1}, seed=0).defaults["lr"]
    0.1
    """
    if name not in _MAKERS:
        raise ValueError(f"optimizer is {name!r}, expected one of {', '.join(_MAKERS)}")
    arguments: dict[str, Any] = dict(settings)
    if name == "qpsbgd":
        arguments["seed"] = seed
    return _MAKERS[name](parameters, **arguments)


@dataclass(frozen=True)
class Objective:
    """What one step sees: outputs of the parameters, and the loss of these.

    Attributes
    ----------
    outputs : function
        Called with the parameters.
    loss : function, optional
        Mean loss of the outputs; ½‖outputs‖² if not given.
    """

    outputs: Callable[..., Tensor]
    loss: Callable[[Tensor], Tensor] | None = None

    def value(self, *parameters: Tensor) -> Tensor:
        """Evaluate the loss."""
        z = self.outputs(*parameters)
        return 0.5 * z.square().sum() if self.loss is None else self.loss(z)


def minimise(
    parameters: Sequence[nn.Parameter],
    optimizer: optim.Optimizer,
    next_objective: Callable[[], Objective],
    evaluate: Callable[[], Mapping[str, float]],
    *,
    steps: int,
    label: str,
    decay: bool = True,
) -> tuple[tuple[CurvePoint, ...], dict[str, float]]:
    """Minimise a function of real parameters.

    Parameters
    ----------
    parameters : sequence of parameters
        In the order in which objectives take them.
    optimizer : torch.optim.Optimizer
        Over `parameters`.
    next_objective : function
        Returns what the next step sees: a new batch, or new noise.
    evaluate : function
        Returns what is measured at a point of the curve; called up to 50 times, the last time at the end.
    steps : int
        Number of steps.
    label : str
        Text in front of the progress bar.
    decay : bool
        Let the learning rate decay to 0 along a cosine; else it is constant.

    Returns
    -------
    curve : tuple of CurvePoint
        What `evaluate` gives.
    metrics : dict
        What `evaluate` gives at the end; ``seconds`` of the steps, and ``qubos_per_second`` in these.

    Raises
    ------
    ValueError
        If `steps` is below 1.
    FloatingPointError
        If what is measured becomes infinite or NaN.

    Examples
    --------
    >>> x = nn.Parameter(torch.tensor([2.0, -3.0]))
    >>> objective = Objective(lambda x: x - 1)
    >>> curve, metrics = minimise(
    ...     [x],
    ...     SignDescent([x], lr=0.3),
    ...     lambda: objective,
    ...     lambda: {"value": objective.value(x).item()},
    ...     steps=40,
    ...     label="doc",
    ... )
    >>> curve[-1].step, metrics["value"] < 0.1
    (40, True)
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}, expected at least 1")
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps) if decay else None
    curve: list[CurvePoint] = []
    seconds = 0.0
    with ProgressBar(steps, label, unit="step") as bar:
        for step in range(1, steps + 1):
            started = time.perf_counter()
            _step(parameters, optimizer, next_objective())
            if schedule is not None:
                schedule.step()
            seconds += time.perf_counter() - started
            bar.advance()
            # Evenly spread, the last step among them.
            if step * _CURVE_POINTS // steps > (step - 1) * _CURVE_POINTS // steps:
                with torch.no_grad():
                    measured = dict(evaluate())
                _check_finite(measured, step)
                curve.append(CurvePoint(step, measured))
    qubos = getattr(optimizer, "num_qubos", 0)
    return tuple(curve), {**measured, "seconds": seconds, "qubos_per_second": qubos / seconds}


def _step(parameters: Sequence[nn.Parameter], optimizer: optim.Optimizer, objective: Objective) -> None:
    if isinstance(optimizer, ResidualQPSBGD):
        try:
            optimizer.step(objective.outputs, objective.loss)
        except ValueError as error:  # the residuals or their Jacobian have overflowed
            raise FloatingPointError(str(error)) from error
        return
    optimizer.zero_grad()
    objective.value(*parameters).backward()
    optimizer.step()


def _check_finite(measured: Mapping[str, float], step: int) -> None:
    for name, value in measured.items():
        if not math.isfinite(value):
            raise FloatingPointError(f"{name} is {value} after {step} steps: it diverged")
