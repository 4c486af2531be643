"""The services of `make up`: how each is started, and how its readiness is checked."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import requests

from deployments.server.writes_in_turn import connection_url
from deployments.up.mark import Mark, leader, marked

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
POOL = "pixel-quarry"
PROJECT = "my-project"  # the sandbox accepts any project
WORKER = "make-up"
PATIENCE = 300.0  # seconds; at its first start a server creates its database, which takes two minutes on a busy machine
RUN_BYTES = 0.5e9  # of memory, for one run: 0.45 GB were measured
MOST_RUNS = 10  # at once; one run is enough to use the quota
_TAIL = 20  # lines at the end of a log that an error message shows


class UpError(Exception):
    """The services cannot be started. The message gives the reason and what to do."""


@dataclass(frozen=True)
class Service:
    """A process that runs until it is stopped.

    Attributes:
        name: Name of the service, of its log, and in its mark.
        command: Command line, run in the checkout.
        environment: Its whole environment, except the mark.
        ready: Function that returns whether the process that started at the given time is ready.
        address: Text that is printed for the service.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    ready: Callable[[datetime], bool]
    address: str


@dataclass(frozen=True)
class Place:
    """Where the services run: a folder for their data, and two ports on loopback."""

    folder: Path
    port: int
    sandbox_port: int

    @property
    def ports(self) -> tuple[int, int]:
        """The ports of the server and of the sandbox."""
        return self.port, self.sandbox_port

    @property
    def url(self) -> str:
        """URL of the Prefect UI. The API is at `/api` below it."""
        return f"http://{HOST}:{self.port}"

    @property
    def sandbox(self) -> str:
        """URL of the sandbox, which stands in for Earth Engine."""
        return f"http://{HOST}:{self.sandbox_port}"

    @property
    def environment(self) -> dict[str, str]:
        """Environment of all services, without the user's own settings for Prefect and Earth Engine."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "EARTHENGINE_"))}
        return kept | {
            "PREFECT_HOME": str(self.folder / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "PYTHONUNBUFFERED": "1",  # so that a log is up to date
            "NO_PROXY": f"{HOST},localhost",
            "no_proxy": f"{HOST},localhost",
        }

    @property
    def client(self) -> dict[str, str]:
        """Environment of processes that use the Prefect server."""
        return self.environment | {"PREFECT_API_URL": f"{self.url}/api", "PREFECT_WORKER_QUERY_SECONDS": "2"}

    def services(self) -> tuple[Service, Service, Service]:
        """Return the server, the sandbox, and the worker, which needs both."""
        serving = {
            # The default is to keep leases in memory: then a restarted server never frees the slots of dead runs.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": connection_url(self.folder / "prefect" / "prefect.db"),
            "PREFECT_SERVER_UI_API_URL": f"{self.url}/api",  # the default is port 4200, even with another `--port`
        }
        return (
            Service(
                "server",
                _python("prefect", "server", "start", "--host", HOST, "--port", str(self.port)),
                self.environment | serving,
                lambda _: _get(f"{self.url}/api/health") is not None,
                self.url,
            ),
            Service(
                "sandbox",
                _python("deployments.sandbox", "--host", HOST, "--port", str(self.sandbox_port)),
                self.environment,
                lambda _: _get(f"{self.sandbox}/sandbox/statistics") is not None,
                f"{self.sandbox} (stands in for Earth Engine; in a browser, its assets and recipes with pictures)",
            ),
            Service(
                "worker",
                _python(
                    *["prefect", "worker", "start", "--type", "process"], "--pool", POOL, "--name", WORKER, *_limit()
                ),
                self.client,
                self._worker_is_online,
                f"{WORKER}, for the work pool {POOL}",
            ),
        )

    def _worker_is_online(self, since: datetime) -> bool:
        workers = _get(f"{self.url}/api/work_pools/{POOL}/workers/filter", method="POST") or ()
        return any(
            worker["name"] == WORKER
            and worker["status"] == "ONLINE"
            and datetime.fromisoformat(worker["last_heartbeat_time"]) >= since
            for worker in workers
        )


def provision(place: Place, output: Path) -> None:
    """Put blocks, quota, work pool, deployments and the list of what the sandbox offers on the server.

    Args:
        place: Where the server and the sandbox run.
        output: Folder for the files that the flows write.

    Raises:
        UpError: A step failed, and has printed the reason.
    """
    where = ("--project", PROJECT, "--endpoint", place.sandbox, "--output", str(output))
    for command in (("deployments.provision", *where), ("deployments.up.announce", place.sandbox)):
        environment = place.client | Mark("provision", place.ports, place.folder).environment
        if subprocess.run(_python(*command), cwd=ROOT, env=environment, check=False).returncode:  # noqa: S603 - ours
            raise UpError(f"`python -m {command[0]}` failed. The reason is above.")


def _limit() -> tuple[str, str]:
    """Return the option that keeps further runs waiting (in the UI: Late), so that they fit into the memory."""
    bearable = int(psutil.virtual_memory().total / 2 / RUN_BYTES)
    return "--limit", str(max(2, min(MOST_RUNS, bearable)))


def _python(*words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", *words)


def _get(url: str, method: str = "GET") -> Any:
    with requests.Session() as session:
        session.trust_env = False  # no proxy of the user: this is loopback
        try:
            answer = session.request(method, url, json={} if method == "POST" else None, timeout=5)
            return answer.json() if answer.ok else None
        except requests.RequestException:  # not ready yet
            return None


def check(place: Place) -> None:
    """Check that each port is free, or is used by the services of this place.

    Raises:
        UpError: A port is used by another process, both ports are the same, or the services run with other ports.
    """
    there = marked(place.folder)
    for process, mark in there:
        if mark.ports != place.ports:
            raise UpError(
                f"The services are up already, with PORT={mark.ports[0]} SANDBOX_PORT={mark.ports[1]} "
                f"(process {process.pid}). Stop them first: `make down`."
            )
    if place.port == place.sandbox_port:
        raise UpError(f"PORT and SANDBOX_PORT are both {place.port}: two services cannot share a port. Change one.")
    names = {mark.service for _, mark in there}
    for service, name, port in (("server", "PORT", place.port), ("sandbox", "SANDBOX_PORT", place.sandbox_port)):
        if service not in names and (reason := _refusal(port)):
            raise UpError(
                f"{name}={port} cannot be used for the {service} ({reason}). Nothing was started. "
                f"Stop the process that uses it, or take another port: `make up {name}={port + 100}`."
            )


def _refusal(port: int) -> str | None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT counts as free
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return str(error.strerror)
    return None


def launch(service: Service, place: Place) -> subprocess.Popen[bytes]:
    """Start a service in a session of its own, so that it outlives this process and the terminal."""
    environment = {**service.environment, **Mark(service.name, place.ports, place.folder).environment}
    with log_of(service, place).open("wb") as log:
        return subprocess.Popen(  # noqa: S603 - this interpreter, and modules named in this file
            service.command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def log_of(service: Service, place: Place) -> Path:
    """Return the log file of a service: its standard output and standard error."""
    return place.folder / f"{service.name}.log"


def until_ready(service: Service, place: Place, patience: float = PATIENCE) -> Iterator[float]:
    """Wait until a service is ready; yield the seconds waited so far, twice a second.

    Args:
        service: The service, which was started before.
        place: Where it runs.
        patience: Longest time to wait, in seconds.

    Raises:
        UpError: The service ended, or is not ready in time. The message holds the end of its log.
    """
    begun = time.monotonic()
    while True:
        process = leader(place.folder, service.name, service.command)
        seconds = time.monotonic() - begun
        if process is None:
            raise UpError(f"The {service.name} ended by itself.\n{_end_of_log(service, place)}")
        # One second of tolerance: the start of a process is measured in ticks, the worker's heartbeat in microseconds.
        if service.ready(datetime.fromtimestamp(process.create_time() - 1, UTC)):
            return
        if seconds > patience:
            raise UpError(f"The {service.name} is not ready after {patience:.0f} s.\n{_end_of_log(service, place)}")
        yield seconds
        time.sleep(0.5)


def _end_of_log(service: Service, place: Place) -> str:
    log = log_of(service, place)
    lines = log.read_text(errors="replace").splitlines()[-_TAIL:] if log.exists() else []
    return "\n".join([f"The end of {log}:", *(f"  {line}" for line in lines)])
