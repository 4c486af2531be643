"""The same work on a Prefect server with SQLite and on one with PostgreSQL, in turn."""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path

from tests.bench import postgres
from tests.bench.bench import Bench
from tests.bench.jobs import run
from tests.bench.server import prefect_server

# Threads, and the tagged task runs that they share.
TAGGED = ((1, 20), (5, 40))


def sqlite_4000(bench: Bench, seed: int) -> dict:
    """One run, after tagged task runs, on SQLite."""
    return _beside(bench, seed)["sqlite"]


def postgres_4000(bench: Bench, seed: int) -> dict:
    """The same on PostgreSQL."""
    return _beside(bench, seed)["postgres"]


def _beside(bench: Bench, seed: int) -> dict[str, dict]:
    """Both, one after the other, so that neither has a quieter machine; made once for the two cases."""
    key = f"databases {seed}"
    if key not in bench.kept:
        bench.kept[key] = [{name: _measured(bench, seed, name) for name in ("sqlite", "postgres")}]
    return bench.kept[key][0]


def _measured(bench: Bench, seed: int, name: str) -> dict:
    """A new server on a new database: its start with all migrations, tagged runs, then the flow."""
    home = Path(tempfile.mkdtemp(prefix=f"{name}-{seed}-", dir=bench.folder))
    row: dict = {}
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(postgres.cluster()) if name == "postgres" else None
        begun = time.monotonic()
        prefect = stack.enter_context(prefect_server(home, database=database))
        row["start_s"] = time.monotonic() - begun
        for lanes, runs in TAGGED:
            spec = {"job": "tagged", "lanes": lanes, "runs": max(3 * lanes, int(runs * min(1.0, bench.scale)))}
            spec["answers"] = True
            outcome = run([spec], bench.control, log=home / f"tagged-{lanes}.log", prefect=prefect)
            if outcome.errors:
                raise RuntimeError(f"{name}, {lanes} threads: {outcome.errors[0]}")
            row |= {f"{key}_{lanes}": outcome.results[0][key] for key in ("dead_s", "dead_most_s", "answers_503")}
        count = bench.count(4000)
        return row | bench.patches(count, seed=seed, prefect=prefect, answers=True)
