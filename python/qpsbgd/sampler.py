"""Earlier path of `qpsbgd.solvers.sampler`."""

from qpsbgd.solvers.sampler import *  # noqa: F403
