"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import ee
import pytest
from prefect.testing.utilities import prefect_test_harness

from deployments.sandbox.process import running
from tasks.earthengine.connection import Connection

# Everything that the tests talk to is on this machine, whatever proxy its user needs for the rest.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"


@pytest.fixture(autouse=True, scope="module")
def no_session_of_another_module() -> Iterator[None]:
    """The client's session is the process's: after a module it may point to a sandbox that has ended with it."""
    yield
    ee.Reset()


@pytest.fixture(scope="session")
def sandbox_url() -> Iterator[str]:
    """URL of a sandbox with its own catalogue and all knobs off; read only, since all tests share it."""
    with running() as url:
        yield url


@pytest.fixture(scope="session")
def connection(sandbox_url: str) -> Connection:
    """The way to the sandbox."""
    return Connection(project="my-project", endpoint=sandbox_url)


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A Prefect server with a database of its own. Its first start migrates it, about 50 s on two cores.

    Few tests go through it; the rest call plain functions.
    """
    with prefect_test_harness(server_startup_timeout=120):
        yield
