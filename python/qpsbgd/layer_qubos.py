"""Earlier path of `qpsbgd.diagnostics.posed` and `qpsbgd.diagnostics.recorder`."""

from qpsbgd.diagnostics.posed import *  # noqa: F403
from qpsbgd.diagnostics.recorder import *  # noqa: F403
