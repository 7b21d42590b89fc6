"""A solver that errs as a quantum annealer does.

A problem is programmed with errors (`program`), any solver anneals it, and its spins are read with errors
(`readout`). `DeviceNoise` (`device`) says how large the errors are, `NoisySolver` (`solver`) does the whole.
"""

from qpsbgd.solvers.noise.device import DeviceNoise
from qpsbgd.solvers.noise.solver import NoisySolver

__all__ = ["DeviceNoise", "NoisySolver"]


def __dir__() -> list[str]:
    return __all__
