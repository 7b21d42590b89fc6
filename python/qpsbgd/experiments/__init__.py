"""Experiments as data: task, network, optimizers with their settings.

`qpsbgd.experiments.training` runs them; it alone needs torch.
"""

from qpsbgd.experiments.catalogue import EXPERIMENTS, OPTIMIZERS, Experiment, Network, Setting
from qpsbgd.experiments.results import CurvePoint, Result, Run

__all__ = [
    "EXPERIMENTS",
    "OPTIMIZERS",
    "CurvePoint",
    "Experiment",
    "Network",
    "Result",
    "Run",
    "Setting",
]
