"""Earlier path of `qpsbgd.step.published`."""

from qpsbgd.step.published import *  # noqa: F403
