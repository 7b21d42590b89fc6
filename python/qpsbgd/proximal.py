"""Earlier path of `qpsbgd.step.projected`."""

from qpsbgd.step.projected import *  # noqa: F403
