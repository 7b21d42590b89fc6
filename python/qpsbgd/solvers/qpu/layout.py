"""Earlier path of `qpsbgd.solvers.qpu.chip.layout`."""

from qpsbgd.solvers.qpu.chip.layout import *  # noqa: F403
