"""Earlier path of `qpsbgd.solvers.qpu.chip.packing`."""

from qpsbgd.solvers.qpu.chip.packing import *  # noqa: F403
