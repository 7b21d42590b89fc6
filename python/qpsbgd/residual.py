"""Earlier path of `qpsbgd.optim.residual`."""

from qpsbgd.optim.residual import *  # noqa: F403
