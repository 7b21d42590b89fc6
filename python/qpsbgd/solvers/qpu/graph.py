"""Earlier path of `qpsbgd.solvers.qpu.chip.graph`."""

from qpsbgd.solvers.qpu.chip.graph import *  # noqa: F403
