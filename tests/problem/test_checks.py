"""Checks of arguments: what counts as a number, and what errors say."""

import numpy as np
import pytest

from qpsbgd.problem import checks


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (lambda value: checks.check_integer("a", value, 1), np.int16(2)),
        (lambda value: checks.check_number("a", value, 0.0, 3.0), np.float32(2)),
        (lambda value: checks.check_positive("a", value), np.float64(2)),
        (checks.seed_or_random, np.uint8(2)),
        (checks.check_seed, np.uint64(2)),
    ],
)
def test_numpy_numbers_are_numbers(check, value):
    checked = check(value)
    assert checked == 2
    assert type(checked) in (int, float)


@pytest.mark.parametrize(
    "check",
    [
        lambda value: checks.check_fraction("a", value),
        lambda value: checks.check_nonnegative("a", value),
        lambda value: checks.check_learning_rate("a", value),
        lambda value: checks.check_betas("betas", (value, value)),
        checks.check_scale,
        checks.check_clip,
    ],
)
def test_numpy_numbers_are_options_of_optimizers(check):
    check(np.float32(0.5))
    for value in (True, np.True_, [0.5], None, 0.5j):
        with pytest.raises(TypeError, match="must be a number"):
            check(value)


def test_numpy_booleans_are_booleans():
    assert checks.check_bool("a", np.False_) is False
    with pytest.raises(TypeError, match="maximize must be a bool, but is 1"):
        checks.check_bool("maximize", 1)


@pytest.mark.parametrize(
    ("check", "error", "message"),
    [
        (lambda: checks.check_integer("a", 1.0), TypeError, "a must be an integer, but is 1.0"),
        (lambda: checks.check_integer("a", 0, 1), ValueError, "a must be at least 1, but is 0"),
        (lambda: checks.check_integer("a", 9, 1, 8), ValueError, "a must be at most 8, but is 9"),
        (lambda: checks.check_number("a", np.inf), ValueError, "a must be finite, but is inf"),
        (lambda: checks.check_number("a", 2, 0, 1), ValueError, "a must be from 0 to 1, but is 2"),
        (lambda: checks.check_number("a", 0, positive=True), ValueError, "a must be positive, but is 0"),
        (lambda: checks.check_positive("a", np.nan), ValueError, "a must be positive and finite, but is nan"),
        (lambda: checks.check_member("a", ["b"], ("b", "c")), ValueError, "a must be one of b, c, but is"),
        (lambda: checks.check_choice("a", ["b"], ("b", "c")), ValueError, r"Invalid a: \['b'\]"),
        (lambda: checks.check_count("a", 0), ValueError, r"Invalid a: 0 \(expected at least 1\)"),
        (lambda: checks.check_count("a", 1.0), TypeError, "a must be an integer, but is float"),
        (
            lambda: checks.check_clip(0.0, optional=True),
            ValueError,
            "Invalid clip: 0.0 .* number or None",
        ),
        (
            lambda: checks.check_clip("1", optional=True),
            TypeError,
            "clip must be a number or None, but is str",
        ),
    ],
)
def test_errors_name_the_argument_and_what_came(check, error, message):
    with pytest.raises(error, match=message):
        check()
