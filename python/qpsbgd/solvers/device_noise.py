"""Earlier path of `qpsbgd.solvers.noise.device`."""

from qpsbgd.solvers.noise.device import *  # noqa: F403
