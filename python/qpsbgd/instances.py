"""Earlier path of `qpsbgd.data.instances`."""

from qpsbgd.data.instances import *  # noqa: F403
