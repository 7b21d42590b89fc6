"""What every test shares: repeatable randomness, few threads, and the optional data folder."""

import os
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
