"""Train binary neural networks by projecting each layer's gradient onto {-1, +1} through QUBO problems.

Three levels, each usable alone: `solve_ising`, `solve_qubo` and `binary_least_squares` solve batches of
problems natively, `project` computes the binary projection of one layer's gradient, and `QPSBGD` trains
networks in an ordinary torch loop. `NativeSampler` is the native solver as a dimod sampler.

A name is imported when it is first used. The solver needs numpy alone.
"""

from typing import TYPE_CHECKING

from qpsbgd._core import build_info as _build_info
from qpsbgd.extras import lazy_names as _lazy_names

if TYPE_CHECKING:
    from qpsbgd import baselines, diagnostics, nn, residual, solvers
    from qpsbgd.optim import QPSBGD
    from qpsbgd.problem import Solutions
    from qpsbgd.projection import project
    from qpsbgd.solvers.least_squares import LeastSquares, binary_least_squares
    from qpsbgd.solvers.native import solve_ising, solve_qubo
    from qpsbgd.solvers.sampler import NativeSampler
    from qpsbgd.solvers.stream import solve_stream

__all__ = [
    "QPSBGD",
    "LeastSquares",
    "NativeSampler",
    "Solutions",
    "baselines",
    "binary_least_squares",
    "diagnostics",
    "nn",
    "project",
    "residual",
    "solve_ising",
    "solve_qubo",
    "solve_stream",
    "solvers",
]

__version__: str = _build_info()["version"]

__getattr__, __dir__ = _lazy_names(
    __name__,
    {
        "QPSBGD": "qpsbgd.optim",
        "LeastSquares": "qpsbgd.solvers.least_squares",
        "NativeSampler": "qpsbgd.solvers.sampler",
        "Solutions": "qpsbgd.problem",
        "baselines": "qpsbgd.baselines",
        "binary_least_squares": "qpsbgd.solvers.least_squares",
        "data": "qpsbgd.data",
        "diagnostics": "qpsbgd.diagnostics",
        "experiments": "qpsbgd.experiments",
        "nn": "qpsbgd.nn",
        "optim": "qpsbgd.optim",
        "project": "qpsbgd.projection",
        "residual": "qpsbgd.residual",
        "solve_ising": "qpsbgd.solvers.native",
        "solve_qubo": "qpsbgd.solvers.native",
        "solve_stream": "qpsbgd.solvers.stream",
        "solvers": "qpsbgd.solvers",
    },
)
