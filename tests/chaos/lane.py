"""One run at a time between two proxies: before the Prefect server, which can fail, and before the sandbox."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import queue
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, TypeVar

from tests.bench.server import environment
from tests.chaos.forkserver import ForkServer, Job
from tests.proxy import Request, proxied

T = TypeVar("T")
SCENE = "projects/sandbox/assets/landsat8_224078_20200518"
PHASES = ("start", "leases", "tasks", "artifacts", "end")
"""Until the first slot is asked for; until the first pixel request; until the last is answered; until the run's last
state is set; from then on."""
TILES, IN_FLIGHT = 16, 4
GIVEN: dict[str, Any] = {
    "image": {"asset": SCENE},
    "region": [-54.60, -25.30, -54.565, -25.27],
    "scale": 30,
    "tile_size": 32,
    "requests_in_flight": IN_FLIGHT,
    "requests_per_second": 1000,
    "run_retries": 0,
}
"""A region of small tiles."""
KNOBS = {"latency_median": 0.25, "latency_sigma": 0.2}
SETTINGS = {"PREFECT_API_REQUEST_TIMEOUT": "3", "PREFECT_LOGGING_COLORS": "false"}
"""Settings of a client that gives up soon."""
VALUES: dict[str, Any] = {
    # A run of some seconds has several waves of batches, renews its leases and shows its progress.
    "tasks.extraction.batching:FIRST_TILES_A_REQUEST_IN_FLIGHT": 2,
    "tasks.extraction.batching:BATCH_S": 6.0,
    "tasks.prefect_io.lease_keeper:RENEW_S": 1.0,
    "tasks.prefect_io.progress:Progress.ARTIFACT_S": 1.0,
    # It gives up soon.
    "tasks.prefect_io.server:ANSWER_S": 2.0,
    "tasks.prefect_io.impatience:ANSWER_S": 3.0,
    "tasks.prefect_io.outage:LONGEST_S": 20.0,
}
NONE: Mapping[str, Any] = MappingProxyType({})
HANG_S = 150.0
"""Seconds after which a run counts as hanging."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault of the server."""

    call: str
    """See `tests.proxy.Request.call`; `*` is each call."""
    phase: str
    kind: str
    """One of `tests.proxy.KINDS`."""
    times: int | None = 1
    """How often, from its first call in the phase on; None = without end, in later phases too."""
    seconds: float | None = None
    """For how long from the first call on, instead of `times`."""

    @property
    def length(self) -> str:
        """How long it lasts, in words."""
        if self.seconds is not None:
            return f"{self.seconds:.0f} s"
        return "for ever" if self.times is None else "once" if self.times == 1 else f"{self.times} times"


@dataclass
class Watch:
    """What the proxies see of one run: its phase, its calls, its pixels. Applies one fault."""

    fault: Fault | None = None
    tiles: int = TILES
    leased: bool = False
    asked: int = 0
    """Pixel requests that were sent."""
    answered: int = 0
    """Pixel requests that were answered in full."""
    over: bool = False
    """Whether the run's last state was set."""
    calls: list[tuple[str, str]] = field(default_factory=list)
    """Phase and call of each request, in order."""
    faults: int = 0
    since: float | None = None
    pixel_fault: str | None = None
    """Fault with which each pixel request is answered."""

    @property
    def phase(self) -> str:
        """The phase that the run is in."""
        if self.over:
            return "end"
        if self.answered >= self.tiles:
            return "artifacts"
        return "tasks" if self.asked else "leases" if self.leased else "start"

    def prefect(self, request: Request) -> str | None:
        """Rule of the proxy before the Prefect server."""
        call = request.call
        if call.endswith("increment-with-lease"):
            self.leased = True
        if re.fullmatch(r"POST /flow_runs/\{id\}/set_state (COMPLETED|FAILED|CRASHED|CANCELLED)", call):
            self.over = True
        phase = self.phase
        self.calls.append((phase, call))
        fault = self.fault
        if fault is None or fault.call not in {"*", call} or not self._due(fault, phase):
            return None
        self.faults += 1
        self.since = self.since or time.monotonic()
        return fault.kind

    def _due(self, fault: Fault, phase: str) -> bool:
        if self.since is None:
            return phase == fault.phase
        if fault.seconds is not None:
            return time.monotonic() - self.since < fault.seconds
        return fault.times is None or (self.faults < fault.times)

    def pixels(self, request: Request) -> str | None:
        """Rule of the proxy before the sandbox."""
        if is_pixels(request):
            self.asked += 1
            return self.pixel_fault
        return None

    def count(self, request: Request, status: int) -> None:
        """Count an answer of the sandbox."""
        self.answered += is_pixels(request) and status == 200


def is_pixels(request: Request) -> bool:
    """Whether a request asks for pixels."""
    return request.method == "POST" and request.path.split("?")[0].endswith(("getPixels", "computePixels"))


@dataclass(frozen=True, kw_only=True)
class End:
    """How a run ended."""

    code: int | None
    """Exit status of its process; None = it hung and was killed."""
    how: dict[str, Any]
    """What `tests.chaos.forkserver` wrote of it."""
    seconds: float
    silence: float
    """Seconds of the longest time without a line in its log."""
    log: str
    watch: Watch

    @property
    def message(self) -> str:
        """The last words of a run that failed."""
        if self.how.get("how") == "raised":
            return f"{self.how['type'].rsplit('.', 1)[-1]}: {self.how['message']}"
        lines = [text for text in self.log.splitlines() if text.strip()]
        first = [text for text in lines if re.match(r"[A-Z][a-z]+[A-Z]\w*: ", text)]
        return (first or lines or [""])[-1]

    @property
    def tracebacks(self) -> int:
        """Tracebacks in its log."""
        return self.log.count("Traceback (most recent call last)")


class Lane:
    """A place where runs go on one after the other.

    Args:
        name: Its name, part of the names of projects.
        folder: Where outputs and logs go.
        server: Starts the processes of jobs.
        prefect: URL of the API of the Prefect server.
        sandbox: URL of the sandbox.
    """

    def __init__(self, name: str, folder: Path, server: ForkServer, *, prefect: str, sandbox: str) -> None:
        self.name, self.folder, self._server = name, folder, server
        self._urls = prefect, sandbox
        self._number = itertools.count()
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.prefect = self._open.enter_context(proxied(self._urls[0]))
        self.sandbox = self._open.enter_context(proxied(self._urls[1]))
        self.settings = {"PREFECT_API_URL": self.prefect.url, "PREFECT_HOME": str(self.folder / "home")}
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def upstream(self) -> str:
        """URL of the API of the Prefect server itself."""
        return self._urls[0]

    def new(self, more: Mapping[str, Any] = NONE) -> Place:
        """Return a place for one job: a folder, and a project of its own, whose slots no other job has."""
        number = next(self._number)
        folder = self.folder / f"job-{number:03}"
        folder.mkdir()
        return Place(folder=folder, project=f"{self.name}-{number:03}", more=more)

    def run(
        self,
        job: Job,
        watch: Watch,
        *,
        patience: float = HANG_S,
        look: Callable[[int], object] = lambda _: None,
    ) -> End:
        """Run a job to its end, or kill it.

        Args:
            job: The job.
            watch: What is to be done with its requests.
            patience: Seconds after which it is killed.
            look: Called ten times a second with the id of its process.
        """
        self.prefect.rule, self.sandbox.rule, self.sandbox.answered = watch.prefect, watch.pixels, watch.count
        folder = Path(job.folder)
        log, ended = folder / "stderr", folder / "end.json"
        ended.unlink(missing_ok=True)
        log.write_bytes(b"")
        begun = last = time.monotonic()
        pid = self._server.start(dataclasses.replace(job, settings=self.settings | job.settings))
        silence, size, hung = 0.0, 0, False
        while (code := self._server.code(pid)) is None:
            now = time.monotonic()
            if (length := log.stat().st_size) != size:
                silence, size, last = max(silence, now - last), length, now
            if now - begun > patience and not hung:
                hung = True
                os.kill(pid, signal.SIGKILL)
            look(pid)
            time.sleep(0.1)
        now = time.monotonic()
        how = json.loads(ended.read_text()) if ended.exists() else {"how": "killed"}
        return End(
            code=None if hung else code,
            how=how,
            seconds=now - begun,
            silence=max(silence, now - last),
            log=log.read_text(errors="replace"),
            watch=watch,
        )


@dataclass(frozen=True)
class Place:
    """Where one job runs: again, if it failed."""

    folder: Path
    project: str
    more: Mapping[str, Any]
    """More of the parameters."""

    @property
    def output(self) -> Path:
        """Its output."""
        return self.folder / "output"

    def given(self, lane: Lane) -> dict[str, Any]:
        """Return the parameters of the run."""
        return GIVEN | {"output": str(self.output), "project": self.project, "endpoint": lane.sandbox.url} | self.more

    def command(self, lane: Lane, **more: Any) -> Job:
        """Return the job as a command line."""
        given = self.given(lane)
        image = given.pop("image")["asset"]
        given["region"] = ",".join(map(str, given["region"]))
        words = ["region", f"--image={image}"]
        words += [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
        return self._job("command", words=words, **more)

    def adhoc(self, lane: Lane, **more: Any) -> Job:
        """Return the job as a call of `flows.adhoc`."""
        return self._job("adhoc", words=["region"], given=self.given(lane), **more)

    def worker(self, flow_run: str, **more: Any) -> Job:
        """Return the job as a worker runs it."""
        more["settings"] = more.get("settings", {}) | {"PREFECT__FLOW_RUN_ID": flow_run}
        return self._job("worker", **more)

    def _job(
        self,
        how: str,
        *,
        settings: Mapping[str, str] = NONE,
        values: Mapping[str, Any] = NONE,
        quick: bool = True,
        **more: Any,
    ) -> Job:
        values = {**(VALUES if quick else {}), **values}
        return Job(how=how, folder=str(self.folder), settings=dict(settings), values=values, **more)

    def pixels(self) -> dict[str, bytes]:
        """Return the tiles and the products that are pixels, byte for byte."""
        files = (path for path in self.output.rglob("*.tif") if path.is_file())
        return {path.relative_to(self.output).as_posix(): path.read_bytes() for path in files}

    def remove(self) -> None:
        """Remove all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def lanes(folder: Path, servers: Sequence[str], *, sandbox: str) -> Iterator[list[Lane]]:
    """Open several lanes for as long as the block.

    Args:
        folder: Where their outputs and logs go.
        servers: URL of the API of each lane's Prefect server.
        sandbox: URL of the sandbox.
    """
    with contextlib.ExitStack() as stack:
        processes = stack.enter_context(ForkServer(environment(**SETTINGS)))
        yield [
            stack.enter_context(Lane(name, folder / name, processes, prefect=prefect, sandbox=sandbox))
            for name, prefect in ((f"lane-{number}", prefect) for number, prefect in enumerate(servers))
        ]


def on_lanes(lanes: Sequence[Lane], works: Iterable[Callable[[Lane], T]]) -> list[T]:
    """Do each work in a lane that is free, and return what came of them, in their order."""
    free: queue.SimpleQueue[Lane] = queue.SimpleQueue()
    for lane in lanes:
        free.put(lane)

    def one(work: Callable[[Lane], T]) -> T:
        lane = free.get()
        try:
            return work(lane)
        finally:
            free.put(lane)

    with ThreadPoolExecutor(len(lanes)) as pool:
        return list(pool.map(one, works))
