"""What all tests share."""

from __future__ import annotations

import fcntl
import gc
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import ee
import prefect.client.base
import prefect.flow_engine
import pytest
from prefect.testing import utilities

from deployments.sandbox.process import running
from tasks.earthengine.connection import Connection

ROOT = Path(__file__).parents[1]
# Everything that the tests talk to is on this machine, whatever proxy its user needs for the rest.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"


# What takes longest is begun first, or one process would end with it while the other has nothing left to do.
LONGEST = (
    "flows/test_resume.py",
    "flows/test_failures.py",
    "flows/test_kill.py",
    "flows/test_flows.py",
    "tasks/test_crashed.py",
    "test_docs.py",
    "flows/test_command.py",
    "deployments/test_provision.py",
    "flows/test_adhoc.py",
    "flows/test_growing.py",
    "deployments/sandbox/test_limits.py",
    "tasks/test_fetch.py",
    "flows/test_real_input.py",
    "tasks/test_leases.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files in the order in which two processes take them from one another."""
    ranks = {ROOT / "tests" / name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


@pytest.fixture(autouse=True, scope="session")
def _quick_collections() -> None:
    """Many fixtures collect garbage: what was imported until here is none, and is looked through no more."""
    gc.collect()
    gc.freeze()


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
def migrated() -> Path:
    """An empty database of this Prefect: made once, since that takes up to 50 s, and then copied for each server."""
    database = ROOT / ".cache" / "tests" / f"prefect-{version('prefect')}.db"
    database.parent.mkdir(parents=True, exist_ok=True)
    with database.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of the two processes of `make test`, one makes it
        if not database.exists():
            new = database.with_suffix(".new")
            new.unlink(missing_ok=True)
            environment = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{new}"}
            command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"]
            subprocess.run(command, env=os.environ | environment, check=True, capture_output=True)
            new.rename(database)
    return database


class Hurried:
    """A module whose sleep is a tenth of what is asked for."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def sleep(self, seconds: float) -> Any:
        return self._module.sleep(seconds / 10)


@pytest.fixture(scope="session")
def prefect_server(migrated: Path) -> Iterator[None]:
    """A Prefect server with a database of its own.

    Few tests go through it; the rest call plain functions.
    """
    home = tempfile.mkdtemp()
    shutil.copy(migrated, Path(home, "prefect-test.db"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utilities, "mkdtemp", lambda: home)  # the harness looks for its database there, and removes it
        # SQLite refuses a write that meets another, as when a batch takes its slot: the client repeats it after 2 s.
        for name in ("time", "anyio"):
            patch.setattr(prefect.client.base, name, Hurried(getattr(prefect.client.base, name)))
        # The engine would wait at the end of each run until the thread of its heartbeats wakes, up to a second.
        patch.setattr(
            prefect.flow_engine,
            "_send_heartbeats",
            partial(prefect.flow_engine._send_heartbeats, join_on_exit=False),
        )
        harness = utilities.prefect_test_harness(server_startup_timeout=120)
        with ExitStack() as until_the_end:
            with pytest.MonkeyPatch.context() as start:
                start.setenv("PYTHONPATH", str(ROOT / "tests" / "server"), prepend=os.pathsep)
                until_the_end.enter_context(harness)
            yield
