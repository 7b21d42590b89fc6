"""Earlier path of `qpsbgd.experiments.core.results`."""

from qpsbgd.experiments.core.results import *  # noqa: F403
