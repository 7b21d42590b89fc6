"""Measure how long imports and commands take to start: `python benchmarks/start_up.py`.

Each line is the processor time of a fresh interpreter, the least of seven runs in turns. The bare interpreter
and numpy are measured beside the package: their time is a part of the others'.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

RUNS = 7


def processor_name() -> str:
    """Name of the processor where Linux tells it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def processor_seconds(command: list[str]) -> float:
    """User and system time of a command that succeeds."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return usage.ru_utime + usage.ru_stime


def commands(folder: Path) -> dict[str, list[str]]:
    """What is measured, by the name that the table gives it."""
    graph = folder / "triangle.rud"
    graph.write_text("3 3\n1 2 1\n2 3 1\n1 3 1\n", encoding="utf-8")
    qpsbgd = str(Path(sys.executable).with_name("qpsbgd"))
    python = [sys.executable, "-c"]
    return {
        "python -c pass": [*python, "pass"],
        "import numpy": [*python, "import numpy"],
        "import qpsbgd": [*python, "import qpsbgd"],
        "from qpsbgd import solve_ising": [*python, "from qpsbgd import solve_ising"],
        "qpsbgd --version": [qpsbgd, "--version"],
        "qpsbgd --help": [qpsbgd, "--help"],
        "qpsbgd solve triangle.rud": [qpsbgd, "solve", str(graph)],
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        measured = commands(Path(folder))
        least = dict.fromkeys(measured, float("inf"))
        for _ in range(RUNS):
            for name, command in measured.items():
                least[name] = min(least[name], processor_seconds(command))
    print(f"{processor_name()}, Python {sys.version.split()[0]}, processor seconds, least of {RUNS} runs")
    for name, seconds in least.items():
        print(f"{name:34} {seconds:.3f}")


if __name__ == "__main__":
    main()
