"""A solver that errs as a quantum annealer does."""

from qpsbgd.solvers.noise.device import DeviceNoise
from qpsbgd.solvers.noise.solver import NoisySolver

__all__ = ["DeviceNoise", "NoisySolver"]
