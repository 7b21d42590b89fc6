"""Earlier path of `qpsbgd.optim.latent`."""

from qpsbgd.optim.latent import *  # noqa: F403
