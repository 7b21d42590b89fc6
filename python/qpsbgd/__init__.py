"""Train binary neural networks by projecting each layer's gradient onto {-1, +1} through QUBO problems.

Three levels, each usable alone: `solve_ising`, `solve_qubo` and `binary_least_squares` solve batches of
problems natively, `project` computes the binary projection of one layer's gradient, and `QPSBGD` trains
networks in an ordinary torch loop. `NativeSampler` is the native solver as a dimod sampler.
"""

from typing import TYPE_CHECKING, Any

from qpsbgd import baselines, diagnostics, nn, residual, solvers
from qpsbgd._core import build_info as _build_info
from qpsbgd.optim import QPSBGD
from qpsbgd.problem import Solutions
from qpsbgd.projection import project
from qpsbgd.solvers.least_squares import LeastSquares, binary_least_squares
from qpsbgd.solvers.native import solve_ising, solve_qubo

if TYPE_CHECKING:
    from qpsbgd.solvers.sampler import NativeSampler

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
    "solvers",
]

__version__: str = _build_info()["version"]


def __getattr__(name: str) -> Any:
    # dimod takes a noticeable part of a second to import, which only the sampler needs.
    if name == "NativeSampler":
        from qpsbgd.solvers.sampler import NativeSampler

        return NativeSampler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
