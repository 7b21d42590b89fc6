"""Earlier path of `qpsbgd.experiments.core.runner` and `qpsbgd.experiments.core.store`."""

from qpsbgd.experiments.core.runner import *  # noqa: F403
from qpsbgd.experiments.core.store import *  # noqa: F403
