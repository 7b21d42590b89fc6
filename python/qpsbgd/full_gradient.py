"""Earlier path of `qpsbgd.diagnostics.full_gradient`."""

from qpsbgd.diagnostics.full_gradient import *  # noqa: F403
