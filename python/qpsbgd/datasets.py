"""Earlier path of `qpsbgd.data.datasets`."""

from qpsbgd.data.datasets import *  # noqa: F403
