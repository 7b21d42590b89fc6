"""The HTML page of all runs."""

import html.parser
import re

import numpy as np
import scipy.stats

from qpsbgd.experiments import CurvePoint, Experiment, Run
from qpsbgd.experiments.core.store import Record
from qpsbgd.report import page

TASK = {
    "name": "toy",
    "family": "Toy",
    "description": "a toy",
    "definition": {"steps": 3},
    "version": 1,
    "metric": "test_accuracy",
    "tuning_metric": "validation_accuracy",
    "higher_is_better": True,
    "published": {"QP-SBGD": 0.66},
}


VERSIONS = {"qpsbgd": "0.1.0", "torch": "2.2"}


def record(optimizer, seed, value, split="test", settings=None, **changes):
    task = {**TASK, **changes}
    metric = task["metric" if split == "test" else "tuning_metric"]
    curve = (CurvePoint(1, {"loss": 2.0, "test_accuracy": 0.5}), CurvePoint(3, {"loss": 1.0, metric: value}))
    run = None if value is None else Run(seed, {metric: value, "seconds": 1.5}, curve)
    failure = "diverged" if value is None else None
    return Record(task, optimizer, settings or {"lr": 0.1}, seed, split, VERSIONS, run, failure)


def runs(optimizer, values, **options):
    return [record(optimizer, seed, value, **options) for seed, value in enumerate(values)]


class Cells(html.parser.HTMLParser):
    """Collects the rows of all tables and the tags of a page; complains of tags that do not match."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.tags, self.attributes, self.open, self.text = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def row(self, start):
        return next(row for row in self.rows if row and row[0] == start)


def test_page_shows_mean_deviation_and_the_paired_difference():
    ours, adam = [0.92, 0.93, 0.95], [0.90, 0.912, 0.929]
    shown = Cells(page([*runs("qpsbgd", ours), *runs("binaryconnect-adam", adam)], {}))
    row = shown.row("qpsbgd")
    assert row[1] == "0.9333 ± 0.0153"
    difference = np.subtract(ours, adam)
    assert row[2] == f"{difference.mean():+.4g} ± {difference.std(ddof=1):.2g}"
    p = scipy.stats.ttest_rel(ours, adam).pvalue
    assert row[3] == f"{p:.3f}"
    assert row[4] == "better"
    assert row[5] == "0, 1, 2"
    assert shown.row("binaryconnect-adam")[2] == "reference"


def test_page_calls_ties_ties():
    shown = Cells(page([*runs("qpsbgd", [0.92, 0.91, 0.93]), *runs("binaryconnect-adam", [0.92] * 3)], {}))
    assert shown.row("qpsbgd")[4] == "tie"


def test_page_makes_no_verdict_of_two_seeds():
    shown = Cells(page([*runs("qpsbgd", [0.92, 0.93]), *runs("binaryconnect-adam", [0.82, 0.83])], {}))
    assert shown.row("qpsbgd")[3:5] == ["", "too few seeds"]


def test_lower_is_better_where_the_task_says_so():
    options = {"metric": "loss", "tuning_metric": "loss", "higher_is_better": False}
    records = [*runs("qpsbgd", [0.1, 0.11, 0.12], **options), *runs("adam", [0.2, 0.21, 0.23], **options)]
    shown = Cells(page(records, {}))
    assert shown.row("qpsbgd")[4] == "better"
    names = [row[0] for row in shown.rows]
    assert names.index("qpsbgd") < names.index("adam")


def test_reference_is_the_setting_that_tuning_chose():
    good, bad = {"lr": 0.1}, {"lr": 0.9}
    records = [
        *runs("binaryconnect-adam", [0.8] * 3, settings=good),
        *runs("binaryconnect-adam", [0.99] * 3, settings=bad),
        *runs("binaryconnect-adam", [0.7], settings=good, split="validation"),
        *runs("binaryconnect-adam", [0.6], settings=bad, split="validation"),
        *runs("qpsbgd", [0.9] * 3),
    ]
    shown = Cells(page(records, {}))
    assert shown.row("qpsbgd")[4] == "better"
    assert shown.row("binaryconnect-adam (lr=0.1)")[2] == "reference"


def test_tuning_is_shown_with_its_failures():
    records = [
        *runs("qpsbgd", [0.7, 0.8], split="validation"),
        *runs("qpsbgd", [None], split="validation", settings={"lr": 5.0}),
    ]
    shown = Cells(page(records, {}))
    assert ["qpsbgd", "lr=0.1", "0.7500 ± 0.0707", "2"] in shown.rows
    assert ["qpsbgd", "lr=5.0", "failed", "1"] in shown.rows
    assert "No run on the test split is finished." in shown.text


def test_run_found_twice_counts_once():
    records = [*runs("qpsbgd", [0.9, 0.8]), *runs("qpsbgd", [0.7, 0.8], split="validation")]
    assert Cells(page(records, {})).rows == Cells(page([*records, *records], {})).rows


def test_page_shows_published_figures_versions_and_settings():
    shown = Cells(page(runs("qpsbgd", [0.9]), {}))
    assert shown.row("published: QP-SBGD")[1] == "0.66"
    assert any("torch=2.2" in text for text in shown.text)
    assert shown.row("qpsbgd")[-1] == "lr=0.1"


def test_page_refers_to_nothing_outside_and_runs_nothing():
    text = page([*runs("qpsbgd", [0.9, 0.91]), *runs("signsgd", [0.8, 0.81])], {})
    assert not re.search(r"https?:|//|url\(|@import", text)
    shown = Cells(text)
    assert not {"script", "link", "img", "iframe", "object"} & set(shown.tags)
    assert not any(name == "src" or name.startswith("on") for name, _ in shown.attributes)
    assert all(value.startswith("#") for name, value in shown.attributes if name == "href")
    assert shown.tags.count("svg") == 2


def test_everything_is_escaped():
    evil = '<script>alert("x")</script>&'
    records = runs(
        evil,
        [0.9, 0.8, 0.7],
        name=evil,
        description=evil,
        definition={evil: evil},
        metric=evil,
        published={evil: 1.0},
        settings={evil: evil},
    )
    records += runs(evil, [0.5], tuning_metric=evil, split="validation", name=evil)
    shown = Cells(page(records, {}))
    assert "script" not in shown.tags
    assert sum(text.count(evil) for text in shown.text) > 5


def test_experiment_with_an_axis_is_drawn_against_it():
    tasks = tuple(type("T", (), {"name": f"toy-{width}"})() for width in (8, 64))
    experiment = Experiment("widths", "how wide", tasks, "neurons", (8, 64))
    records = [
        one for width in (8, 64) for one in runs("qpsbgd", [0.8, 0.9], name=f"toy-{width}", published={})
    ]
    records += runs("qpsbgd", [0.75], name="toy-8", published={}, split="validation")
    shown = Cells(page(records, {"widths": experiment}))
    assert "neurons" in shown.text
    assert shown.tags.count("svg") == 2 + 2 * 2
    assert ["qpsbgd", "lr=0.1", "0.75"] in shown.rows


def test_different_definitions_of_a_task_are_not_mixed():
    records = [*runs("qpsbgd", [0.9] * 3), *runs("binaryconnect-adam", [0.5] * 3, definition={"steps": 9})]
    shown = Cells(page(records, {}))
    assert shown.row("qpsbgd")[2] == "–"


def test_contents_lead_to_every_part():
    text = page(
        [*runs("qpsbgd", [0.9]), *runs("adam", [0.8], name="a <b>"), *runs("adam", [0.8], name="c")], {}
    )
    shown = Cells(text)
    places = [value for name, value in shown.attributes if name == "id"]
    assert [value for name, value in shown.attributes if name == "href"] == [f"#{place}" for place in places]
    assert len(places) == 4


def test_optimizer_has_one_colour_in_every_task():
    first = [*runs("adam", [0.8, 0.9]), *runs("signsgd", [0.8, 0.9])]
    second = [*runs("signsgd", [0.7, 0.8], name="other"), *runs("adam", [0.7, 0.8], name="other")]
    text = page([*first, *second], {})
    colours = {
        (name, colour)
        for colour, name in re.findall(
            r'stroke="(#\w+)" stroke-width="2"[^>]*/><text[^>]*>(\w+)</text>', text
        )
    }
    assert len(colours) == 2
    assert {name for name, _ in colours} == {"adam", "signsgd"}


def test_numbers_and_heads_are_readable():
    one = record("qpsbgd", 0, 0.9)
    run = Run(0, {**one.run.metrics, "qubos_per_second": 82414.6, "train_loss": 0.000123}, one.run.curve)
    shown = Cells(page([Record(**{**vars(one), "run": run})], {}))
    head, row = shown.rows[0], shown.rows[1]
    cells = dict(zip(head, row, strict=True))
    assert cells["QUBOs per second"] == "82,415"
    assert cells["train loss"] == "0.0001230"
