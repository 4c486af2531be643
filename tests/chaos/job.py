"""A job that is killed at random moments and started again, and what must be true of it at the end."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.prefect_io.quota_limit import tag_of
from tasks.storage.store import Store
from tests.bench import work
from tests.bench.server import Control, environment

ROOT = Path(__file__).resolve().parents[2]
SCENE = work.SCENE
PATIENCE_S = 600.0
SIZE = 64


@dataclass(frozen=True, kw_only=True)
class Job:
    """The same command, time and again."""

    control: Control
    """Of the sandbox, which counts the requests of this job alone."""
    prefect: str
    """URL of the server's API."""
    points: str
    output: str
    store: Store
    """What is behind the output."""
    project: str
    in_flight: int = 40
    limit: int | None = None
    """Of the tag, if it is to be more than one job takes."""
    settings: dict[str, str] = field(default_factory=dict)
    """More of the environment."""
    log: Path

    @property
    def command(self) -> list[str]:
        """What is typed."""
        options = {
            "--image": SCENE,
            "--masks": "unknown",
            "--points": self.points,
            "--crs": work.CRS,
            "--scale": "5",
            "--size": str(SIZE),
            "--output": self.output,
            "--project": self.project,
            "--endpoint": self.control.url,
            "--requests-in-flight": str(self.in_flight),
            "--run-retries": "0",
        }
        return [sys.executable, "-m", "flows", "patches", *(part for pair in options.items() for part in pair)]

    def start(self) -> subprocess.Popen[bytes]:
        """Start it in a session of its own."""
        if self.limit is not None:
            with self.client() as client:
                client.upsert_global_concurrency_limit_by_name(f"tag:{tag_of(self.project)}", self.limit)
        settings = environment(
            PREFECT_API_URL=self.prefect, PREFECT_HOME=str(self.log.parent / "home"), **self.settings
        )
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self.command, cwd=ROOT, env=settings, stdout=log, stderr=log, start_new_session=True
            )

    def finish(self) -> float:
        """Run it to its end; return how long its process took."""
        begun = time.monotonic()
        code = self.start().wait(PATIENCE_S)
        if code:
            raise RuntimeError(f"the job left with {code}:\n{self.log.read_text()[-4000:]}")
        return time.monotonic() - begun

    def succeeded(self) -> int:
        """Pixel requests that the sandbox answered in full."""
        counts = self.control.statistics()["requests"]
        return sum(by_status.get("200", 0) for method, by_status in counts.items() if method.endswith("Pixels"))

    @contextlib.contextmanager
    def client(self) -> Iterator[SyncPrefectClient]:
        """A client of the server."""
        with temporary_settings({PREFECT_API_URL: self.prefect}), get_client(sync_client=True) as client:
            yield client

    def slots(self) -> int:
        """Slots of the quota that are taken."""
        with self.client() as client:
            return client.read_global_concurrency_limit_by_name(f"tag:{tag_of(self.project)}").active_slots

    def states(self) -> list[str]:
        """States of the flow runs on the server, the last first."""
        with self.client() as client:
            runs = client.read_flow_runs(limit=200, sort=FlowRunSort.START_TIME_DESC)
            return [run.state.name if run.state else "" for run in runs]


@dataclass
class Kill:
    """One of them."""

    at_s: float
    """Seconds after the process was started."""
    succeeded: int
    """Pixel requests that had succeeded by then."""
    freed_s: float | None = None
    """Seconds until no slot was taken any more; None where it was not waited for."""
    server_restarted: bool = False


def kill_at_random(
    job: Job,
    *,
    tiles: int,
    kills: int,
    seed: int,
    wait_for_slots: bool = True,
    restart_server: Callable[[], None] | None = None,
) -> Sequence[Kill]:
    """Start the job and kill it (-9) so often; it is not run to its end.

    Most kills come as the number of fetched tiles passes a random one, so that they are spread over the job, and some
    at a random moment of the first five seconds: while it starts, plans, looks up what is stored or takes its slots.
    """
    dice = random.Random(seed)
    moments: list[float | int] = [*sorted(dice.sample(range(1, tiles), kills))]
    for place in dice.sample(range(kills), kills // 5):
        moments[place] = dice.uniform(0.5, 5.0)
    restarts = set(dice.sample(range(kills), kills // 5)) if restart_server else set()
    done: list[Kill] = []
    lost = 0
    for number, moment in enumerate(moments):
        begun = time.monotonic()
        process = job.start()
        while process.poll() is None and time.monotonic() - begun < PATIENCE_S:
            if isinstance(moment, float) and time.monotonic() - begun >= moment:
                break
            if isinstance(moment, int) and job.succeeded() - lost >= moment:
                break
            time.sleep(0.02)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        killed = time.monotonic()
        job.control.quiet()
        lost = job.succeeded() - stored(job.store)  # fetched, but not stored
        kill = Kill(at_s=killed - begun, succeeded=job.succeeded())
        if number in restarts and restart_server:
            restart_server()
            kill.server_restarted = True
        if wait_for_slots:
            while job.slots() and time.monotonic() - killed < 300:
                time.sleep(0.5)
            kill.freed_s = time.monotonic() - killed
        done.append(kill)
    return done


def stored(store: Store) -> int:
    """Tiles that are in a store."""
    return sum(1 for _ in store.list("tiles/"))


def contents(store: Store) -> dict[str, bytes]:
    """Every tile, byte for byte."""
    return {each.key: store.get(each.key) for each in store.list("tiles/")}
