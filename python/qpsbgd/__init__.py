"""Train binary neural networks by projecting each layer's gradient onto {-1, +1} through QUBO problems.

Three levels, each usable alone: `solve_ising` and `solve_qubo` solve batches of problems natively,
`project` computes the binary projection of one layer's gradient, and `QPSBGD` trains networks in an
ordinary torch loop.
"""

from qpsbgd import baselines, nn, solvers
from qpsbgd._core import build_info as _build_info
from qpsbgd.optim import QPSBGD
from qpsbgd.problem import Solutions
from qpsbgd.projection import project
from qpsbgd.solvers.native import solve_ising, solve_qubo

__all__ = ["QPSBGD", "Solutions", "baselines", "nn", "project", "solve_ising", "solve_qubo", "solvers"]

__version__: str = _build_info()["version"]
