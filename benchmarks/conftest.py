"""How much is measured (--short, --full), and one thread for everybody."""

from collections.abc import Iterator

import pytest
import threadpoolctl
import torch

from harness import Mode


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("qpsbgd benchmarks")
    group.addoption("--short", action="store_true", help="few rows and repetitions, minutes (default)")
    group.addoption("--full", action="store_true", help="all rows, more budgets and instances, an hour")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--short") and config.getoption("--full"):
        raise pytest.UsageError("--short and --full exclude each other")
    config.addinivalue_line("markers", "full: only with --full")
    # What other packages deprecate is not ours to judge here.
    config.addinivalue_line("filterwarnings", "default::DeprecationWarning")
    config.addinivalue_line("filterwarnings", "default::FutureWarning")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--full"):
        return
    left_out = [item for item in items if item.get_closest_marker("full")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def mode(pytestconfig: pytest.Config) -> Mode:
    return Mode(full=bool(pytestconfig.getoption("--full")))


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    torch.set_num_threads(1)
    with threadpoolctl.threadpool_limits(1):
        yield
