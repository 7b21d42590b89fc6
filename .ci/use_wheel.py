"""Use an installed wheel as a stranger does: the solver with numpy alone, and the command line."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> None:
    """Import, solve, compare with brute force, run the commands."""
    os.chdir(tempfile.mkdtemp())
    import qpsbgd

    assert Path(qpsbgd.__file__).is_relative_to(sys.prefix), f"{qpsbgd.__file__} is not the installed package"
    import numpy as np

    J = np.triu(np.random.default_rng(0).normal(size=(16, 16)), 1)
    found = qpsbgd.solve_ising(None, J, seed=0)
    states = 1 - 2 * (np.arange(2**16)[:, None] >> np.arange(16) & 1)
    lowest = np.einsum("bi,bi->b", states @ J, states).min()
    assert abs(found.best_energies[0] - lowest) < 1e-9, (found.best_energies, lowest)
    assert found.info["proven_optimal"]
    assert not {"torch", "dimod"} & set(sys.modules)

    large = np.random.default_rng(1).normal(size=(300, 300))
    for method in ("descent", "tabu", "anneal"):
        answer = qpsbgd.solve_ising(None, large, method=method, num_reads=2, seed=0)
        spins = answer.best_samples[0].astype(float)
        assert np.isclose(answer.best_energies[0], spins @ large @ spins)

    program = Path(sys.executable).with_name("qpsbgd" + (".exe" if os.name == "nt" else ""))
    Path("triangle.rud").write_text("3 3\n1 2 1\n2 3 1\n1 3 1\n")
    for arguments in (["--version"], ["info"], ["solve", "triangle.rud"]):
        print(subprocess.run([program, *arguments], check=True, capture_output=True, text=True).stdout)
    print("the wheel works")


if __name__ == "__main__":
    main()
