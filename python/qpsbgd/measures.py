"""Earlier path of `qpsbgd.diagnostics.measures`."""

from qpsbgd.diagnostics.measures import *  # noqa: F403
