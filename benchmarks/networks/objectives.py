"""How low solvers come on the QUBOs that a training meets, all on the same ones."""

from __future__ import annotations

import numpy as np

from qpsbgd.problem import IsingProblem, Solutions
from qpsbgd.solvers.protocol import QuboSolver

__all__ = ["ComparedSolver"]


class ComparedSolver:
    """Answer by one solver, and ask others about every problem too; a `QuboSolver`.

    Attributes
    ----------
    ratios : dict
        For each other solver and each batch of problems: its mean energy over that of the answer, which is
        negative. The constant of the objective is left out of both.
    """

    def __init__(self, answers: QuboSolver, others: dict[str, QuboSolver]) -> None:
        self._answers, self._others = answers, others
        self.ratios: dict[str, list[float]] = {name: [] for name in others}

    def solve(self, problem: IsingProblem, *, seed: int) -> Solutions:
        """Solve, and compare."""
        answer = self._answers.solve(problem, seed=seed)
        own = float(np.mean(answer.best_energies))
        for name, solver in self._others.items():
            found = solver.solve(problem, seed=seed).best_energies
            self.ratios[name].append(float(np.mean(found)) / own)
        return answer
