"""Line plots as SVG."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsbgd.report.svg import Line, plot


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


@pytest.mark.parametrize(("low", "high"), [(0.2, 3.0), (1.5, 12.0), (0.011, 0.9), (1e-3, 1e5)])
def test_logarithmic_axis_has_ticks_enough_to_read_it(low, high):
    line = Line("a", [1, 2], [low, high])
    svg = plot([line], title="", x_label="", y_label="", logarithmic_y=True)
    ticks = [float(text) for text in re.findall(r'text-anchor="end">([^<]+)<', svg)]
    assert 3 <= len(ticks) <= 13
    assert ticks == sorted(ticks)


def test_colour_is_that_of_the_line_not_of_its_place():
    a, b = Line("a", [1, 2], [1, 2], colour=3), Line("b", [1, 2], [2, 3], colour=1)
    labels = {"title": "", "x_label": "", "y_label": ""}

    def strokes(lines):
        return set(
            re.findall(r'stroke="(#\w+)" stroke-width="2"[^>]*/><text[^>]*>(\w)', plot(lines, **labels))
        )

    assert strokes([a, b]) == strokes([b, a])
    assert len(strokes([a, b])) == 2
