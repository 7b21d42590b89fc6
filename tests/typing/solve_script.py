"""A user's script with the solver: `make lint` checks its types with mypy and pyright, strictly.

Each ignored error has to be one: an error that is not reported is reported as an unused ignore.
"""

import numpy as np
import numpy.typing as npt

from qpsbgd import (
    LeastSquares,
    NativeSampler,
    Solutions,
    binary_least_squares,
    solve_ising,
    solve_qubo,
    solve_stream,
)
from qpsbgd.problem import IsingProblem, ising_problem
from qpsbgd.solvers import NativeSolver, QuboSolver
from qpsbgd.testing import check_solver


class Descent:
    """A solver of one's own: no base class is needed."""

    def solve(self, problem: IsingProblem, *, seed: int) -> Solutions:
        draw = np.random.default_rng(seed)
        spins = draw.choice(np.array([-1, 1], dtype=np.int8), (problem.num_problems, 1, problem.num_spins))
        for _sweep in range(20):
            for k in range(problem.num_spins):
                flipped = spins.copy()
                flipped[:, :, k] *= -1
                better = problem.energies(flipped) < problem.energies(spins)
                spins[:, :, k] = np.where(better, flipped[:, :, k], spins[:, :, k])
        return Solutions.of(problem, spins)


def main() -> None:
    random = np.random.default_rng(0)
    J: npt.NDArray[np.float64] = random.normal(size=(8, 8))
    solutions: Solutions = solve_ising(None, J, method="tabu", num_reads=2, seed=0)
    energies: npt.NDArray[np.float64] = solutions.best_energies
    samples: npt.NDArray[np.int8] = solve_qubo(J, seed=0).best_samples
    print(energies, samples.shape, solutions)
    solver: QuboSolver = Descent()
    check_solver(solver, largest=6)
    problems = (ising_problem(None, J) for _ in range(2))
    print(
        [one.best_energies[0] for one in solve_stream(problems, solver=NativeSolver(num_threads=1), seed=0)]
    )
    fitted: LeastSquares = binary_least_squares(J, J[:, 0], seed=0)
    print(fitted.residual_norms, NativeSampler().parameters)
    try:
        solve_ising(None, J, method="annealing")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    except ValueError as error:
        print(error)


if __name__ == "__main__":
    main()
