"""``make chaos-server``: faults of the Prefect server in each call of a run at each phase, and a signal in each wait.

The table goes to `tests/chaos/RESULTS.md`. The command fails if a run hangs, ends with a raw error or with wrong
pixels, or cannot be resumed, and if a process stays for more than 35 s after a signal.

``CHAOS_COMBINATIONS`` and ``CHAOS_LANES`` set how many combinations are tried (default: 280, spread evenly over calls
and phases; 0 = all, about 900) and how many runs go on at once (default: 3). ``CHAOS_SEED`` chooses others.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from deployments.sandbox.process import running
from tests.bench.server import prefect_server
from tests.chaos.lane import KNOBS, Fault, lanes
from tests.chaos.matrix import Combination, Deployment, Row, calls_of, combinations, run_all, sample
from tests.chaos.report import report
from tests.chaos.waits import WAITS, leave_all
from tests.migrated import ROOT, migrated_database

RESULTS = ROOT / "tests/chaos/RESULTS.md"
SHARES = {"command": 0.7, "adhoc": 0.15, "worker": 0.15}
LONGEST_SILENCE_S = 60.0
SIGNALS = (signal.SIGTERM, signal.SIGINT)
DEFAULTS = {"PREFECT_API_REQUEST_TIMEOUT": "60"}
AT_DEFAULTS = [
    Combination(
        how="command",
        fault=Fault(call=call, phase=phase, kind=kind, times=None),
        settings=DEFAULTS,
        hurried=False,
        quick=False,
        patience=900.0,
    )
    for call, phase, kind in (
        ("*", "start", "timeout"),
        ("*", "leases", "503"),
        ("*", "tasks", "timeout"),
        ("*", "tasks", "reset"),
        ("*", "artifacts", "503"),
        ("*", "end", "timeout"),
        ("POST /v2/concurrency_limits/increment-with-lease", "tasks", "503"),
        ("POST /v2/concurrency_limits/increment-with-lease", "leases", "timeout"),
        ("GET /v2/concurrency_limits/{name}", "start", "503"),
        ("POST /flow_runs/{id}/set_state COMPLETED", "end", "503"),
    )
]
"""Faults of a client with all settings and constants as they are by default."""


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[tuple[str, str]]:
    """Run a Prefect server and a sandbox; yields the URLs of their APIs."""
    home = folder / "server"
    home.mkdir()
    shutil.copy(migrated_database(), home / "prefect.db")
    own = {"PREFECT_SERVER_UI_ENABLED": "false", "PYTHONPATH": str(ROOT / "tests/server")}
    with prefect_server(home, **own) as prefect, running(**KNOBS) as sandbox:
        yield prefect, sandbox


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Do it; return the exit status."""
    count, seed = int(os.environ.get("CHAOS_COMBINATIONS", "280")), int(os.environ.get("CHAOS_SEED", "0"))
    begun, logs = time.monotonic(), Path(tempfile.mkdtemp(prefix="chaos-logs-"))
    rows: list[Row] = []

    def done(row: Row) -> None:
        _print(f"{'' if row.good else 'FAIL '}{row.combination.name}: {row.outcome} {row.error[:200]}")
        if not row.good:
            text = f"{row.combination.name}\n{row.outcome}: {row.error}\n{row.log}"
            (logs / f"{len(list(logs.iterdir())):03}.log").write_text(text)

    with (
        tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as name,
        contextlib.ExitStack() as open_,
    ):
        prefect, sandbox = open_.enter_context(servers(Path(name)))
        several = int(os.environ.get("CHAOS_LANES", "3"))
        own = open_.enter_context(lanes(several, Path(name), prefect=prefect, sandbox=sandbox))
        deployment = Deployment(prefect)
        for how, share in SHARES.items():
            calls, pixels = calls_of(own[0], how, deployment)
            every = combinations(how, calls)
            chosen = sample(every, round(count * share) if count else len(every), seed=seed)
            rows += run_all(own, chosen, deployment, pixels, done)
        slow = run_all(own, AT_DEFAULTS, deployment, pixels, done)
        left = leave_all(own, WAITS, SIGNALS, deployment)
    met = [row for row in rows if row.met]
    load = os.getloadavg()[2]
    RESULTS.write_text(report(met, slow, left, unmet=len(rows) - len(met), load=load))
    bad = [row for row in (*met, *slow) if not row.good]
    silent = [row for row in slow if row.silence > LONGEST_SILENCE_S]
    stay = [each for each in left if not each.good]
    for each in stay:
        _print(f"FAIL {each.signal}: {each.wait}: {each.seconds} s\n{each.log[-3000:]}")
    for row in silent:
        _print(f"FAIL {row.combination.name}: {row.silence:.0f} s without a line in the log")
    _print(f"{len(met) + len(slow)} combinations in {time.monotonic() - begun:.0f} s, {len(bad)} bad; logs in {logs}")
    return int(bool(bad or silent or stay))


if __name__ == "__main__":
    sys.exit(main())
