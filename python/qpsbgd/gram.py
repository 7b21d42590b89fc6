"""Earlier path of `qpsbgd.step.gram`."""

from qpsbgd.step.gram import *  # noqa: F403
