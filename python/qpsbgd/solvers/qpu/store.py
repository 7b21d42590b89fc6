"""Earlier path of `qpsbgd.solvers.qpu.chip.store`."""

from qpsbgd.solvers.qpu.chip.store import *  # noqa: F403
