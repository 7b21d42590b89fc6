"""Earlier path of `qpsbgd.data.graphs`."""

from qpsbgd.data.graphs import *  # noqa: F403
