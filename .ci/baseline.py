"""Check that one build runs on every x86-64: newer instructions stand only in kernels chosen at run time.

    python .ci/baseline.py build/ctest
    python .ci/baseline.py build/wheel dist/qpsbgd-0.1.0-cp311-cp311-manylinux_2_28_x86_64.whl

Two things are looked at. Objects other than those of kernels/isa/ hold no instruction beyond the baseline.
Those of kernels/isa/ define no weak function, which the linker might take for the whole program.

A wheel of that build, which was linked with the map `_core.map`, is looked at too: its extension holds such
instructions only where the linker has put objects of kernels/isa/.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

# AVX and later start with v, or use masks and tiles. The others are of BMI, LZCNT, POPCNT, SSE3 to SSE4.2.
# tzcnt is left out: compilers write it for bsf, of which it is an encoding.
BEYOND = re.compile(
    r"(v(?!er[rw])\w+|k(and|andn|or|xor|xnor|mov|not|test|ortest|shift[lr]|add|unpck)\w*|tile\w+|tdp\w+|lzcnt|popcnt|"
    r"andn|bextr|bls\w+|bzhi|pdep|pext|rorx|s[ah][lr]x|mulx|crc32\w*|pshufb|pabs[bwd]|ph(add|sub)\w+|pmaddubsw|psign[bwd]|"
    r"palignr|blendv?p[sd]|pblend\w+|round[sp][sd]|pmulld|pmulhrsw|pm(in|ax)(sb|sd|uw|ud)|ptest|pinsr[bdq]|"
    r"pextr[bdq]|pmov[sz]x\w+|insertps|extractps|dpp[sd]|pcmpeqq|pcmpgtq|packusdw|h(add|sub)p[sd]|addsubp[sd]|movddup|"
    r"movs[hl]dup|lddqu|phminposuw|mpsadbw)$"
)
DISPATCHED = ("avx2.cpp.o", "avx512.cpp.o", "amx.cpp.o")


def run(*command: str | Path) -> list[str]:
    """Lines that a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def newer_instructions(object_file: Path) -> dict[str, set[str]]:
    """Functions of an object and the instructions beyond the baseline in them."""
    found: dict[str, set[str]] = {}
    function = ""
    for line in run("objdump", "-d", "-C", "--no-show-raw-insn", object_file):
        if line.endswith(">:"):
            function = line.partition("<")[2][:-2]
            continue
        _, tab, instruction = line.partition("\t")
        name = instruction.split(maxsplit=1)[0] if tab and instruction.strip() else ""
        if BEYOND.match(name):
            found.setdefault(function, set()).add(name)
    return found


def weak_functions(object_file: Path) -> list[str]:
    """Lines of nm about functions of an object that other objects may define too."""
    return [line for line in run("nm", "-C", "--defined-only", object_file) if re.search(r" [Ww] ", line)]


def places_of_kernels(link_map: Path) -> list[range]:
    """Addresses of the functions that come from dispatched objects."""
    pattern = re.compile(r"^ \.text\S*\s+0x(\w+)\s+0x(\w+)\s+\S*?([\w.]+)\)?$", re.MULTILINE)
    return [
        range(int(start, 16), int(start, 16) + int(size, 16))
        for start, size, name in pattern.findall(link_map.read_text())
        if name in DISPATCHED and int(start, 16)
    ]


def faults_of_wheel(wheel: Path, link_map: Path) -> list[str]:
    """Newer instructions in a wheel's extension that are not in kernels chosen at run time."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if Path(name).match("qpsbgd/_core*.so")]
        code = run("objdump", "-d", "--no-show-raw-insn", archive.extract(name, folder))
    kernels = places_of_kernels(link_map)
    faults, seen = [], 0
    for line in code:
        address, tab, instruction = line.partition(":\t")
        if tab and BEYOND.match(instruction.partition(" ")[0].strip()):
            seen += 1
            if not any(int(address, 16) in place for place in kernels):
                faults.append(f"{wheel.name}: {address.strip()}: {instruction}")
    assert seen > 1000, "if there are so few, the pattern is wrong"
    return faults


def main() -> None:
    """Look at the objects of a build, and at a wheel of it; exit with a list of faults."""
    build, *wheels = map(Path, sys.argv[1:])
    objects = sorted(build.glob("CMakeFiles/qpsbgd_native.dir/**/*.o"))
    dispatched = [path for path in objects if path.name in DISPATCHED]
    assert len(dispatched) >= 2, f"{build} holds no build for x86-64"
    assert len(objects) > 40
    # If these hold none, the pattern is wrong.
    assert all(newer_instructions(path) for path in dispatched)
    faults = [
        f"{path.name}: {name}: {', '.join(sorted(used))}"
        for path in objects
        if path not in dispatched
        for name, used in newer_instructions(path).items()
    ]
    faults += [f"{path.name} defines {line[17:]}" for path in dispatched for line in weak_functions(path)]
    for wheel in wheels:
        faults += faults_of_wheel(wheel, build / "_core.map")
    if faults:
        sys.exit("\n".join(faults))
    print(f"{len(objects) - len(dispatched)} objects run on every x86-64")
    for wheel in wheels:
        print(f"{wheel.name} too")


if __name__ == "__main__":
    main()
