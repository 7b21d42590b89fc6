"""What every test shares: repeatable randomness, few threads, and the optional data folder."""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")
torch.set_num_threads(1)  # idle OpenMP threads spin: no gain for small layers


@pytest.fixture(autouse=True)
def _seeded_torch() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder with mnist/, adult/ and qubo/ that `$QPSBGD_DATA` names; without it the test is left out."""
    folder = os.environ.get("QPSBGD_DATA")
    if not folder:
        pytest.skip("QPSBGD_DATA names no data folder")
    return Path(folder)


@pytest.fixture(scope="session", autouse=True)
def _no_configuration(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's D-Wave token, its configuration and the embedding files out of the tests."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("DWAVE_", "QPSBGD_SOLVER"))]:
            patch.delenv(name)
        for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_DIRS"):
            patch.setenv(name, str(folder))
        yield
