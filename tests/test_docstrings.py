"""Every public function and class shows an example, which doctest runs."""

import dataclasses
import importlib
import inspect

import pytest

PUBLIC = [
    "qpsbgd",
    "qpsbgd.baselines",
    "qpsbgd.data.datasets",
    "qpsbgd.data.graphs",
    "qpsbgd.data.instances",
    "qpsbgd.data.planetoid_files",
    "qpsbgd.diagnostics",
    "qpsbgd.export",
    "qpsbgd.nn",
    "qpsbgd.optim",
    "qpsbgd.optim.residual",
    "qpsbgd.problem",
    "qpsbgd.solvers",
    "qpsbgd.testing",
]


def is_data(value):
    """Whether it is what functions return, raise or take, and is shown in their examples."""
    return inspect.isclass(value) and (
        dataclasses.is_dataclass(value)
        or issubclass(value, (tuple, BaseException, Warning))
        or getattr(value, "_is_protocol", False)
    )


def names_without_an_example(module):
    found = importlib.import_module(module)
    for name in found.__all__:
        value = getattr(found, name)
        described = inspect.isfunction(value) or inspect.isclass(value)
        if described and not is_data(value) and ">>>" not in (inspect.getdoc(value) or ""):
            yield name


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_function_and_class_has_an_example(module):
    assert list(names_without_an_example(module)) == []
