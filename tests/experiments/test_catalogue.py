"""The list of experiments."""

import json

import pytest

from qpsbgd.experiments import EXPERIMENTS, TASKS
from qpsbgd.experiments.catalogue import SEARCHES
from qpsbgd.experiments.core.search import Search
from qpsbgd.experiments.optimizers import OPTIMIZERS, make_optimizer
from qpsbgd.nn import BinaryLinear


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_every_task_tunes_all_its_optimizers_with_one_budget_or_none(task):
    assert not task.grids or set(task.grids) == set(task.optimizers)
    assert len({len(grid) for grid in task.grids.values()}) <= 1
    for name, grid in task.grids.items():
        if isinstance(grid, Search):
            grid = (*(first := grid.drawn(name)), *grid.near_to(name, first[0]))
        assert len({json.dumps(dict(settings), sort_keys=True) for settings in grid}) == len(grid)


def test_names_of_experiments_and_tasks_are_not_confused():
    for name, experiment in EXPERIMENTS.items():
        if name in TASKS:
            assert experiment.tasks == (TASKS[name],)
    assert len(TASKS) == sum(len(experiment.tasks) for experiment in EXPERIMENTS.values())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_settings_that_a_search_draws_build_the_optimizer(name):
    search = SEARCHES[name]
    assert len(search) == 16
    drawn = search.drawn(name)
    for settings in (*drawn, *(near for first in drawn for near in search.near_to(name, first))):
        optimizer = make_optimizer(name, BinaryLinear(4, 2), settings, seed=0, steps=10)
        (group,) = optimizer.param_groups
        betas = [settings[key] for key in ("beta", "gram_beta", "square_beta") if key in settings]
        assert tuple(betas) in ((), group.get("betas"))
        others = {key: value for key, value in settings.items() if "beta" not in key}
        assert {key: group.get(key, optimizer.defaults.get(key)) for key in others} == others
