"""Earlier path of `qpsbgd.step.inputs`."""

from qpsbgd.step.inputs import *  # noqa: F403
