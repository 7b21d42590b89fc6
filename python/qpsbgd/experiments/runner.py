"""Earlier path of `qpsbgd.experiments.core.runner`."""

from qpsbgd.experiments.core.runner import *  # noqa: F403
