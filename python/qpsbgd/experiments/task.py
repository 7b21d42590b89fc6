"""Earlier path of `qpsbgd.experiments.core.task`."""

from qpsbgd.experiments.core.task import *  # noqa: F403
