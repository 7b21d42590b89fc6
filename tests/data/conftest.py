"""What the tests of data share."""

import pytest

from file_server import file_server


@pytest.fixture
def server():
    """Run a server; the test gets a function (behaviour) -> URL."""
    with file_server() as serve:
        yield serve
