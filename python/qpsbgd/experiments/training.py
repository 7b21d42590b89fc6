"""Earlier path of `qpsbgd.experiments.core.training`."""

from qpsbgd.experiments.core.training import *  # noqa: F403
