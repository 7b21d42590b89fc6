"""Tasks that are refused."""

import pytest

from toy_tasks import counted


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"optimizers": {}}, "has no optimizer"),
        ({"grids": {"c": ({"lr": 1},)}}, "are for no optimizer of it|which are no optimizers"),
        ({"grids": {"a": ({"lr": 1},), "b": ({"lr": 1}, {"lr": 2})}}, "expected one size for all"),
        ({"seeds": 0}, "seeds of task 'counted' is 0"),
        ({"tuning_seeds": 0}, "tuning_seeds of task 'counted' is 0"),
    ],
)
def test_inconsistent_tasks_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        counted(**changed)
