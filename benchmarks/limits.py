"""How far the native kernels are from the machine's limits: builds `qpsbgd_limits`, runs it, prints a table.

    python benchmarks/limits.py                  this machine's widest instruction set
    QPSBGD_ISA=avx2 python benchmarks/limits.py  another one

One core. A kernel's fraction is the time that the binding limit allows (arithmetic, loads and stores in L1,
or reading a matrix of so many KiB over and over) divided by the time that the kernel takes. Rates are those
of registers as wide as the kernel's. The last two columns say what takes the most of that time, as far as it
is known: the limit itself, the operations that the kernel issues with its instruction set, or its decisions,
each of which waits for the one before.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from report import markdown

REPOSITORY = Path(__file__).resolve().parents[1]
BUILD = REPOSITORY / "build" / "limits"


def tool(name: str) -> str:
    """A program beside this interpreter, or on the path."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise SystemExit(f"{name} was not found: pip install {name}")
    return found


def build(folder: Path) -> Path:
    """Compile the program; where it is."""
    configure = [tool("cmake"), "-S", str(REPOSITORY), "-B", str(folder), "-DCMAKE_BUILD_TYPE=Release"]
    options = ["-DQPSBGD_PYTHON=OFF", "-DQPSBGD_TESTS=OFF", "-DQPSBGD_BENCHMARKS=ON"]
    compile_it = [tool("cmake"), "--build", str(folder), "--target", "qpsbgd_limits", "--parallel"]
    for command in ([*configure, *options], [*compile_it, str(os.cpu_count() or 1)]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return folder / "qpsbgd_limits"


def peak_lines(peaks: dict[str, float]) -> list[tuple[str, str]]:
    units, places = ("float32", "float64", "int16", "int16 maxima"), ("L1", "L2", "memory")
    lines = [
        (unit if " " in unit else f"{unit} operations", f"{peaks[unit] / 1e9:.0f} G/s") for unit in units
    ]
    return lines + [(f"{place} loads", f"{peaks[place] / 1e9:.0f} GB/s") for place in places]


def decision_lines(decisions: dict[str, float], clock: float) -> list[tuple[str, str]]:
    """How long one decision of a read waits for the one before, in time and in cycles."""
    return [
        (f"a decision of {search}", f"{seconds_text(seconds)}, {seconds * clock:.0f} cycles")
        for search, seconds in decisions.items()
    ]


def seconds_text(seconds: float) -> str:
    for factor, unit in ((1e9, "ns"), (1e6, "µs"), (1e3, "ms")):
        if seconds * factor < 1000:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s"


def kernel_line(kernel: dict[str, Any]) -> tuple[str, ...]:
    seconds = kernel["seconds"]
    limit, reason = (f"{kernel[key] / seconds:.0%}" for key in ("bound_seconds", "reason_seconds"))
    name, size = kernel["name"], kernel["size"]
    return name, size, seconds_text(seconds), kernel["bound"], limit, kernel["reason"], reason


def main() -> None:
    parser = argparse.ArgumentParser(description="The kernels' fractions of the machine's limits.")
    parser.add_argument("--build", type=Path, default=BUILD, metavar="FOLDER", help="where to compile")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the measured figures there, as JSON")
    parser.add_argument("--kernels", default="", metavar="TEXT", help="only those with this in their names")
    options = parser.parse_args()
    command = [str(build(options.build)), options.kernels]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise SystemExit(run.stderr)
    measured = json.loads(run.stdout)
    if options.out is not None:
        options.out.write_text(run.stdout, encoding="utf-8")
    bits, clock = 8 * measured["vector_bytes"], measured["clock"]
    print(f"Instruction set {measured['instruction_set']}, registers of {bits} bits, one core", end=" ")
    print(f"at {clock / 1e9:.1f} GHz.\n")
    lines = peak_lines(measured["peaks"]) + decision_lines(measured["decisions"], clock)
    print(markdown(("limit", "measured"), lines), end="\n\n")
    headings = ("kernel", "size", "time", "bound by", "of the limit", "what takes most", "of the time")
    print(markdown(headings, (kernel_line(kernel) for kernel in measured["kernels"])))


if __name__ == "__main__":
    main()
