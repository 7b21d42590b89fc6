"""Earlier path of `qpsbgd.data.progress`."""

from qpsbgd.data.progress import *  # noqa: F403
