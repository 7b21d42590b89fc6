"""Earlier path of `qpsbgd.solvers.noise.device`, `program` and `readout`."""

from qpsbgd.solvers.noise.device import DeviceNoise
from qpsbgd.solvers.noise.program import ControlErrors, Couplers, program
from qpsbgd.solvers.noise.readout import misread

__all__ = ["ControlErrors", "Couplers", "DeviceNoise", "misread", "program"]
