"""One HTML page of finished runs: no script, no reference to outside, every text escaped."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qpsbgd.experiments.core.numbers import deviation, mean
from qpsbgd.experiments.core.results import Run
from qpsbgd.experiments.core.store import Record
from qpsbgd.experiments.core.task import Experiment
from qpsbgd.report.statistics import SIGNIFICANT, Comparison, compare
from qpsbgd.report.svg import Line, plot

__all__ = ["page"]

_REFERENCES = ("binaryconnect-adam", "adam")
"""What others are compared with: the first of these that a task has."""

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; }
nav ul { columns: 18em; padding-left: 1.2em; }
.scroll { overflow-x: auto; }
h1, h2, h3 { line-height: 1.2; }
h2 { margin-top: 2.5em; border-bottom: 1px solid #d0d7de; }
table { border-collapse: collapse; margin: .8em 0; }
th, td { padding: .2em .8em; text-align: left; border-bottom: 1px solid #d8dee4; vertical-align: top; }
td code { white-space: nowrap; }
td.long code { white-space: normal; overflow-wrap: anywhere; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr.best td:first-child, td.best { font-weight: 600; }
.plots { display: flex; flex-wrap: wrap; gap: 1em; }
svg { max-width: 100%; height: auto; font: 11px system-ui, sans-serif; }
svg .title { font-size: 13px; font-weight: 600; }
svg .grid { stroke: #d8dee4; }
code { font-size: 90%; }
p.note { color: #57606a; }
summary { cursor: pointer; }
"""


@dataclass
class _Row:
    """The runs of one optimizer with one setting on one task."""

    optimizer: str
    settings: Mapping[str, Any]
    runs: dict[int, Run] = field(default_factory=dict)
    tuning: dict[int, float] = field(default_factory=dict)
    """Seed -> score on the validation split, the higher the better."""
    label: str = ""

    @property
    def scores(self) -> list[float]:
        return list(self.tuning.values())

    def values(self, metric: str) -> dict[int, float]:
        return {seed: run.metrics[metric] for seed, run in sorted(self.runs.items()) if metric in run.metrics}


@dataclass
class _Section:
    """All records of one task in one definition."""

    task: Mapping[str, Any]
    rows: dict[str, _Row] = field(default_factory=dict)
    made_with: list[Mapping[str, str]] = field(default_factory=list)

    @property
    def tested(self) -> list[_Row]:
        return [row for row in self.rows.values() if row.runs]

    def reference(self) -> _Row | None:
        """Return the row to compare with: of the first known name, the setting that tuning chose."""
        for name in _REFERENCES:
            candidates = [row for row in self.tested if row.optimizer == name]
            if candidates:
                return max(candidates, key=lambda row: mean(row.scores or [-math.inf]))
        return None


def page(
    records: Iterable[Record], experiments: Mapping[str, Experiment], left_out: Sequence[str] = ()
) -> str:
    """Build the page.

    Parameters
    ----------
    records : iterable of Record
        Finished runs, as `qpsbgd.experiments.core.store.read_records` gives them.
    experiments : mapping
        Experiment name -> experiment; they order and group the tasks. Tasks of none stand at the end.
    left_out : sequence of str
        What is wrong with each file of a run that could not be read; the page lists them.

    Returns
    -------
    str
        A complete HTML document without references to anything outside it.

    Examples
    --------
    >>> page([], {}).startswith("<!DOCTYPE html>")
    True
    """
    records = list(records)
    sections = _sections(records)
    colours = {name: number for number, name in enumerate(dict.fromkeys(one.optimizer for one in records))}
    number = f"{len(records)} finished run{'' if len(records) == 1 else 's'}"
    body = [f"<p>{number}. {_NOTE}</p>", *_left_out(left_out)]
    titles: list[str] = []
    shown: set[int] = set()
    for experiment in experiments.values():
        names = [task.name for task in experiment.tasks]
        own = [section for section in sections if section.task["name"] in names and id(section) not in shown]
        if own:
            own.sort(key=lambda section: names.index(section.task["name"]))
            shown |= {id(section) for section in own}
            titles.append(experiment.name)
            body += _experiment(experiment, own, colours)
    for section in sections:
        if id(section) not in shown:
            name = section.task["name"]
            titles.append(name)
            body += _experiment(Experiment(name, section.task["description"], ()), [section], colours)
    body.insert(1, _contents(titles))
    body.append(_versions(sections))
    return _DOCUMENT.format(style=_STYLE, body="\n".join(body))


def _contents(titles: Sequence[str]) -> str:
    """List what the page holds, each a link to its place."""
    names = [*dict.fromkeys(titles), "Versions"]
    lines = "".join(f'<li><a href="#{_anchor(name)}">{html.escape(name)}</a></li>' for name in names)
    return f"<nav><ul>{lines}</ul></nav>"


def _anchor(title: str) -> str:
    return "part-" + "".join(letter if letter.isalnum() else "-" for letter in title)


def _left_out(problems: Sequence[str]) -> list[str]:
    if not problems:
        return []
    lines = "".join(f"<li><code>{html.escape(problem)}</code></li>" for problem in problems)
    return [f"<p>{len(problems)} files are left out, because they are broken:</p><ul>{lines}</ul>"]


_DOCUMENT = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>qpsbgd experiments</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>{style}</style></head>
<body><h1>Experiments</h1>
{body}
</body></html>
"""

_NOTE = (
    "Values are mean ± sample standard deviation over seeds. Differences are paired by seed, against "
    "BinaryConnect-Adam (or Adam); p is that of Student's two-sided paired t-test, not corrected for the "
    f"number of comparisons. A difference with p of {SIGNIFICANT} or more is called a tie."
)


def _sections(records: Sequence[Record]) -> list[_Section]:
    sections: dict[str, _Section] = {}
    for record in records:
        task = record.task
        # What the runs are judged by belongs to it: runs with other metrics cannot stand in one table.
        judged_by = [task["metric"], task["tuning_metric"], task["higher_is_better"]]
        identity = json.dumps(
            [task["name"], task.get("family"), task["definition"], task["version"], judged_by], sort_keys=True
        )
        section = sections.setdefault(identity, _Section(task))
        key = json.dumps([record.optimizer, dict(record.settings)], sort_keys=True)
        row = section.rows.setdefault(key, _Row(record.optimizer, record.settings))
        if record.split == "test" and record.run is not None:
            row.runs[record.seed] = record.run
        elif record.split == "validation":
            row.tuning[record.seed] = record.score
        if record.made_with not in section.made_with:
            section.made_with.append(record.made_with)
    for section in sections.values():
        names = [row.optimizer for row in section.tested]
        for row in section.rows.values():
            unique = names.count(row.optimizer) <= 1
            row.label = row.optimizer if unique else f"{row.optimizer} ({_as_text(row.settings)})"
    return list(sections.values())


def _as_text(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items())


def _experiment(
    experiment: Experiment, sections: Sequence[_Section], colours: Mapping[str, int]
) -> list[str]:
    parts = [
        f'<h2 id="{_anchor(experiment.name)}">{html.escape(experiment.name)}</h2>',
        f"<p>{html.escape(experiment.description)}</p>",
    ]
    parts += [_against_axis(experiment, sections, colours), _grid(experiment, sections)]
    for section in sections:
        parts += _task(section, colours)
    return parts


def _task(section: _Section, colours: Mapping[str, int]) -> list[str]:
    task = section.task
    definition = html.escape(_as_text(task["definition"]))
    return [
        f"<h3>{html.escape(task['name'])}</h3>",
        f"<p>{html.escape(task['description'])}: <code>{definition}</code></p>",
        _table(section),
        _curves(section, colours),
        _tuning(section),
    ]


def _table(section: _Section) -> str:
    if not section.tested:
        return '<p class="note">No run on the test split is finished.</p>'
    metric = section.task["metric"]
    reference = section.reference()
    extras = _extra_metrics(section)
    headings = [
        "optimizer",
        _words(metric),
        "difference",
        "p",
        "verdict",
        "seeds",
        *map(_words, extras),
        "settings",
    ]
    higher = section.task["higher_is_better"]
    means = {id(row): mean(row.values(metric).values()) for row in section.tested}
    best = (max if higher else min)(means.values())
    lines = []
    for row in sorted(section.tested, key=lambda row: means[id(row)], reverse=higher):
        comparison = None
        if reference is not None and row is not reference:
            comparison = compare(row.values(metric), reference.values(metric))
        seeds = ", ".join(map(str, sorted(row.runs)))
        cells = [
            _cell(row.label),
            _cell(_spread(row.values(metric).values()), "number"),
            *_comparison_cells(comparison, higher, row is reference),
            _cell(seeds),
            *(_cell(_extra(row, name), "number") for name in extras),
            f"<td><code>{html.escape(_as_text(row.settings))}</code></td>",
        ]
        mark = ' class="best"' if means[id(row)] == best else ""
        lines.append(f"<tr{mark}>{''.join(cells)}</tr>")
    for label, value in section.task["published"].items():
        cells = [
            _cell(f"published: {label}"),
            _cell(f"{value:g}", "number"),
            *[_cell("")] * (len(headings) - 2),
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    head = "".join(f"<th>{html.escape(heading)}</th>" for heading in headings)
    return _scrolling(f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody>")


def _scrolling(content: str) -> str:
    """Return a table that scrolls by itself where the window is narrower."""
    return f'<div class="scroll"><table>{content}</table></div>'


def _words(metric: str) -> str:
    """Return the name of a metric as a reader would say it."""
    return metric.replace("_", " ").replace("qubos", "QUBOs")


def _cell(text: str, kind: str = "") -> str:
    mark = f' class="{kind}"' if kind else ""
    return f"<td{mark}>{html.escape(text)}</td>"


def _spread(values: Iterable[float], digits: int = 4) -> str:
    numbers = list(values)
    if not numbers:
        return "–"
    centre = mean(numbers)
    if not math.isfinite(centre):
        return "failed"
    if len(numbers) == 1:
        return f"{centre:.{digits}g}"
    if centre and not 1e-15 < abs(centre) < 1e15:
        return f"{centre:.{digits}g} ± {deviation(numbers):.{digits}g}"
    # As many decimals as four digits of the mean have.
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(centre)))) if centre else digits
    return f"{centre:.{decimals}f} ± {deviation(numbers):.{decimals}f}"


def _comparison_cells(comparison: Comparison | None, higher_is_better: bool, is_reference: bool) -> list[str]:
    if comparison is None:
        return [_cell("reference" if is_reference else "–"), _cell(""), _cell("")]
    verdict = comparison.verdict
    if verdict in ("higher", "lower"):
        verdict = "better" if (verdict == "higher") == higher_is_better else "worse"
    p = "" if comparison.p is None else f"{comparison.p:.3f}" if comparison.p >= 0.001 else "< 0.001"
    difference = f"{comparison.mean:+.4g} ± {comparison.deviation:.2g}"
    return [_cell(difference, "number"), _cell(p, "number"), _cell(verdict)]


def _extra_metrics(section: _Section) -> list[str]:
    names = dict.fromkeys(name for row in section.tested for run in row.runs.values() for name in run.metrics)
    return [name for name in names if name != section.task["metric"]]


def _extra(row: _Row, metric: str) -> str:
    values = row.values(metric).values()
    if not values or not any(values):
        return "–"
    return _number(mean(values))


def _number(value: float) -> str:
    """Return four digits, without powers of ten where the number has few digits without them."""
    size = abs(value)
    if not 1e-4 <= size < 1e9:
        return f"{value:.4g}"
    return f"{value:,.{max(0, 3 - math.floor(math.log10(size)))}f}"


def _curves(section: _Section, colours: Mapping[str, int]) -> str:
    plots = []
    quantities = dict.fromkeys(
        name
        for row in section.tested
        for run in row.runs.values()
        for point in run.curve[:1]
        for name in point.values
    )
    for quantity in quantities:
        curves = (_curve(row, quantity, colours[row.optimizer]) for row in section.tested)
        lines = [line for line in curves if line is not None]
        label = "training loss" if quantity == "loss" else _words(quantity)
        plots.append(
            plot(lines, title=label, x_label="step", y_label=label, logarithmic_y=quantity == "loss")
        )
    return f'<div class="plots">{"".join(plots)}</div>' if any(plots) else ""


def _curve(row: _Row, quantity: str, colour: int) -> Line | None:
    """Mean over the seeds, and from the lowest to the highest, at the steps that all runs have."""
    by_step: dict[int, list[float]] = {}
    for run in row.runs.values():
        for point in run.curve:
            if quantity in point.values:
                by_step.setdefault(point.step, []).append(point.values[quantity])
    steps = sorted(step for step, values in by_step.items() if len(values) == len(row.runs))
    if not steps:
        return None
    values = [by_step[step] for step in steps]
    means = [mean(ones) for ones in values]
    low, high = [min(ones) for ones in values], [max(ones) for ones in values]
    return Line(row.label, steps, means, low, high, colour)


def _tuning(section: _Section) -> str:
    tuned = [row for row in section.rows.values() if row.scores]
    if not tuned:
        return ""
    sign = 1 if section.task["higher_is_better"] else -1
    best: dict[str, float] = {}
    for row in tuned:
        best[row.optimizer] = max(best.get(row.optimizer, -math.inf), mean(row.scores))
    lines = []
    for row in sorted(tuned, key=lambda row: row.optimizer):
        text = _spread([sign * score for score in row.scores])
        kind = "number best" if mean(row.scores) == best[row.optimizer] else "number"
        settings = f"<td><code>{html.escape(_as_text(row.settings))}</code></td>"
        lines.append(
            f"<tr>{_cell(row.optimizer)}{settings}{_cell(text, kind)}{_cell(str(len(row.scores)))}</tr>"
        )
    metric = html.escape(section.task["tuning_metric"].replace("_", " "))
    return (
        f"<details><summary>Tuning: {len(tuned)} settings</summary>"
        + _scrolling(
            f"<thead><tr><th>optimizer</th><th>settings</th><th>{metric}</th><th>runs</th></tr></thead>"
            f"<tbody>{''.join(lines)}</tbody>"
        )
        + "</details>"
    )


def _against_axis(experiment: Experiment, sections: Sequence[_Section], colours: Mapping[str, int]) -> str:
    """Plot the metric and the seconds against what differs between the tasks of an experiment."""
    if experiment.axis is None:
        return ""
    positions = {task.name: at for task, at in zip(experiment.tasks, experiment.positions, strict=True)}
    plots = []
    metrics = (sections[0].task["metric"], *experiment.also_drawn)
    for metric, logarithmic in (*((metric, False) for metric in metrics), ("seconds", True)):
        points: dict[str, list[tuple[float, list[float]]]] = {}
        for section in sections:
            for row in section.tested:
                values = list(row.values(metric).values())
                if values:
                    at = positions[section.task["name"]]
                    points.setdefault(row.optimizer, []).append((at, values))
        lines = [_axis_line(name, sorted(ones), colours[name]) for name, ones in points.items()]
        plots.append(
            plot(
                lines,
                title=_words(metric),
                x_label=experiment.axis,
                y_label=_words(metric),
                logarithmic_x=True,
                logarithmic_y=logarithmic,
            )
        )
    return f'<div class="plots">{"".join(plots)}</div>'


def _grid(experiment: Experiment, sections: Sequence[_Section]) -> str:
    """Show what tuning found for every setting at every position of the experiment's axis."""
    positions = {task.name: at for task, at in zip(experiment.tasks, experiment.positions, strict=False)}
    found: dict[tuple[str, str], dict[float, str]] = {}
    for section in sections:
        sign = 1 if section.task["higher_is_better"] else -1
        for row in section.rows.values():
            if row.scores and experiment.axis is not None:
                cells = found.setdefault((row.optimizer, _as_text(row.settings)), {})
                cells[positions[section.task["name"]]] = _spread([sign * score for score in row.scores])
    if not found:
        return ""
    columns = sorted({at for cells in found.values() for at in cells})
    head = "".join(f"<th>{html.escape(experiment.axis or '')} {at:g}</th>" for at in columns)
    lines = [
        f"<tr>{_cell(optimizer)}<td><code>{html.escape(settings)}</code></td>"
        + "".join(_cell(cells.get(at, "–"), "number") for at in columns)
        + "</tr>"
        for (optimizer, settings), cells in sorted(found.items())
    ]
    metric = html.escape(sections[0].task["tuning_metric"].replace("_", " "))
    return (
        f"<details><summary>Tuning: {metric} of every setting</summary>"
        + _scrolling(
            f"<thead><tr><th>optimizer</th><th>settings</th>{head}</tr></thead><tbody>{''.join(lines)}</tbody>"
        )
        + "</details>"
    )


def _axis_line(name: str, points: Sequence[tuple[float, list[float]]], colour: int) -> Line:
    values = [ones for _, ones in points]
    return Line(
        name,
        [at for at, _ in points],
        [mean(ones) for ones in values],
        [min(ones) for ones in values],
        [max(ones) for ones in values],
        colour,
    )


def _versions(sections: Sequence[_Section]) -> str:
    lines = []
    for section in sections:
        for made_with in section.made_with:
            cell = f'<td class="long"><code>{html.escape(_as_text(made_with))}</code></td>'
            lines.append(f"<tr>{_cell(section.task['name'])}{cell}</tr>")
    return f'<h2 id="{_anchor("Versions")}">Versions</h2>' + _scrolling(f"<tbody>{''.join(lines)}</tbody>")
