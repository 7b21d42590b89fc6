"""Random search: ranges, draws, and which trial tuning keeps."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsbgd.experiments.core.runner import tune
from qpsbgd.experiments.core.search import Between, Search
from qpsbgd.experiments.core.store import Store
from toy_tasks import Counted, counted

LR = Between(0.5, 20.0)
SEARCH = Search(({"lr": LR},), trials=6, near=3)


@given(st.floats(1e-6, 1e3), st.floats(1.1, 1e6), st.floats(0, 1))
def test_a_setting_lies_where_it_was_drawn(low, ratio, place):
    between = Between(low, low * ratio)
    value = between.at(place)
    assert low * 0.995 <= value <= low * ratio * 1.005
    assert abs(between.place(value) - place) <= 0.006 / math.log(ratio) + 1e-9


@given(st.floats(-1, 2))
def test_a_beta_is_never_below_0_or_above_1(place):
    assert 0 <= Between(0.05, 0.7, of_past=True).at(place) <= 1


@pytest.mark.parametrize(("low", "high", "of_past"), [(0, 1, False), (2, 1, False), (0.1, 2, True)])
def test_ranges_that_are_none(low, high, of_past):
    with pytest.raises(ValueError, match="expected"):
        Between(low, high, of_past)


@pytest.mark.parametrize("changes", [{"trials": 0}, {"near": -1}, {"spaces": ()}])
def test_searches_that_are_none(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        Search(**{"spaces": ({"lr": LR},), **changes})


def test_draws_depend_on_the_optimizer_alone_and_fill_the_range():
    search = Search(({"lr": LR}, {"lr": LR, "error_feedback": True}), trials=200)
    drawn = search.drawn("signsgd")
    assert drawn == search.drawn("signsgd") != search.drawn("qpsbgd")
    assert [one.get("error_feedback", False) for one in drawn] == [False, True] * 100
    places = sorted(LR.place(one["lr"]) for one in drawn)
    assert all(abs(place - (number + 0.5) / 200) < 0.12 for number, place in enumerate(places))


def test_last_trials_lie_near_the_best_and_may_leave_the_range():
    wide = Search(({"lr": LR, "momentum": 0.9},), near=400)
    near = [LR.place(one["lr"]) for one in wide.near_to("sgd", {"lr": 20.0, "momentum": 0.9})]
    assert {one["momentum"] for one in wide.near_to("sgd", {"lr": 20.0, "momentum": 0.9})} == {0.9}
    assert 0.79 < min(near) < 0.82
    assert 1.18 < max(near) < 1.21


def test_settings_at_an_edge_are_named():
    search = Search(({"lr": LR, "beta": Between(0.05, 0.7, of_past=True), "memory": "momentum"},))
    assert search.at_edge({"lr": 3.0, "beta": 0.8, "memory": "momentum"}) == []
    assert search.at_edge({"lr": 0.3, "beta": 0.955, "memory": "momentum"}) == ["lr", "beta"]
    with pytest.raises(ValueError, match="none of the search's spaces"):
        search.at_edge({"lr": 3.0})


def test_tuning_takes_the_best_of_all_trials_and_repeats_none(tmp_path):
    task = counted(grids={"a": SEARCH, "b": SEARCH})
    chosen = tune(task, ["a", "b"], Store(tmp_path))
    tried = {name: {lr for one, lr, *_ in Counted.calls if one == name} for name in "ab"}
    for name in "ab":
        assert len(tried[name]) == 9
        assert chosen[name]["lr"] == min(tried[name], key=lambda lr: abs(lr - 3))
    done = len(Counted.calls)
    assert done == 9 * 2 * 2  # two tuning seeds
    assert tune(task, ["a", "b"], Store(tmp_path)) == chosen
    assert len(Counted.calls) == done
