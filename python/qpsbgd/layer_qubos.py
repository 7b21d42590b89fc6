"""Earlier path of `qpsbgd.diagnostics.posed`."""

from qpsbgd.diagnostics.posed import *  # noqa: F403
