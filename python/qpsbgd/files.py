"""Earlier path of `qpsbgd.data.files`."""

from qpsbgd.data.files import *  # noqa: F403
