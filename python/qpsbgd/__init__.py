"""Train binary neural networks by projecting each layer's gradient onto {-1, +1} through QUBO problems.

Three levels, each usable alone: `solve_ising` and `solve_qubo` solve batches of problems natively,
`project` computes the binary projection of one layer's gradient, and `QPSBGD` trains networks in an
ordinary torch loop.
"""

from qpsbgd._core import build_info as _build_info
from qpsbgd.problem import Solutions
from qpsbgd.solvers.native import solve_ising, solve_qubo

__all__ = ["Solutions", "solve_ising", "solve_qubo"]

__version__: str = _build_info()["version"]
