"""``make chaos-server``: faults of the Prefect server in each call of a run at each phase, and a signal in each wait.

The table goes to `tests/chaos/RESULTS.md`. The command fails if a run hangs, ends with a raw error or with wrong
pixels, or cannot be resumed, and if a process stays for more than 35 s after a signal.

``CHAOS_COMBINATIONS`` and ``CHAOS_LANES`` set how many combinations are tried (default: 330, spread evenly over calls
and phases; 0 = all, about 2,000) and how many runs go on at once (default: 4, two on each Prefect server).
``CHAOS_SEED`` chooses others. ``python -m tests.chaos.faults signals`` does one part: `defaults`, `signals`, `faults`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from deployments.sandbox.process import running
from tests.bench.server import prefect_server
from tests.chaos.lane import KNOBS, Fault, Lane, lanes, on_lanes
from tests.chaos.matrix import Combination, Deployment, Row, combinations, judge, sample, undisturbed
from tests.chaos.report import report
from tests.chaos.waits import Left, Wait, leave, waits
from tests.migrated import ROOT, migrated_database

PARTS = ("defaults", "signals", "faults")
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
def server(home: Path) -> Iterator[str]:
    """Run a Prefect server; yields the URL of its API."""
    home.mkdir()
    shutil.copy(migrated_database(), home / "prefect.db")
    own = {"PREFECT_SERVER_UI_ENABLED": "false", "PYTHONPATH": str(ROOT / "tests/server")}
    with prefect_server(home, **own) as prefect:
        yield prefect


class Results:
    """What has come of it so far. Written to the file of results now and then: it takes long."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.slow: list[Row] = []
        self.left: list[Left] = []
        self._logs = Path(tempfile.mkdtemp(prefix="chaos-logs-"))
        self._begun = time.monotonic()

    def add(self, row: Row) -> None:
        """Add what became of a combination."""
        (self.rows if row.combination.quick else self.slow).append(row)
        good = row.good and (row.combination.quick or row.silence <= LONGEST_SILENCE_S)
        self._show(f"{row.combination.name}: {row.outcome} {row.error[:200]}", good, row.log)

    def add_left(self, left: Left) -> None:
        """Add what became of a process that got a signal."""
        self.left.append(left)
        self._show(f"{left.signal}, {left.how}, {left.wait}: {left.seconds} s", left.good, left.log)

    def _show(self, text: str, good: bool, log: str) -> None:
        done = len(self.rows) + len(self.slow) + len(self.left)
        sys.stdout.write(f"{done} {'' if good else 'FAIL '}{text}\n")
        sys.stdout.flush()
        if not good:
            (self._logs / f"{done:03}.log").write_text(f"{text}\n{log}")
        if not done % 20:
            self.write()

    def write(self) -> None:
        """Write the file of results."""
        met = [row for row in self.rows if row.met]
        text = report(met, self.slow, self.left, unmet=len(self.rows) - len(met), load=os.getloadavg()[2])
        RESULTS.write_text(text)

    def close(self) -> int:
        """Write the file of results, and return the exit status."""
        self.write()
        bad = [row for row in (*self.rows, *self.slow) if not row.good]
        silent = [row for row in self.slow if row.silence > LONGEST_SILENCE_S]
        stay = [each for each in self.left if not each.good]
        seconds = time.monotonic() - self._begun
        sys.stdout.write(
            f"{len(self.rows) + len(self.slow)} combinations in {seconds:.0f} s, {len(bad)} bad, {len(silent)} too "
            f"silent; {len(stay)} of {len(self.left)} processes stayed after a signal; logs are in {self._logs}\n"
        )
        return int(bool(bad or silent or stay))


def main(parts: Collection[str] = PARTS) -> int:
    """Do some parts of it; return the exit status."""
    count, seed = int(os.environ.get("CHAOS_COMBINATIONS", "330")), int(os.environ.get("CHAOS_SEED", "0"))
    several, results, deployment = int(os.environ.get("CHAOS_LANES", "4")), Results(), Deployment()
    temporary = tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True)
    with temporary as name, contextlib.ExitStack() as opened:
        servers = [server(Path(name, f"server-{number}")) for number in range((several + 1) // 2)]
        with ThreadPoolExecutor(len(servers)) as pool:
            urls = list(pool.map(opened.enter_context, servers))
        sandbox = opened.enter_context(running(**KNOBS))
        own = opened.enter_context(lanes(Path(name), (urls * 2)[:several], sandbox=sandbox))
        hows = list(SHARES)
        # Each twice: some calls come only now and then.
        seen = on_lanes(own, [partial(undisturbed, how=how, deployment=deployment) for how in hows * 2])
        pixels = seen[0][1]
        chosen: list[Combination] = []
        for number, (how, share) in enumerate(SHARES.items()):
            every = combinations(how, seen[number][0] + seen[number + len(hows)][0])
            chosen += sample(every, round(count * share) if count else len(every), seed=seed)
        works: dict[str, list[Callable[[Lane], None]]] = {
            "signals": [partial(_signal, *each, deployment, results) for each in waits(SIGNALS, ("command", "worker"))],
            "defaults": [partial(_fault, each, deployment, pixels, results) for each in AT_DEFAULTS],
            "faults": [partial(_fault, each, deployment, pixels, results) for each in chosen],
        }
        on_lanes(own, [work for part in parts for work in works[part]])
    return results.close()


def _fault(
    combination: Combination, deployment: Deployment, pixels: Mapping[str, bytes], results: Results, lane: Lane
) -> None:
    results.add(judge(lane, combination, deployment, pixels))


def _signal(wait: Wait, how: str, number: signal.Signals, deployment: Deployment, results: Results, lane: Lane) -> None:
    results.add_left(leave(lane, wait, how, number, deployment))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or PARTS))
