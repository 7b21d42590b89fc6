"""Earlier path of `qpsbgd.solvers.dimod`."""

from qpsbgd.solvers.dimod import *  # noqa: F403
