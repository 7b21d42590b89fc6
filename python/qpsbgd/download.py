"""Earlier path of `qpsbgd.data.download`."""

from qpsbgd.data.download import *  # noqa: F403
