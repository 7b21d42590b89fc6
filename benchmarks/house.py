"""Draw the house of the code: `python benchmarks/house.py [--out docs/images/house.svg]`.

Rooms and their storeys are those of the first import contract in `pyproject.toml`, and of the check of
includes in `cpp/tests`. A line is what the sources really import or include, and wider the more files do so.
Rooms have a ground of their own and lines are grey, so it can be read on light and dark pages.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "python" / "qpsbgd"

PURPOSES = {
    "cli": "the program qpsbgd",
    "report": "finished runs as a page",
    "experiments": "tasks, tuning, kept runs",
    "baselines": "to compare with",
    "diagnostics": "of steps",
    "export": "networks in bits",
    "testing": "of own solvers",
    "nn": "layers",
    "optim": "gather, work, commit",
    "projection": "one layer by itself",
    "step": "the mathematics",
    "capture": "samples behind a gradient",
    "solvers": "native, dimod, QPU, noisy",
    "problem": "Ising problems, solutions",
    "data": "files, data sets",
    "extras": "what is optional",
    "bindings": "the module _core",
    "batch": "shares a batch between threads",
    "search": "one read: anneal, tabu, descent",
    "layer": "Gram matrices, projections",
    "kernels": "inner loops of each instruction set",
    "base": "memory, threads, random numbers",
    "include": "public headers: all that bindings see",
}
PLACES = {
    "cli": (0.5, 0.24),
    "report": (0.24, 0.22),
    "experiments": (0.6, 0.26),
    "baselines": (0.13, 0.2),
    "diagnostics": (0.38, 0.2),
    "export": (0.62, 0.2),
    "testing": (0.87, 0.2),
    "nn": (0.18, 0.22),
    "optim": (0.64, 0.24),
    "projection": (0.8, 0.22),
    "step": (0.56, 0.24),
    "capture": (0.22, 0.24),
    "solvers": (0.76, 0.26),
    "problem": (0.82, 0.24),
    "data": (0.4, 0.22),
    "batch": (0.3, 0.38),
    "search": (0.3, 0.38),
    "layer": (0.76, 0.3),
}
"""Middle and width of a room as parts of the picture's width; the others are as wide as the house."""
CPP_STOREYS = [["bindings"], ["batch"], ["search", "layer"], ["kernels"], ["base"], ["include"]]

WIDTH, STOREY, HEIGHT, ROOF = 960, 80, 46, 84
GREY, PYTHON, CPP = "#7f868f", "#2f6690", "#9a5b1f"

Edges = Counter[tuple[str, str]]


def python_storeys() -> list[list[str]]:
    """Rooms of the Python package from the roof down, as the import contract has them."""
    import tomllib  # Python 3.11

    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = contracts["contracts"][0]["layers"]
    return [layer.split(" | ") for layer in layers if layer != "__main__"]


def imported_names(path: Path) -> Iterator[str]:
    """Yield dotted names that a Python file imports, those inside of functions and for types too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def python_imports(rooms: set[str]) -> Edges:
    """Count the files of a room that import from another; `_core` is the room of the bindings."""
    edges: Edges = Counter()
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).with_suffix("").parts[0]
        parts = {tuple(name.split(".")[:2]) for name in imported_names(path)}
        used = {part[1] for part in parts if part[0] == "qpsbgd" and len(part) == 2}
        used = {"bindings" if name == "_core" else name for name in used}
        edges.update((room, other) for other in used & rooms if room in rooms and other != room)
    return edges


def cpp_includes(rooms: set[str]) -> Edges:
    """Count the files of a room that include headers of another."""
    edges: Edges = Counter()
    for room in sorted(rooms):
        folder = room if room in ("bindings", "include") else f"src/{room}"
        for path in sorted((ROOT / "cpp" / folder).rglob("*.*")):
            used = set(re.findall(r'#include "(\w+)/', path.read_text(encoding="utf-8")))
            used = {"include" if name == "qpsbgd" else name for name in used}
            edges.update((room, other) for other in used & rooms if other != room)
    return edges


def imports() -> Edges:
    """All lines of the picture: room, room that it imports from, number of files."""
    python = {room for storey in python_storeys() for room in storey}
    cpp = {room for storey in CPP_STOREYS for room in storey}
    return python_imports(python | {"bindings"}) + cpp_includes(cpp)


class Plan:
    """Where each room is."""

    def __init__(self) -> None:
        storeys = [*python_storeys(), *CPP_STOREYS]
        self.ground = len(storeys) - len(CPP_STOREYS)
        self.level = {room: number for number, storey in enumerate(storeys) for room in storey}
        self.left: dict[str, float] = {}
        self.width: dict[str, float] = {}
        for room in self.level:
            middle, width = PLACES.get(room, (0.5, 0.94))
            self.width[room] = width * WIDTH
            self.left[room] = middle * WIDTH - self.width[room] / 2
        self.height = self.top_of(len(storeys) - 1) + HEIGHT + 20

    def top_of(self, level: int) -> float:
        """Upper edge of a storey; below the ground is a gap more."""
        return ROOF + level * STOREY + (40 if level >= self.ground else 0)

    def top(self, room: str) -> float:
        return self.top_of(self.level[room])

    def middle(self, room: str) -> float:
        return self.left[room] + self.width[room] / 2


def line(plan: Plan, start: str, end: str, files: int, x1: float, x2: float) -> str:
    """Draw what one room takes from another."""
    y1, y2 = plan.top(start) + HEIGHT, plan.top(end)
    bend = (y2 - y1) / 2
    return (
        f'<path data-from="{start}" data-to="{end}" stroke-width="{0.8 + 0.45 * files**0.5:.1f}" '
        f'd="M{x1:.0f} {y1:.0f}C{x1:.0f} {y1 + bend:.0f} {x2:.0f} {y2 - bend:.0f} {x2:.0f} {y2:.0f}"/>'
    )


def lines(plan: Plan, edges: Edges) -> list[str]:
    """Draw all lines; those of a room leave and reach it side by side, ordered so that few cross."""
    leaving: dict[str, list[str]] = {}
    reaching: dict[str, list[str]] = {}
    for start, end in edges:
        leaving.setdefault(start, []).append(end)
        reaching.setdefault(end, []).append(start)

    def place(room: str, other: str, others: list[str]) -> float:
        ordered = sorted(others, key=lambda name: (plan.middle(name), plan.level[name]))
        return plan.left[room] + plan.width[room] * (ordered.index(other) + 1) / (len(ordered) + 1)

    return [
        line(plan, start, end, files, place(start, end, leaving[start]), place(end, start, reaching[end]))
        for (start, end), files in sorted(edges.items())
    ]


def room_of(plan: Plan, room: str) -> str:
    """Draw a room with its name and what it is for."""
    x, y, left, width = plan.middle(room), plan.top(room), plan.left[room], plan.width[room]
    colour = CPP if plan.level[room] >= plan.ground else PYTHON
    return (
        f'<g><rect x="{left:.0f}" y="{y:.0f}" width="{width:.0f}" height="{HEIGHT}" rx="5" '
        f'fill="{colour}"/><text x="{x:.0f}" y="{y + 20:.0f}" class="name">{room}</text>'
        f'<text x="{x:.0f}" y="{y + 36:.0f}">{PURPOSES[room]}</text></g>'
    )


def picture() -> str:
    """Return the SVG."""
    plan, edges = Plan(), imports()
    ground = plan.top_of(plan.ground) - 38
    eaves, ridge = ROOF - 14, WIDTH / 2
    roof = f'<path d="M20 {eaves}L{ridge:.0f} 8L{WIDTH - 20} {eaves}Z" stroke-width="2"/>'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {plan.height:.0f}" role="img">',
            "<title>The rooms of the package, and what each imports from those below it</title>",
            "<style>text{font:12px sans-serif;text-anchor:middle;fill:#fff}",
            f".name{{font-weight:bold;font-size:15px}}.grey{{fill:{GREY}}}</style>",
            f'<g fill="none" stroke="{GREY}" stroke-opacity="0.75">',
            roof,
            *lines(plan, edges),
            f'<path d="M0 {ground:.0f}H{WIDTH}" stroke-dasharray="7 5" stroke-width="2"/>',
            "</g>",
            f'<text x="{WIDTH / 2:.0f}" y="{ROOF - 26}" class="grey name">qpsbgd</text>',
            f'<text x="44" y="{ground - 7:.0f}" class="grey">Python</text>',
            f'<text x="32" y="{ground + 17:.0f}" class="grey">C++</text>',
            *(room_of(plan, room) for room in plan.level),
            "</svg>\n",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "house.svg")
    target = parser.parse_args().out
    target.write_text(picture(), encoding="utf-8")
    print(target)


if __name__ == "__main__":
    main()
