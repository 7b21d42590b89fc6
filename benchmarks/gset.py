"""Members of Gset, generated: the published graphs are outputs of `rudy` with known kinds and seeds.

`rudy` (G. Rinaldi) draws from Knuth's subtractive generator of the Stanford GraphBase and builds random,
planar and toroidal graphs; this file is a reimplementation.

    python benchmarks/gset.py FOLDER           writes the files of those members that the folder lacks
    python benchmarks/gset.py FOLDER --check   compares the files there: they are equal, line by line
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

Edge = tuple[int, int]
WeightedEdge = tuple[int, int, int]


class GraphBaseRandom:
    """Knuth's generator x_n = x_{n-24} - x_{n-55} mod 2^31, as the Stanford GraphBase seeds it."""

    _MASK = (1 << 31) - 1

    def __init__(self, seed: int) -> None:
        values = [0] * 56
        previous, following = seed & self._MASK, 1
        mixed = previous
        values[55] = previous
        place = 21
        while place:
            values[place] = following
            following = (previous - following) & self._MASK
            mixed = (0x40000000 if mixed & 1 else 0) + (mixed >> 1)
            following = (following - mixed) & self._MASK
            previous = values[place]
            place = (place + 21) % 55
        self._values = values
        for _ in range(5):
            self._refill()
        self._left = 54

    def _refill(self) -> int:
        values = self._values
        for place in range(1, 25):
            values[place] = (values[place] - values[place + 31]) & self._MASK
        for place in range(25, 56):
            values[place] = (values[place] - values[place - 24]) & self._MASK
        self._left = 54
        return values[55]

    def _next(self) -> int:
        if self._left == 0:
            return self._refill()
        self._left -= 1
        return self._values[self._left + 1]

    def below(self, bound: int) -> int:
        """Uniform in [0, bound), by rejection."""
        limit = (1 << 31) - (1 << 31) % bound
        while (value := self._next()) >= limit:
            pass
        return value % bound


def _listed(n: int, edges: list[Edge]) -> list[Edge]:
    """The order in which `rudy` prints edges: by the lower end, the last one made first."""
    by_lower_end: list[list[Edge]] = [[] for _ in range(n)]
    for i, j in edges:
        by_lower_end[min(i, j)].append((min(i, j), max(i, j)))
    return [edge for made in by_lower_end for edge in reversed(made)]


def random_graph(n: int, percent: float, seed: int) -> list[Edge]:
    """`-rnd_graph`: as many different pairs as the density wants."""
    random = GraphBaseRandom(seed)
    wanted = int(n * (n - 1) * percent / 200.0 + 0.5)
    edges: dict[Edge, None] = {}
    while len(edges) < wanted:
        i, j = random.below(n), random.below(n)
        if i != j:
            edges.setdefault((min(i, j), max(i, j)))
    return _listed(n, list(edges))


def planar_graph(n: int, percent: float, seed: int) -> list[Edge]:
    """`-planar`: a random Apollonian network, of which random edges are removed."""
    random = GraphBaseRandom(seed)
    edges = [(0, 1), (0, 2), (1, 2)]
    faces = [(0, 1, 2)]
    for new in range(3, n):
        face = random.below(len(faces))
        a, b, c = faces[face]
        edges += [(a, new), (b, new), (c, new)]
        faces[face] = (a, b, new)
        faces += [(a, c, new), (b, c, new)]
    while len(edges) > percent * (3 * (n - 2)) / 100.0:
        gone = random.below(len(edges))
        last = edges.pop()
        if gone < len(edges):
            edges[gone] = last
    return _listed(n, edges)


def union(n: int, first: list[Edge], second: list[Edge]) -> list[Edge]:
    """`+`: edges of either graph."""
    by_lower_end: list[dict[Edge, None]] = [{} for _ in range(n)]
    for edge in first + second:
        by_lower_end[edge[0]].setdefault(edge)
    return [edge for made in by_lower_end for edge in reversed(made)]


def torus(rows: int, columns: int) -> list[Edge]:
    """`-toroidal_grid_2D`."""
    edges = []
    for row in range(rows):
        for column in range(columns):
            here = row * columns + column
            edges.append((here, row * columns + (column + 1) % columns))
            edges.append((here, (row + 1) % rows * columns + column))
    return _sorted_torus(edges, rows, columns)


def _sorted_torus(edges: list[Edge], rows: int, columns: int) -> list[Edge]:
    """Its printing order: the wrap of the rows first, then down, then the wrap of the columns, then right."""

    def kind(edge: Edge) -> int:
        distance = edge[1] - edge[0]
        kinds = {(rows - 1) * columns: 0, columns: 1, columns - 1: 2, 1: 3}
        return kinds[distance]

    return sorted(((min(e), max(e)) for e in edges), key=lambda e: (e[0], kind(e)))


def unit_weights(edges: list[Edge]) -> list[WeightedEdge]:
    """All weights 1."""
    return [(i, j, 1) for i, j in edges]


def signed_weights(edges: list[Edge], seed: int) -> list[WeightedEdge]:
    """`-random 0 1 seed -times 2 -plus -1`: weights +1 or -1."""
    random = GraphBaseRandom(seed)
    return [(i, j, 2 * random.below(2) - 1) for i, j in edges]


def _planar_union(n: int, seed: int, percent: float = 99.0) -> list[Edge]:
    return union(n, planar_graph(n, percent, seed), planar_graph(n, percent, seed + 1))


# Name -> (n, best known cut, edges).
MEMBERS: dict[str, tuple[int, int, Callable[[], list[WeightedEdge]]]] = {
    "G1": (800, 11624, lambda: unit_weights(random_graph(800, 6, 8001))),
    "G6": (800, 2178, lambda: signed_weights(random_graph(800, 6, 8001), 8001)),
    "G11": (800, 564, lambda: signed_weights(torus(100, 8), 8001)),
    "G14": (800, 3064, lambda: unit_weights(_planar_union(800, 8001))),
    "G18": (800, 992, lambda: signed_weights(_planar_union(800, 8001), 8001)),
    "G22": (2000, 13359, lambda: unit_weights(random_graph(2000, 1, 20001))),
    "G27": (2000, 3341, lambda: signed_weights(random_graph(2000, 1, 20001), 20001)),
    "G32": (2000, 1410, lambda: signed_weights(torus(100, 20), 20003)),
    "G35": (2000, 7687, lambda: unit_weights(_planar_union(2000, 20001))),
    "G39": (2000, 2408, lambda: signed_weights(_planar_union(2000, 20001), 20001)),
    "G40": (2000, 2400, lambda: signed_weights(_planar_union(2000, 20003), 20002)),
    "G43": (1000, 6660, lambda: unit_weights(random_graph(1000, 2, 10001))),
    "G51": (1000, 3848, lambda: unit_weights(_planar_union(1000, 10001, 100.0))),
    "G55": (5000, 10299, lambda: unit_weights(random_graph(5000, 0.1, 50001))),
    "G56": (5000, 4017, lambda: signed_weights(random_graph(5000, 0.1, 50001), 50001)),
    "G57": (5000, 3494, lambda: signed_weights(torus(100, 50), 50001)),
    "G60": (7000, 14188, lambda: unit_weights(random_graph(7000, 0.07, 70001))),
    "G62": (7000, 4872, lambda: signed_weights(torus(100, 70), 50001)),
    "G65": (8000, 5562, lambda: signed_weights(torus(100, 80), 80001)),
    "G67": (10000, 6950, lambda: signed_weights(torus(100, 100), 100001)),
}


def text(name: str) -> str:
    """A member as a file holds it."""
    n, _, make = MEMBERS[name]
    edges = make()
    return "".join([f"{n} {len(edges)}\n", *(f"{i + 1} {j + 1} {weight}\n" for i, j, weight in edges)])


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="of the files NAME.txt")
    parser.add_argument("--check", action="store_true", help="compare the files there, write none")
    arguments = parser.parse_args()
    for name in MEMBERS:
        path = arguments.folder / f"{name}.txt"
        if not arguments.check:
            if not path.exists():
                path.write_text(text(name))
                print("wrote", path)
        elif path.exists():
            print(name, "equal" if path.read_text().split() == text(name).split() else "DIFFERENT")


if __name__ == "__main__":
    _main()
