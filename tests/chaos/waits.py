"""SIGTERM and SIGINT in each wait of a run: its process leaves within 35 seconds, and the same job then completes."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.extraction.retry_policy import RetryPolicy
from tasks.prefect_io.quota_limit import tag_of
from tests.chaos.lane import Fault, Lane, Place, Watch
from tests.chaos.matrix import PATIENT, Deployment, job_of

LEAVES_S = 35.0
"""Seconds within which a process leaves, by the promise of the README and the patience of Prefect's runner."""
PATIENCE_S = 180.0


@dataclass(frozen=True, kw_only=True)
class Wait:
    """A wait, and how a run comes into it."""

    name: str
    reached: Callable[[Watch, str], bool]
    """Whether a run is in it, by what the proxies have seen and by its log."""
    watch: Callable[[], Watch] = Watch
    limit: int | None = None
    """Slots of the limit, all of them taken by another; None = as the run makes it."""
    values: Mapping[str, Any] = field(default_factory=dict)
    given: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Left:
    """How a process left."""

    wait: str
    how: str
    signal: str
    seconds: float | None
    """From the signal to the end of the process; None = the run did not come into the wait, or did not leave."""
    code: int | None
    resumed: bool
    message: str
    log: str = ""

    @property
    def good(self) -> bool:
        """Whether it left in time, and the job could be resumed."""
        return self.seconds is not None and self.seconds <= LEAVES_S and self.resumed


ONE_ATTEMPT = {field.name: field.default for field in dataclasses.fields(RetryPolicy)} | {"attempts": 1}


def _away(phase: str) -> Callable[[], Watch]:
    return lambda: Watch(Fault(call="*", phase=phase, kind="timeout", times=None))


def _holding() -> Watch:
    return Watch(pixel_fault="timeout")


WAITS = (
    Wait(name="all slots are taken", reached=lambda watch, _: len(watch.calls) > 20, limit=2),
    Wait(
        name="the slot of the task's tag",
        watch=lambda: Watch(
            Fault(call="POST /v2/concurrency_limits/increment-with-lease", phase="leases", kind="423", times=None)
        ),
        reached=lambda watch, _: watch.faults > 3,
    ),
    Wait(name="a request without an answer", watch=_holding, reached=lambda watch, _: watch.asked > 0),
    Wait(name="the server away at its start", watch=_away("start"), reached=lambda watch, _: watch.faults > 0),
    Wait(name="the server away at its leases", watch=_away("leases"), reached=lambda watch, _: watch.faults > 0),
    Wait(name="the server away while it fetches", watch=_away("tasks"), reached=lambda watch, _: watch.faults > 2),
    Wait(name="the server away at its end", watch=_away("artifacts"), reached=lambda watch, _: watch.faults > 0),
    Wait(
        name="the wait for a retry of the run",
        watch=lambda: Watch(pixel_fault="503"),
        given={"run_retries": 2, "run_retry_delay": 120},
        values={"tasks.extraction.retry_policy:RetryPolicy.__init__.__kwdefaults__": ONE_ATTEMPT},
        reached=lambda _, log: "AwaitingRetry" in log or "starts in" in log,
    ),
    Wait(name="a product in the making", reached=lambda watch, _: watch.answered >= watch.tiles),
)


@contextlib.contextmanager
def _taken(lane: Lane, place: Place, limit: int | None) -> Iterator[None]:
    """Let another hold all slots of the limit for as long as the block."""
    if limit is None:
        yield
        return
    name = f"tag:{tag_of(place.project)}"
    with temporary_settings({PREFECT_API_URL: lane.upstream}), get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(name, limit)
        client.increment_concurrency_slots([name], limit, "concurrency")
        try:
            yield
        finally:
            client.release_concurrency_slots([name], limit, 1.0)


def leave(lane: Lane, wait: Wait, how: str, number: signal.Signals, deployment: Deployment) -> Left:
    """Bring a run into a wait, send a signal to its process, and measure how long it stays."""
    place = lane.new(wait.given)
    watch = wait.watch()
    sent: list[float] = []
    log = place.folder / "stderr"

    def look(pid: int) -> None:
        if not sent and wait.reached(watch, log.read_text(errors="replace")):
            time.sleep(0.5)
            sent.append(time.monotonic())
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    with _taken(lane, place, wait.limit):
        end = lane.run(job_of(how, place, lane, deployment, values=wait.values), watch, patience=PATIENCE_S, look=look)
    seconds = time.monotonic() - sent[0] if sent and end.code is not None else None
    again = lane.run(job_of(how, place, lane, deployment, **PATIENT), Watch())
    left = Left(
        wait=wait.name,
        how=how,
        signal=number.name,
        seconds=seconds,
        code=end.code,
        resumed=again.code == 0,
        message=end.message,
        log=f"{end.log}\n--- again: {again.code}\n{again.log}",
    )
    place.remove()
    return left


def waits(signals: Sequence[signal.Signals], hows: Sequence[str]) -> list[tuple[Wait, str, signal.Signals]]:
    """Return each signal in each wait of each way to start a run. A worker sends no SIGINT."""
    every = itertools.product(WAITS, hows, signals)
    return [(wait, how, number) for wait, how, number in every if (how, number) != ("worker", signal.SIGINT)]
