"""The servers of a bench: the sandbox, and a Prefect server with leases on disk, on SQLite if not told otherwise."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import requests

QUOTA = {"max_concurrent": 40, "qps": 100.0, "latency_median": 0.43, "latency_sigma": 0.5}
OFF = {
    "max_concurrent": None,
    "qps": None,
    "latency_median": 0.0,
    "latency_sigma": 0.0,
    "p_500": 0.0,
    "p_503": 0.0,
    "p_dropped": 0.0,
    "p_truncated": 0.0,
    "p_hanging": 0.0,
    "hang_at": None,
    "max_pixels": None,
    "restricted": False,
    # At level 1 a body costs 6 to 11 ms of the sandbox's CPU, as much again as making it.
    "gzip": False,
}
START_S = 180.0  # the first start migrates the database, about 50 s


class Control:
    """The sandbox's knobs and statistics."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._session = requests.Session()
        self._session.trust_env = False

    def turn(self, **knobs) -> None:
        """Change some knobs."""
        self._session.patch(f"{self.url}/sandbox/knobs", json=knobs, timeout=30).raise_for_status()

    def begin(self, *, seed: int, **knobs) -> None:
        """Set all knobs and forget everything: the dice too, which count how often a request was made."""
        self.quiet()
        self.turn(**OFF, seed=-1)
        self.turn(**knobs, seed=seed)
        self._session.delete(f"{self.url}/sandbox/statistics", timeout=30).raise_for_status()

    def quiet(self, patience: float = 30.0) -> None:
        """Wait until nothing is in flight: what a client gave up would count for the next."""
        end = time.monotonic() + patience
        while self.statistics()["in_flight"] and time.monotonic() < end:
            time.sleep(0.1)

    def statistics(self) -> dict:
        """Return the counts since they were last reset."""
        answer = self._session.get(f"{self.url}/sandbox/statistics", timeout=30)
        answer.raise_for_status()
        return answer.json()


def free_port() -> int:
    """Return a port of loopback that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment without any Prefect or Earth Engine setting of its user."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "EARTHENGINE_"))}
    local = {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
    return kept | local | {"PREFECT_SERVER_ANALYTICS_ENABLED": "false"} | more


@contextlib.contextmanager
def prefect_server(home: Path, *, port: int | None = None, database: str | None = None, **more: str) -> Iterator[str]:
    """Run a Prefect server for as long as the block; yields the URL of its API.

    Args:
        home: Its folder.
        port: Of loopback; any that is free by default.
        database: URL, `postgresql+asyncpg://...`; SQLite in its folder by default.
        **more: More of its environment.
    """
    port = port or free_port()
    settings = environment(
        PREFECT_HOME=str(home),
        PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE="prefect.server.concurrency.lease_storage.filesystem",
        DO_NOT_TRACK="1",
        **({"PREFECT_SERVER_DATABASE_CONNECTION_URL": database} if database else {}),
        **more,
    )
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (home / "server.log").open("ab") as log:
        # A session of its own: it starts processes, and all of them end with the block.
        process = subprocess.Popen(command, env=settings, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait_until_healthy(process, f"http://127.0.0.1:{port}/api/health", home / "server.log")
            yield f"http://127.0.0.1:{port}/api"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _wait_until_healthy(process: subprocess.Popen, url: str, log: Path) -> None:
    end = time.monotonic() + START_S
    with requests.Session() as session:
        session.trust_env = False
        while time.monotonic() < end and process.poll() is None:
            with contextlib.suppress(requests.RequestException):
                if session.get(url, timeout=5).ok:
                    return
            time.sleep(0.5)
    raise RuntimeError(f"The Prefect server did not start:\n{log.read_text()[-2000:]}")
