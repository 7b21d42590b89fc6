"""Figures of a training's steps: agreement with the full gradient, gaps of solvers, the QUBOs posed."""

from qpsbgd.extras import needed_for

with needed_for("qpsbgd.diagnostics", "torch", "torch"):
    import torch  # noqa: F401

from qpsbgd.diagnostics.full_gradient import full_gradient
from qpsbgd.diagnostics.measures import QuboGap, cdp, cosine, qubo_gap, sign_agreement
from qpsbgd.diagnostics.posed import SolvedRows, qubo_matrix, solved_rows
from qpsbgd.diagnostics.recorder import QuboRecorder, draw_qubos
from qpsbgd.diagnostics.summary import NOTE, LayerRecord, LayerSummary
from qpsbgd.diagnostics.watch import Diagnostics

__all__ = [
    "NOTE",
    "Diagnostics",
    "LayerRecord",
    "LayerSummary",
    "QuboGap",
    "QuboRecorder",
    "SolvedRows",
    "cdp",
    "cosine",
    "draw_qubos",
    "full_gradient",
    "qubo_gap",
    "qubo_matrix",
    "sign_agreement",
    "solved_rows",
]


def __dir__() -> list[str]:
    return __all__
