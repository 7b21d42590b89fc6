"""The list of experiments."""

import json

import pytest

from qpsbgd.experiments import EXPERIMENTS, TASKS


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_every_task_tunes_all_its_optimizers_with_one_budget_or_none(task):
    assert not task.grids or set(task.grids) == set(task.optimizers)
    assert len({len(grid) for grid in task.grids.values()}) <= 1
    for grid in task.grids.values():
        assert len({json.dumps(dict(settings), sort_keys=True) for settings in grid}) == len(grid)


def test_names_of_experiments_and_tasks_are_not_confused():
    for name, experiment in EXPERIMENTS.items():
        if name in TASKS:
            assert experiment.tasks == (TASKS[name],)
    assert len(TASKS) == sum(len(experiment.tasks) for experiment in EXPERIMENTS.values())
