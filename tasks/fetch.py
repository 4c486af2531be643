"""The fetch: batches of a plan as mapped Prefect tasks, each a lane with many requests in flight."""

from __future__ import annotations

import contextlib
import functools
import json
import queue
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from prefect import get_run_logger, task, unmapped
from prefect.cache_policies import NO_CACHE
from prefect.concurrency.context import ConcurrencyContext
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run
from prefect.states import Failed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from tasks.earthengine.connection import Connection
from tasks.earthengine.errors import EarthEngineError, Stopped
from tasks.earthengine.lane import Lane
from tasks.earthengine.permits import Pace
from tasks.earthengine.plan import Plan
from tasks.earthengine.run import Run
from tasks.earthengine.transport import Deadlines, fetch
from tasks.report import Progress
from tasks.slots import Slots
from tasks.storage.open import open_store
from tasks.storage.receipt import Receipt, TileReceipt, write_receipt
from tasks.storage.store import StorageError

# Lanes at once. The tiles of the second wait behind those of the first, and begin as its last ones are awaited: so
# the two seconds that Prefect takes to start a tagged task (SQLite) cost nothing.
LANES = 2
# Seconds of work in a batch: what a receipt is written for, and few starts of a task.
BATCH_S = 90.0
# Tiles in a batch before it is known how long one takes: half a minute of work at a second each.
FIRST_TILES_A_REQUEST_IN_FLIGHT = 30
# Tiles in a batch at the most: their receipt is one file of a few megabytes.
LARGEST_BATCH = 10_000


def lanes() -> TaskRunner[PrefectFuture[Any]]:
    """Return the task runner of a flow: as many batches at once as there are lanes."""
    runner: Any = ThreadPoolTaskRunner(max_workers=LANES)  # its future type is narrower than `flow` is annotated for
    return runner  # type: ignore[no-any-return]  # as above


def batch_size(left: int, *, in_flight: int, per_second: float | None) -> int:
    """Return how many of the tiles that are left make the next batch.

    Args:
        left: Tiles that are in no batch yet.
        in_flight: Requests in flight.
        per_second: Tiles a second so far, None before the first.

    >>> batch_size(1_000, in_flight=40, per_second=None), batch_size(20_000, in_flight=40, per_second=None)
    (1000, 1200)
    >>> batch_size(20_000, in_flight=40, per_second=80.0), batch_size(8_000, in_flight=40, per_second=80.0)
    (7200, 8000)
    """
    size = in_flight * FIRST_TILES_A_REQUEST_IN_FLIGHT if per_second is None else int(per_second * BATCH_S)
    size = max(in_flight, min(size, LARGEST_BATCH))
    return left if left <= size * 1.5 else size


@dataclass(frozen=True)
class Course:
    """A run and its slots."""

    run: Run
    slots: Slots
    in_flight: int
    deadlines: Deadlines


# By the id of the flow run: lanes are threads of the process that their flow runs in.
_COURSES: dict[str, Course] = {}


@contextlib.contextmanager
def at_quota(project: str, pace: Pace, deadlines: Deadlines) -> Iterator[Course]:
    """Hold slots of a project's quota for a flow run, one of them before the block begins.

    Raises:
        BadInputError: the quota's limit counts nothing.
    """
    key = str(flow_run.id)
    log = get_run_logger()
    with Run(pace) as run, Slots(project, run.permits, run_id=UUID(key), log=log) as slots:
        course = _COURSES[key] = Course(run, slots, pace.in_flight, deadlines)
        try:
            yield course
        finally:
            del _COURSES[key]


@task(name="fetch-batch", task_run_name="tiles {start}-{stop}", cache_policy=NO_CACHE)
def fetch_batch(start: int, stop: int, *, output: str, plan_key: str, connection: Connection) -> Receipt:
    """Fetch the tiles [start, stop) of a stored plan, store them, and write their receipt.

    A task's own retries would sleep inside its concurrency slot, so requests are repeated inside the lane.
    """
    plan, store = _plan(output, plan_key), open_store(output)
    course = _COURSES[str(flow_run.id)]
    # The lease of the task's tag: Prefect notes it here, so that it is given back whatever happens.
    context = ConcurrencyContext.get()
    with course.slots.lane(list(context.cleanup_lease_ids) if context else []):
        lane = Lane(
            plan=plan, fetch=partial(fetch, connection, deadlines=course.deadlines), run=course.run, store=store
        )
        outcome = lane.extract(start, stop)
    write_receipt(store, plan.folder, outcome.receipt)
    tiles, error = outcome.receipt.tiles, outcome.error
    failed = sum(tile.status == "failed" for tile in tiles)
    get_run_logger().info("tiles %d to %d: %d fetched, %d failed", start, stop - 1, len(tiles) - failed, failed)
    if error is None:
        return outcome.receipt
    if not isinstance(error, EarthEngineError | StorageError):
        raise error
    # Not raised through the engine, which would log a traceback, as if the code were at fault.
    state: Any = Failed(
        message=f"{type(error).__name__}: {error}", data=error
    )
    return state  # type: ignore[no-any-return]  # the engine takes a state for a result


def fetch_plan(
    plan: Plan, *, output: str, connection: Connection, course: Course, begun: Callable[[], None]
) -> tuple[TileReceipt, ...]:
    """Store a plan beside its tiles, fetch all of it, and return a receipt a tile, in order.

    Called inside a flow.

    Args:
        plan: What to fetch.
        output: Where to.
        connection: Where from.
        course: Of the flow run.
        begun: Called once requests are on their way.

    Raises:
        EarthEngineError: Earth Engine refuses every request (credentials, permissions, budget).
        StorageError: the output can't be written.
    """
    plan_key = f"{plan.folder}/plan.json"
    open_store(output).put(plan_key, json.dumps(plan.json()).encode())
    # The tag's limit is the quota that all runs of the Earth Engine project share.
    mapped = fetch_batch.with_options(tags=[course.slots.tag] if course.slots.shared else [])
    ended: queue.SimpleQueue[PrefectFuture[Receipt]] = queue.SimpleQueue()
    futures: list[PrefectFuture[Receipt]] = []
    tally, start, running = course.run.tally, 0, 0
    progress: Progress | None = None
    while running or (start < len(plan) and not course.run.stop.is_set()):
        while start < len(plan) and running < LANES and not course.run.stop.is_set():
            size = batch_size(len(plan) - start, in_flight=course.in_flight, per_second=tally.per_second)
            course.slots.expect_lane()
            new = mapped.map(
                [start],
                [start + size],
                output=unmapped(output),
                plan_key=unmapped(plan_key),
                connection=unmapped(connection),
            )
            for future in new:
                future.add_done_callback(ended.put)
            futures += new
            start, running = start + size, running + 1
        if progress is None:
            begun()
            progress = Progress(len(plan))
        course.slots.want(len(plan) - tally.done)
        with contextlib.suppress(queue.Empty):
            ended.get(timeout=1.0)
            running -= 1
        progress.show(course.run)
    return _collected(plan, futures, course, output)


def _collected(
    plan: Plan, futures: list[PrefectFuture[Receipt]], course: Course, output: str
) -> tuple[TileReceipt, ...]:
    outcomes: list[Any] = [future.result(raise_on_failure=False) for future in futures]
    # The cause before its consequences: the batch that met it, not one that it stopped.
    for error in sorted((o for o in outcomes if isinstance(o, Exception)), key=lambda e: isinstance(e, Stopped)):
        stored = course.run.tally.done - course.run.tally.failed
        error.add_note(
            f"{stored:,} of {len(plan):,} tiles are in {output}, with receipts; {len(plan) - stored:,} are missing. "
            "Mend the cause and run the same again."
        )
        raise error
    return tuple(tile for receipt in outcomes for tile in receipt.tiles)


@functools.lru_cache(maxsize=4)
def _plan(output: str, plan_key: str) -> Plan:
    """Read a plan once a process: its name holds its fingerprint, so it never changes."""
    return Plan.from_json(json.loads(open_store(output).get(plan_key)))
