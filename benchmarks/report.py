"""Turn the JSON of `make bench` into one Markdown table of ratios and plots of energy against time.

python benchmarks/report.py build/benchmarks.json              prints the table
python benchmarks/report.py build/benchmarks.json --out docs   writes docs/benchmarks.md and docs/images/
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

PACKAGES = (
    "dwave-samplers",
    "dwave-neal",
    "openjij",
    "simulated-bifurcation",
    "numpy",
    "scipy",
    "torch",
)
SAME_ENERGY = 1e-9  # relative difference that is rounding
NOTHING = "–"

INTRODUCTION = """\
# Benchmarks

Ratios of times, ours against a peer's, in one run on one machine ({machine}), one thread each. A ratio of
100 means that the peer takes 100 times as long as we do; below 1 the peer is faster. Times are per unit of
work (row, attempt, problem, call, step), medians over repetitions.

- *Layer problems* W1 and W2 (d=128 n=64 m=128 and d=784 n=128 m=256): X ~ N(0,1), V = XW', W ~ N(0,1),
  float32; minimise ‖v_j - XG‖² over G in {{-1,+1}}^d. Ours is timed end to end, from X and V to spins, over
  all m rows. Peers answer the first {rows} rows and are handed couplings, fields and dimod models ready made,
  except in "neal as published", where making the model counts; slow peers answer a quarter of the rows. Their
  time is the mean over those rows.
- *Energies* are means, over the rows that the peer answered, of the best energy of every row, computed from
  the spins in float64; ours are also means over seeds. "Ours" is the cheapest of our budgets whose mean
  energy is not worse. Where none of our budgets reaches the peer, the line says so.
- *Budgets* are sweeps x reads unless they say otherwise.
- *Attempts*: both anneal with the same sweeps, temperatures and reads; the ratio is of times per attempted
  flip.
- *Time to best*: seconds to reach the best known value with probability 99 %, at each solver's best budget.

`make bench` runs the short form; this page is written by `benchmarks/report.py --out docs`.
Versions: {versions}.
"""


@dataclass(frozen=True, eq=False)
class Result:
    """One solver with one budget on one workload."""

    workload: str
    solver: str
    budget: str
    peer: bool
    unit: str
    seconds: float
    equal_energy: bool
    energies: np.ndarray | None

    @classmethod
    def of(cls, info: dict[str, Any]) -> Result:
        energies = info.get("row_energies")
        return cls(
            info["workload"],
            info["solver"],
            info["budget"],
            info["peer"],
            info["unit"],
            info["per_row_seconds"],
            info["equal_energy"],
            None if energies is None else np.array(energies),
        )

    @property
    def name(self) -> str:
        return f"{self.solver} ({self.budget})" if self.budget else self.solver

    def mean_energy(self, rows: int) -> float:
        """Mean over the first rows, which all solvers of a workload share; NaN where no energy is judged."""
        return math.nan if self.energies is None else float(self.energies[:rows].mean())


def read(path: Path) -> tuple[list[Result], dict[str, list[dict[str, Any]]], dict[str, Any]]:
    """Results, facts per workload, and what pytest-benchmark says about the machine."""
    content = json.loads(path.read_text(encoding="utf-8"))
    infos = [entry["extra_info"] for entry in content["benchmarks"]]
    results = [Result.of(info) for info in infos if info.get("per_row_seconds") is not None]
    facts: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for info in infos:
        if "facts" in info:
            facts[info["workload"]].append(info["facts"])
    return results, facts, content["machine_info"]


def rows_of(peer: Result) -> int:
    return 0 if peer.energies is None else len(peer.energies)


def cheapest_not_worse(peer: Result, ours: Iterable[Result]) -> Result | None:
    """Ours of the least time whose mean energy on the peer's rows is not above the peer's."""
    candidates = list(ours)
    if peer.equal_energy:
        bound = peer.mean_energy(rows_of(peer))
        bound += SAME_ENERGY * abs(bound)
        candidates = [result for result in candidates if result.mean_energy(rows_of(peer)) <= bound]
    return min(candidates, key=lambda result: result.seconds, default=None)


def ratio_text(ratio: float) -> str:
    """Two significant digits: benchmarks do not know more."""
    if ratio >= 100:
        return f"{round(ratio, 1 - math.floor(math.log10(ratio))):,.0f}"
    return f"{ratio:.2g}" if ratio < 9.95 else f"{ratio:.0f}"


def energy_text(energy: float) -> str:
    return NOTHING if math.isnan(energy) else f"{energy:.6g}"


def comparison(peer: Result, ours: Sequence[Result]) -> tuple[str, ...]:
    """One line of the table."""
    rows = rows_of(peer)
    found = cheapest_not_worse(peer, ours)
    first = (peer.workload, peer.name, energy_text(peer.mean_energy(rows)))
    if found is None:
        closest = min(ours, key=lambda result: result.mean_energy(rows))
        return (
            *first,
            f"not reached; best: {closest.name}",
            energy_text(closest.mean_energy(rows)),
            NOTHING,
        )
    ratio = peer.seconds / found.seconds
    return (*first, found.name, energy_text(found.mean_energy(rows)), ratio_text(ratio))


def by_workload(results: Iterable[Result]) -> dict[str, list[Result]]:
    groups: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        groups[result.workload].append(result)
    return groups


def comparisons(results: Sequence[Result]) -> list[tuple[str, ...]]:
    lines = []
    for group in by_workload(results).values():
        ours = [result for result in group if not result.peer]
        lines += [comparison(result, ours) for result in group if result.peer and ours]
    return lines


def markdown(headings: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [list(headings), *map(list, lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(headings))]
    text = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    text.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(text)


def instance_line(workload: str, facts: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """A family of instances in one line."""
    reached = [fact for fact in facts if fact["gap"] == 0]
    text = f"best known value reached on {len(reached)} of {len(facts)}"
    if reached:
        text += f", within {max(fact['seconds'] for fact in reached):g} s each"
    missed = [fact for fact in facts if fact["gap"] != 0]
    for fact in sorted(missed, key=lambda fact: fact["gap"], reverse=True)[:5]:
        text += f"; {fact['instance']}: {fact['gap']:.3%} off after {fact['seconds']:g} s"
    return workload, text


def figure_text(name: str, value: Any) -> str:
    if name.endswith("fraction"):
        return f"{name.removesuffix('_fraction').replace('_', ' ')} {value:.1%} of the call"
    shown = f"{value:.2f}" if isinstance(value, float) else str(value)
    return f"{name.replace('_', ' ')} {shown}"


def fact_lines(facts: dict[str, list[dict[str, Any]]]) -> list[tuple[str, str]]:
    lines = []
    for workload, entries in facts.items():
        if "gap" in entries[0]:
            lines.append(instance_line(workload, entries))
        else:
            lines += [
                (workload, ", ".join(figure_text(name, value) for name, value in entry.items()))
                for entry in entries
            ]
    return lines


def installed_versions() -> str:
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def tables(results: Sequence[Result], facts: dict[str, list[dict[str, Any]]]) -> str:
    headings = ("workload", "peer", "its energy", "ours", "our energy", "ratio of times")
    text = markdown(headings, comparisons(results))
    if facts:
        text += "\n\n" + markdown(("without a peer", "figure"), fact_lines(facts))
    return text


def plotted(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Workloads of which energies at several budgets are known."""
    return {
        workload: group
        for workload, group in by_workload(results).items()
        if sum(result.equal_energy and result.energies is not None for result in group) >= 5
    }


def most_rows(group: Sequence[Result]) -> int:
    """Rows that the peers answered at most."""
    return max((rows_of(result) for result in group if result.peer), default=0)


def file_name(workload: str) -> str:
    return "benchmark-" + "".join(c if c.isalnum() else "-" for c in workload.lower()) + ".png"


def above_best(group: Sequence[Result]) -> dict[Result, float]:
    """Mean energy above the best that anybody found for the same row."""
    rows = max(len(result.energies) for result in group if result.energies is not None)
    lowest = np.full(rows, np.inf)
    for result in group:
        count = rows_of(result)
        lowest[:count] = np.minimum(lowest[:count], result.energies)
    return {result: float((result.energies - lowest[: rows_of(result)]).mean()) for result in group}


def frontier(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points that no faster point beats in energy."""
    kept: list[tuple[float, float]] = []
    for seconds, energy in sorted(points):
        if not kept or energy < kept[-1][1]:
            kept.append((seconds, energy))
    return kept


def draw(workload: str, group: Sequence[Result], path: Path) -> None:
    """Energy above the best against time, log axes, one series per solver."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    gaps = above_best(group)
    floor = 0.5 * min((gap for gap in gaps.values() if gap > 0), default=1.0)  # where a gap of 0 is drawn
    figure, axes = pyplot.subplots(figsize=(8, 5))
    series: dict[tuple[bool, str], list[tuple[float, float]]] = defaultdict(list)
    for result, gap in gaps.items():
        series[result.peer, result.solver].append((result.seconds, max(gap, floor)))
    peers = sum(peer for peer, _ in series)
    colors = iter(pyplot.get_cmap("tab20")(np.linspace(0, 1, max(1, peers))))
    own = iter(("black", "tab:red", "tab:blue", "tab:green", "tab:purple"))
    for (peer, solver), points in sorted(series.items()):
        color, style = (next(colors), "o--") if peer else (next(own, "gray"), "s-")
        axes.plot(*zip(*frontier(points), strict=True), style, color=color, label=solver, alpha=0.8)
    unit = group[0].unit
    axes.set(xscale="log", yscale="log", xlabel=f"seconds per {unit}", title=workload)
    axes.set_ylabel("mean energy above the best found")
    axes.grid(which="both", alpha=0.2)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})
    pyplot.close(figure)


def write(out: Path, results: Sequence[Result], facts: dict[str, list[dict[str, Any]]], machine: str) -> Path:
    """The page and its images; where the page is."""
    images = out / "images"
    os.makedirs(images, exist_ok=True)
    rows = "/".join(str(most_rows(group)) for group in plotted(results).values())
    page = INTRODUCTION.format(machine=machine, versions=installed_versions(), rows=rows)
    page += "\n" + tables(results, facts)
    for workload, group in plotted(results).items():
        draw(workload, group, images / file_name(workload))
        page += f"\n\n![{workload}: energy above the best against time]({images.name}/{file_name(workload)})"
    path = out / "benchmarks.md"
    path.write_text(page + "\n", encoding="utf-8")
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="One table of the benchmarks' results, and plots.")
    parser.add_argument("json", type=Path, help="what pytest --benchmark-json wrote")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write benchmarks.md and images/ there")
    options = parser.parse_args(arguments)
    results, facts, machine = read(options.json)
    if not results and not facts:
        parser.error(f"{options.json} holds no results")
    if options.out is None:
        print(tables(results, facts))
    else:
        processor = machine.get("cpu", {}).get("brand_raw", machine.get("machine", "unknown processor"))
        print(f"written to {write(options.out, results, facts, processor)}")


if __name__ == "__main__":
    main()
