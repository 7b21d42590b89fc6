"""What a training's projections are like: agreement with the full gradient, gaps of solvers, QUBOs posed."""

from qpsbgd.diagnostics.watch import (
    NOTE,
    Diagnostics,
    LayerRecord,
    LayerSummary,
    QuboGap,
    cdp,
    cosine,
    full_gradient,
    qubo_gap,
    sign_agreement,
)

__all__ = [
    "NOTE",
    "Diagnostics",
    "LayerRecord",
    "LayerSummary",
    "QuboGap",
    "cdp",
    "cosine",
    "full_gradient",
    "qubo_gap",
    "sign_agreement",
]
