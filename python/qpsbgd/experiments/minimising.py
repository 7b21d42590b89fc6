"""Earlier path of `qpsbgd.experiments.core.minimising`."""

from qpsbgd.experiments.core.minimising import *  # noqa: F403
