"""The fetch: batches of a plan as mapped Prefect tasks, each a lane with many requests in flight."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import queue
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID, uuid4

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
from tasks.storage.store import StorageError, Store

# Seconds of work in a batch: what a receipt is written for, and few starts of a task.
BATCH_S = 90.0
# Tiles in a batch before it is known how long one takes: half a minute of work at a second each.
FIRST_TILES_A_REQUEST_IN_FLIGHT = 30
# Tiles in a batch at the most: their receipt is one file of a few megabytes.
LARGEST_BATCH = 10_000


def lanes() -> TaskRunner[PrefectFuture[Any]]:
    """Return the task runner of a flow: one lane at a time, which is as wide as the quota.

    The tiles of the next batch follow those of the last without a gap, whenever Prefect starts its task: that takes two
    seconds with a limited tag on SQLite, and more the more of them start at once.
    """
    runner: Any = ThreadPoolTaskRunner(max_workers=1)  # its future type is narrower than `flow` is annotated for
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
    deadlines: Deadlines
    workload_tag: str
    events: queue.SimpleQueue[bool]
    """True as a lane begins, False as it ends."""
    receipts: list[int] = field(default_factory=list)
    """Tiles with pixels or known to be empty, a receipt that was written."""

    def ended(self, future: PrefectFuture[Receipt]) -> None:
        """Take note that a lane's task has ended. One that crashed leaves no receipt: the run has failed."""
        future.wait()  # it has ended: else Prefect asks the server for its state, by a client that it does not close
        if not future.state.is_completed():
            self.run.stop.set()
        self.events.put(False)

    def lane(self, plan: Plan, connection: Connection, store: Store) -> Lane:
        """Return what fetches tiles of a plan."""
        ask = partial(fetch, connection, deadlines=self.deadlines, workload_tag=self.workload_tag)
        return Lane(plan=plan, fetch=ask, run=self.run, store=store)


# By the id of the flow run: lanes are threads of the process that their flow runs in.
_COURSES: dict[str, Course] = {}


@contextlib.contextmanager
def at_quota(project: str, pace: Pace, deadlines: Deadlines, *, workload_tag: str) -> Iterator[Course]:
    """Hold slots of a project's quota for a flow run, one of them before the block begins.

    Raises:
        BadInputError: the quota's limit counts nothing.
    """
    # Without Prefect's engine around it, a flow's function may be called as well: it plans, and refuses bad input.
    key = flow_run.id or str(uuid4())
    log = get_run_logger() if flow_run.id else logging.getLogger(__name__)
    with Run(pace) as run, Slots(project, run.permits, run_id=UUID(key), log=log) as slots:
        course = _COURSES[key] = Course(run, slots, deadlines, workload_tag, queue.SimpleQueue())
        try:
            slots.wait_for_one()
            yield course
        finally:
            del _COURSES[key]


# No retries, whatever the user's profile says: they would sleep in the slot, and the second would find the run stopped.
@task(name="fetch-batch", task_run_name="tiles {start}-{stop}", cache_policy=NO_CACHE, retries=0)
def fetch_batch(start: int, stop: int, *, output: str, plan_key: str, connection: Connection) -> Receipt:
    """Fetch the tiles [start, stop) of a stored plan, store them, and write their receipt.

    A task's own retries would sleep inside its concurrency slot, so requests are repeated inside the lane.
    """
    plan, store = _plan(output, plan_key), open_store(output)
    course = _COURSES[str(flow_run.id)]
    with course.slots.lane(_tag_lease()):
        course.events.put(True)
        outcome = course.lane(plan, connection, store).extract(start, stop)
    write_receipt(store, plan.folder, outcome.receipt)
    course.receipts.append(sum(tile.status != "failed" for tile in outcome.receipt.tiles))
    tiles, error = outcome.receipt.tiles, outcome.error
    failed = sum(tile.status == "failed" for tile in tiles)
    get_run_logger().info("tiles %d to %d: %d fetched, %d failed", start, stop - 1, len(tiles) - failed, failed)
    if error is None:
        return outcome.receipt
    if not isinstance(error, EarthEngineError | StorageError):
        raise error
    # Not raised through the engine, which would log a traceback, as if the code were at fault.
    state: Any = Failed(message=f"{type(error).__name__}: {error}", data=error)
    return state  # type: ignore[no-any-return]  # the engine takes a state for a result


def _tag_lease() -> UUID | None:
    """Return the lease of the running task's tag.

    To give it back whatever happens, Prefect notes it in the context around that of the task's code, which knows what
    it covers. Where Prefect no longer does, the slot of the tag is not counted: a lane sends one request less.
    """
    outer = getattr(getattr(ConcurrencyContext.get(), "_token", None), "old_value", None)
    leases = outer.cleanup_lease_ids if isinstance(outer, ConcurrencyContext) else []
    return leases[0] if leases else None


def fetch_plan(
    plan: Plan, *, output: str, connection: Connection, course: Course, show: Callable[[], None]
) -> tuple[TileReceipt, ...]:
    """Store a plan beside its tiles, fetch all of it, and return a receipt a tile, in order.

    Called inside a flow.

    Args:
        plan: What to fetch.
        output: Where to.
        connection: Where from.
        course: Of the flow run.
        show: Called once requests are on their way.

    Raises:
        EarthEngineError: Earth Engine refuses every request (credentials, permissions, budget).
        StorageError: the output can't be written.
    """
    store, plan_key = open_store(output), f"{plan.folder}/plan.json"
    store.put(plan_key, json.dumps(plan.json()).encode())
    # The tag's limit is the quota that all runs of the Earth Engine project share.
    mapped = fetch_batch.with_options(tags=[course.slots.tag] if course.slots.shared else [])
    run, lane = course.run, course.lane(plan, connection, store)
    in_flight = run.permits.pace.in_flight
    futures: list[PrefectFuture[Receipt]] = []
    begun = ended = 0
    progress: Progress | None = None
    while (more := begun < len(plan) and not run.stop.is_set()) or ended < len(futures):
        course.slots.want(len(plan) - run.tally.done)
        if more and begun - run.tally.done <= 2 * in_flight:
            size = batch_size(len(plan) - begun, in_flight=in_flight, per_second=run.tally.per_second)
            lane.begin(begun, begun + size)
            futures += mapped.map(
                [begun],
                [begun + size],
                output=unmapped(output),
                plan_key=unmapped(plan_key),
                connection=unmapped(connection),
            )
            futures[-1].add_done_callback(course.ended)
            begun += size
        with contextlib.suppress(queue.Empty):
            ended += not course.events.get(timeout=0.5)
            if progress is None:  # only now: a tagged task that starts waits for two seconds if it meets other writes
                progress = Progress(len(plan), show)
        if progress:
            progress.show(run)
    return _collected(plan, futures, course, output)


def _collected(
    plan: Plan, futures: list[PrefectFuture[Receipt]], course: Course, output: str
) -> tuple[TileReceipt, ...]:
    outcomes: list[Any] = [future.result(raise_on_failure=False) for future in futures]
    # The cause before its consequences: the batch that met it, not one that it stopped.
    for error in sorted((o for o in outcomes if isinstance(o, Exception)), key=lambda e: isinstance(e, Stopped)):
        stored = sum(course.receipts)
        error.add_note(
            f"{stored:,} of {len(plan):,} tiles are in {output}, with receipts; {len(plan) - stored:,} are missing. "
            "Mend the cause and run the same again; this version fetches all of them again."
        )
        raise error
    return tuple(tile for receipt in outcomes for tile in receipt.tiles)


@functools.lru_cache(maxsize=4)
def _plan(output: str, plan_key: str) -> Plan:
    """Read a plan once a process: its name holds its fingerprint, so it never changes."""
    return Plan.from_json(json.loads(open_store(output).get(plan_key)))
