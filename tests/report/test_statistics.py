"""Paired comparisons against scipy."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from qpsbgd.report.statistics import compare, two_sided_p


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
