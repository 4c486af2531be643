"""One Prefect server for the session. Few tests go through it; the rest call plain functions."""

import pytest
from prefect.testing.utilities import prefect_test_harness

from tasks.earthengine.connection import Connection


@pytest.fixture(scope="session")
def prefect_server():
    """A Prefect server with a database of its own. Its first start migrates it, about 50 s on two cores."""
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="session")
def connection(sandbox_url):
    """The way to the sandbox."""
    return Connection(project="my-project", endpoint=sandbox_url)


@pytest.fixture
def place(sandbox_url, tmp_path):
    """The parameters that all jobs of a test share: where from, where to."""
    return {"project": "my-project", "endpoint": sandbox_url, "output": str(tmp_path / "out")}
