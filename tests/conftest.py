"""What all tests share."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import ee
import prefect.flow_engine
import pytest
from hypothesis import settings
from prefect.testing import utilities

from deployments.sandbox.process import running
from tasks.earthengine.connection import Connection
from tests.hurry import hurry
from tests.migrated import ROOT, migrated_database

# A loaded machine takes its time: no test is timed.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
# Everything that the tests talk to is on this machine, whatever proxy its user needs for the rest.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
# Nor do they see what the user's profile sets.
os.environ["XDG_CONFIG_HOME"] = str(ROOT / ".cache" / "config")
for _name in ("PROJECT", "CONNECTION", "OUTPUT"):
    os.environ.pop(f"PIXEL_QUARRY_{_name}", None)


# What takes longest is begun first, or one process would end with it while the other has nothing left to do.
LONGEST = (
    "flows/test_failures.py",
    "flows/test_resume.py",
    "flows/test_server_faults.py",
    "flows/test_libraries.py",
    "flows/test_kill.py",
    "flows/test_flows.py",
    "tasks/prefect_io/test_leases.py",
    "tasks/raster/test_untrusted_files.py",
    "test_docs.py",
    "flows/test_command_line.py",
    "deployments/test_provision.py",
    "tasks/extraction/test_killed_audit.py",
    "flows/test_poison.py",
    "flows/test_adhoc.py",
    "flows/test_growing.py",
    "deployments/sandbox/test_limits.py",
    "tasks/extraction/test_fetch.py",
    "flows/test_real_input.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files in the order in which several processes take them from one another."""
    ranks = {ROOT / "tests" / name: rank for rank, name in enumerate(LONGEST)}
    assert all(path.exists() for path in ranks)
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


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, with an empty folder of the same name below its mount point."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "none", folder]
    if (mounted := subprocess.run(mount, check=False, capture_output=True)).returncode:
        pytest.skip(f"only a user who may mount can unmount: {mounted.stderr.decode().strip()}")
    yield folder
    while subprocess.run(["umount", "--lazy", folder], check=False, capture_output=True).returncode == 0:
        pass


@pytest.fixture(scope="session")
def migrated() -> Path:
    """An empty database of this Prefect."""
    return migrated_database()


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
        hurry(patch.setattr)
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
