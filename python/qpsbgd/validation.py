"""Earlier path of `qpsbgd.problem.checks`."""

from qpsbgd.problem.checks import *  # noqa: F403
