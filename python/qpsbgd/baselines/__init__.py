"""The usual ways to train binary networks, for comparison with QP-SBGD.

They take the same parameters, step binary weights by their own rule, and give all other parameters the same
Adam as `qpsbgd.QPSBGD` does.
"""

from qpsbgd.extras import needed_for

with needed_for("qpsbgd.baselines", "torch", "torch"):
    import torch  # noqa: F401

from qpsbgd.baselines.binaryconnect import BinaryConnect
from qpsbgd.baselines.bop import Bop
from qpsbgd.baselines.proxquant import ProxQuant
from qpsbgd.baselines.signsgd import SignSGD

__all__ = ["BinaryConnect", "Bop", "ProxQuant", "SignSGD"]


def __dir__() -> list[str]:
    return __all__
