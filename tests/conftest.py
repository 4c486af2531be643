"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from deployments.sandbox.process import running

# Everything that the tests talk to is on this machine, whatever proxy its user needs for the rest.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"


@pytest.fixture(scope="session")
def sandbox_url() -> Iterator[str]:
    """URL of a sandbox with its own catalogue and all knobs off; read only, since all tests share it."""
    with running() as url:
        yield url
