"""Trainings on a noisy annealer, with and without mitigation of the noise.

The paper does not say how the noise of real hardware changes a training. Here `qpsbgd.solvers.NoisySolver`
solves every row's QUBO with simulated annealing, at multiples of the noise that D-Wave publishes. An
"optimizer" of these tasks is QP-SBGD with one way of using the device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from qpsbgd.diagnostics import Diagnostics
from qpsbgd.experiments.classification import Classification, Samples
from qpsbgd.experiments.core.results import Run
from qpsbgd.experiments.core.task import Experiment, Settings, Split
from qpsbgd.experiments.networks import Mlp
from qpsbgd.optim import QPSBGD
from qpsbgd.problem.ising import IsingProblem, Solutions
from qpsbgd.solvers import DeviceNoise, NativeSolver, NoisySolver, QuboSolver
from qpsbgd.solvers.requests import Request, Work
from qpsbgd.step.arrays import to_host
from qpsbgd.step.memory import error_feedback
from qpsbgd.step.rows import row_problems
from qpsbgd.step.rule import LayerStep, Projection, StepResult, StepRule

__all__ = ["CHANNELS", "CHANNELS_EXPERIMENT", "EXPERIMENT", "NoisyTraining"]

CHANNELS = ("all", "control errors", "precision", "readout", "chains")
"""The imperfections of a device; "all" is all of them together."""

_SWEEPS = 100
_OBSERVATIONS = 20
_GAP_ROWS = 4
_LEVELS = (0.0, 1.0, 4.0, 8.0, 16.0, 32.0)
_CHANNEL_LEVEL = 8.0
_RATES = (0.003, 0.01, 0.03)

_WAYS: Mapping[str, Settings] = {
    "raw": {"lr": 0.01},
    "more-reads": {"lr": 0.01, "num_reads": 5},
    "spin-reversal": {"lr": 0.01, "num_spin_reversal_transforms": 5},
    "descent": {"lr": 0.01, "postprocess": "descent"},
    "keep-better": {"lr": 0.01, "keep_better": True},
    "sign": {"lr": 0.01, "device": False},
}
"""Ways of using the device. "sign" does without it; "keep-better" takes the better of its answer and sign(p).
All others take the answer itself."""


class _Signs:
    """Answers every problem with its start, sign(p)."""

    def solve(self, problem: IsingProblem, *, seed: int) -> Solutions:
        starts = problem.initial_states
        assert starts is not None
        return Solutions(starts, problem.energies(starts))


class _AsAnsweredRule:
    """The step as the paper writes it: the solver's answer is the step, also where sign(p) is better."""

    def work(self, layer: LayerStep) -> Work[StepResult]:
        """Find the binary step of one weight, as `qpsbgd.step.rule.StepRule.work`."""
        (part,) = layer.inputs.parts("pre-activation")
        residual = layer.state.get("residual")
        p = layer.gradient if residual is None else layer.gradient + residual
        P = to_host(p, torch.float32)
        signs = np.where(P >= 0, 1, -1).astype(np.int8)
        curvature = np.einsum("md,md->m", signs @ part.A.astype(np.float64), signs.astype(np.float64))
        posed = np.flatnonzero(P.any(axis=1) & (curvature > 0))
        spins = signs.copy()
        if len(posed):
            scales = layer.options["kappa"] * np.abs(P[posed]).sum(axis=1) / curvature[posed]
            problem = row_problems(P[posed], part.A, scales, starts=signs[posed])
            (solutions,) = yield [Request(problem, layer.seed_of(part.rows))]
            spins[posed] = solutions.best_samples
        unknown = (P == 0) & ((np.diagonal(part.A) == 0) | ~P.any(axis=1, keepdims=True))
        G = torch.from_numpy(np.where(unknown, 0, spins).astype(np.int8))
        options = {name: layer.options[name] for name in ("scale", "kappa", "domain")}
        options["num_samples"] = part.num_samples
        shown = Projection(layer.weight, part.rows, layer.gradient, p, part.A, G, options)
        return StepResult(G, False, {"residual": error_feedback(p, G.float())}, [shown])


class _AsAnswered(QPSBGD):
    """QP-SBGD with the steps that a solver answers, better or worse than sign(p)."""

    def step_rule(self, group: dict[str, Any]) -> StepRule:
        return _AsAnsweredRule()


@dataclass(frozen=True, kw_only=True)
class NoisyTraining(Classification):
    """A network trained with QUBOs solved by a noisy device.

    A run has three more metrics, which are means over some steps of the first layer (see
    `qpsbgd.diagnostics`):

    - ``gap``: the relative QUBO gap of the steps taken;
    - ``step_cdp``: the probability that a row's step, of gradient and memory, descends the full loss;
    - ``sign_cdp``: the same for sign(g).

    Attributes
    ----------
    level : float
        Factor on the published noise, `DeviceNoise`; 0 is a perfect device.
    channel : str
        One of `CHANNELS`.
    persistent : float
        As in `DeviceNoise`.
    """

    level: float
    channel: str = "all"
    persistent: float = 0.5

    version: ClassVar[int] = 1

    def device(self, seed: int) -> DeviceNoise:
        """Return the device of the run with this seed.

        Raises
        ------
        ValueError
            If there is no such channel.
        """
        noisy = replace(DeviceNoise().scaled(self.level), persistent=self.persistent, device_seed=seed)
        perfect = replace(DeviceNoise().scaled(0), persistent=self.persistent, device_seed=seed)
        kept = {
            "all": (),
            "control errors": ("h_error", "J_error"),
            "precision": ("precision_bits",),
            "readout": ("readout_error",),
            "chains": ("chain_break",),
        }
        if self.channel not in kept:
            raise ValueError(f"channel is {self.channel!r}, expected one of {', '.join(kept)}")
        if self.channel == "all":
            return noisy
        return replace(perfect, **{name: getattr(noisy, name) for name in kept[self.channel]})

    def make_optimizer(self, settings: Settings, model: nn.Module, seed: int) -> QPSBGD:
        """Make QP-SBGD that solves on the device of this seed.

        Parameters
        ----------
        settings : mapping
            ``lr``; ``num_reads``, ``num_spin_reversal_transforms`` and ``postprocess`` of the solver;
            ``keep_better``: whether sign(p) is taken where it is better, as `QPSBGD` does; ``device`` False:
            sign(p) is always taken.
        model : torch.nn.Module
            A network with binary layers.
        seed : int
            Of optimizer and device.
        """
        options: dict[str, Any] = dict(settings)
        lr, uses_device = options.pop("lr"), options.pop("device", True)
        keep_better, num_reads = options.pop("keep_better", False), options.pop("num_reads", 1)
        solver: QuboSolver = _Signs()
        if uses_device:
            annealer = NativeSolver("anneal", num_reads, _SWEEPS, num_threads=1)
            solver = NoisySolver(annealer, self.device(seed), **options)
        kind = QPSBGD if keep_better else _AsAnswered
        return kind(model.parameters(), lr=lr, seed=seed, solver=solver)

    def train(
        self, optimizer: str, settings: Settings, seed: int, samples: Samples, *, split: Split = "test"
    ) -> Run:
        """Do the run on samples in memory, watched."""
        self._check(samples)
        model = self.network.build(torch.Generator().manual_seed(2 * seed))
        stepper = self.make_optimizer(settings, model, seed)
        with Diagnostics(
            model,
            stepper,
            nn.functional.cross_entropy,
            (samples.x_train, samples.y_train),
            every=max(1, self.steps // _OBSERVATIONS),
            gap_rows=_GAP_ROWS,
        ) as diagnostics:
            run = self._fit(model, stepper, optimizer, seed, samples, split)
        first = diagnostics.summary()[0]
        seen = {"gap": first.gap, "step_cdp": first.step_cdp, "sign_cdp": first.sign_cdp}
        known = {name: value for name, value in seen.items() if value is not None}
        return replace(run, metrics={**run.metrics, **known})


def _task(name: str, description: str, ways: Mapping[str, Settings] = _WAYS, **noise: Any) -> NoisyTraining:
    return NoisyTraining(
        name=name,
        description=description,
        dataset="digits",
        network=Mlp((64, 32, 10), "relu"),
        batch_size=64,
        steps=300,
        optimizers=ways,
        grids={way: tuple({**settings, "lr": lr} for lr in _RATES) for way, settings in ways.items()},
        seeds=3,
        **noise,
    )


EXPERIMENT = Experiment(
    "noise",
    "What a noisy annealer does to the training, with and without mitigation",
    tuple(
        _task(f"noise-{level:g}", f"digits, {level:g} times the published noise", level=level)
        for level in _LEVELS
    ),
    "times the published noise",
    _LEVELS,
    ("gap", "step_cdp"),
)
"""Against the level of the noise."""

_RAW = {"raw": _WAYS["raw"]}
CHANNELS_EXPERIMENT = Experiment(
    "noise-channels",
    f"Which imperfection matters: one at a time, {_CHANNEL_LEVEL:g} times the published one",
    (
        *(
            _task(
                f"noise-{channel.replace(' ', '-')}",
                f"digits, {channel} only",
                _RAW,
                level=_CHANNEL_LEVEL,
                channel=channel,
            )
            for channel in CHANNELS[1:]
        ),
        *(
            _task(
                f"noise-{name}", f"digits, errors drawn {text}", _RAW, level=_CHANNEL_LEVEL, persistent=share
            )
            for name, text, share in (
                ("fresh", "anew each time", 0.0),
                ("persistent", "once for each device", 1.0),
            )
        ),
    ),
)
"""Each imperfection by itself."""
