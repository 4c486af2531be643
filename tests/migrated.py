"""The database of a Prefect server, with all migrations."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]


def migrated_database() -> Path:
    """Return an empty database of this Prefect: made once, since that takes up to 50 s, then copied for each server."""
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
