"""What readers see: tables, pictures, and a page that is complete in itself, escaped, and right."""

import html.parser
import math
import re

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from qpsbgd.experiments import CurvePoint, Experiment, Result, Run
from qpsbgd.experiments.core.store import Record
from qpsbgd.report import draw_curves, page, table
from qpsbgd.report.statistics import compare, two_sided_p
from qpsbgd.report.svg import Line, plot

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
    assert not any(name in ("src", "href") or name.startswith("on") for name, _ in shown.attributes)
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


@given(st.floats(-50, 50), st.integers(1, 40))
def test_p_values_are_those_of_students_distribution(t, freedom):
    expected = 2 * scipy.stats.t.sf(abs(t), freedom)
    assert two_sided_p(t, freedom) == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=12))
def test_comparison_is_the_paired_t_test(pairs):
    values, reference = (dict(enumerate(column)) for column in zip(*pairs, strict=True))
    result = compare(values, reference)
    differences = np.array([a - b for a, b in pairs])
    assert result.mean == pytest.approx(differences.mean(), abs=1e-12)
    if differences.std() > 1e-9:
        expected = scipy.stats.ttest_rel(list(values.values()), list(reference.values())).pvalue
        assert result.p == pytest.approx(expected, abs=1e-9)


def test_comparison_uses_common_seeds_only():
    assert compare({0: 1.0, 1: 2.0}, {1: 1.0, 5: 9.0}).mean == 1.0
    assert compare({0: 1.0}, {1: 1.0}) is None


@pytest.mark.parametrize(("shift", "verdict"), [(0.0, "tie"), (0.1, "higher"), (-0.1, "lower")])
def test_equal_differences_leave_no_doubt(shift, verdict):
    assert compare({s: 0.5 + shift for s in range(3)}, dict.fromkeys(range(3), 0.5)).verdict == verdict


def polylines(svg):
    return [
        [tuple(map(float, pair.split(","))) for pair in points.split()]
        for points in re.findall(r'<polyline points="([^"]*)"', svg)
    ]


def test_plot_is_larger_where_values_are_larger_and_stays_inside():
    svg = plot([Line("a", [1, 10, 100], [3, 1, 2])], title="", x_label="", y_label="", logarithmic_x=True)
    ((first, second, third),) = polylines(svg)
    assert first[1] < third[1] < second[1]  # SVG counts downwards
    assert second[0] - first[0] == pytest.approx(third[0] - second[0], abs=0.2)
    width, height = map(float, re.search(r'viewBox="0 0 (\d+) (\d+)"', svg).groups())
    assert all(0 < x < width and 0 < y < height for x, y in (first, second, third))


@given(
    st.lists(
        st.tuples(
            st.one_of(st.integers(1, 1000), st.sampled_from([0, math.inf])),
            st.one_of(st.floats(-1e6, 1e6), st.sampled_from([math.nan, math.inf])),
        ),
        max_size=8,
    ),
    st.booleans(),
    st.booleans(),
)
def test_plot_leaves_out_what_cannot_be_drawn(points, logarithmic_x, logarithmic_y):
    xs, ys = [x for x, _ in points], [y for _, y in points]
    svg = plot(
        [Line("a", xs, ys)],
        title="",
        x_label="",
        y_label="",
        logarithmic_x=logarithmic_x,
        logarithmic_y=logarithmic_y,
    )
    drawable = [
        (x, y)
        for x, y in points
        if math.isfinite(x)
        and math.isfinite(y)
        and (x > 0 or not logarithmic_x)
        and (y > 0 or not logarithmic_y)
    ]
    assert sum(map(len, polylines(svg))) == len(drawable)
    assert "nan" not in svg
    assert "inf" not in svg


@pytest.fixture
def result() -> Result:
    made = [
        Run(
            seed,
            {"test_accuracy": 0.9 + 0.02 * seed, "train_loss": 0.1, "seconds": 2.0, "qubos_per_second": 5e3},
            tuple(CurvePoint(step, {"loss": 1 / step, "test_accuracy": 0.5}) for step in (1, 2)),
        )
        for seed in range(2)
    ]
    return Result("toy", "qpsbgd", {}, tuple(made))


def test_table_shows_mean_and_deviation(result):
    header, rule, row = table([result]).splitlines()
    assert len(header) == len(rule) == len(row)
    assert row.split("|")[2:5] == [" 0.9100 ± 0.0141 ", " 2.0     ", " 5,000   "]


def test_table_of_a_task_that_measures_no_time_has_dashes():
    bare = Result("toy", "adam", {}, (Run(0, {"final_value": 0.25}),))
    assert (
        table([bare], "final_value").splitlines()[-1] == "| adam      | 0.2500 ± 0.0000 | –       | –       |"
    )


def test_curves_are_drawn_as_png(result, tmp_path):
    draw_curves([result], tmp_path / "new" / "curves.png")
    assert (tmp_path / "new" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_results_without_curves_draw_nothing(tmp_path):
    draw_curves([Result("toy", "adam", {}, (Run(0, {"final_value": 0.25}),))], tmp_path / "curves.png")
    assert list(tmp_path.iterdir()) == []
