"""The fetch: batches of a plan as Prefect tasks, each a lane with many requests in flight, or known from before."""

from __future__ import annotations

import contextlib
import json
import queue
from collections.abc import Callable
from typing import Any
from uuid import UUID

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.concurrency.context import ConcurrencyContext
from prefect.futures import PrefectFuture
from prefect.states import Cancelled, Completed, Failed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from tasks.batching import Left, batch_size
from tasks.course import Course, RunCancelled, Work, current
from tasks.earthengine.batch import GRACE_S
from tasks.earthengine.checkpoint import Checkpoint
from tasks.earthengine.connection import Connection
from tasks.earthengine.errors import EarthEngineError, Stopped
from tasks.earthengine.plan import Plan
from tasks.output import open_output
from tasks.progress import Progress
from tasks.storage.receipt import Receipt, TileReceipt, counted, receipt_key
from tasks.storage.store import StorageError

# Seconds beyond their grace in which lanes write their receipts as a run is left.
FAREWELL_S = 6.0


def lanes() -> TaskRunner[PrefectFuture[Any]]:
    """Return the task runner of a flow: one lane at a time, which is as wide as the quota.

    The tiles of the next batch follow those of the last without a gap, whenever Prefect starts its task: that takes two
    seconds with a limited tag on SQLite, and more the more of them start at once.
    """
    runner: Any = ThreadPoolTaskRunner(max_workers=1)  # its future type is narrower than `flow` is annotated for
    return runner  # type: ignore[no-any-return]  # as above


# No retries, whatever the user's profile says: they would sleep in the slot, and the second would find the run stopped.
# No result of Prefect's either: the receipt says it, and Prefect would unpickle whatever somebody puts in its place.
@task(
    name="fetch-batch",
    task_run_name="tiles {start}-{stop}",
    retries=0,
    log_prints=False,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def fetch_batch(start: int, stop: int, *, plan_key: str) -> dict[str, Any]:
    """Fetch what is missing of the tiles [start, stop) of a stored plan, store it, and write their receipt.

    A task's own retries would sleep inside its concurrency slot, so requests are repeated inside the lane.

    Returns:
        Key of the receipt, and how many tiles of each status it has: what Prefect's cache keeps.
    """
    course = current()
    work = course.work[plan_key]
    key = receipt_key(work.plan.folder, start, stop, course.id)
    lane = course.lane(work)
    if span := lane.checkpoint.span(start, stop):  # known from its receipt
        told = {"receipt": span.key, **counted(lane.checkpoint.tiles[index] for index in range(start, stop))}
        known: Any = Completed(name="Cached", data=told)
        return known  # type: ignore[no-any-return]  # as below

    def keep(receipt: Receipt) -> None:
        work.store.put(key, receipt.encode())

    with course.slots.lane(_tag_lease()):
        course.events.put(True)
        outcome = lane.extract(start, stop, keep=keep)
    course.receipts.append(outcome.receipt)
    error = outcome.error
    try:
        keep(outcome.receipt)
        if len(outcome.receipt.tiles) == stop - start:  # what others said of these tiles, it says as well
            for old in work.checkpoint.receipts:
                if old.key != key and start <= old.start and old.stop <= stop:
                    work.store.delete(old.key)
    except StorageError as failure:  # its tiles are stored all the same, and found by the next run
        error = error or failure
    if error is None:
        counts = counted(outcome.receipt.tiles)
        get_run_logger().info("tiles %d to %d: %s", start, stop - 1, ", ".join(f"{n} {s}" for s, n in counts.items()))
        return {"receipt": key, **counts}
    course.errors.append(error)
    if not isinstance(error, EarthEngineError | StorageError):
        raise error
    # Not raised through the engine, which would log a traceback, as if the code were at fault.
    kind = Cancelled if isinstance(error, Stopped) else Failed
    state: Any = kind(message=f"{type(error).__name__}: {error}")
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
    plan: Plan,
    checkpoint: Checkpoint,
    *,
    output: str,
    plan_key: str,
    connection: Connection,
    course: Course,
    show: Callable[[], None] = lambda: None,
) -> tuple[TileReceipt, ...]:
    """Fetch what is missing of a stored plan, and return a receipt a tile, in order.

    Called inside a flow.

    Args:
        plan: What to fetch.
        checkpoint: What is stored of it.
        output: Where to: a block's slug, or an address.
        plan_key: Where the plan is stored.
        connection: Where from.
        course: Of the flow run.
        show: Called once requests are on their way.

    Raises:
        EarthEngineError: Earth Engine refuses every request (credentials, permissions, budget).
        StorageError: the output can't be written.
        RunCancelled: somebody has cancelled the flow run.
    """
    work = course.work[plan_key] = Work(plan, open_output(output), checkpoint, connection)
    run, left, lane = course.run, Left(len(plan), checkpoint), course.lane(work)
    total, in_flight = left.missing, run.permits.pace.in_flight
    tagged = fetch_batch.with_options(tags=[course.slots.tag] if course.slots.shared else [])
    cached = [fetch_batch.submit(span.start, span.stop, plan_key=plan_key) for span in checkpoint.spans]
    lanes: list[PrefectFuture[Any]] = []
    begun = ended = 0
    progress: Progress | None = None
    try:
        if total:
            course.slots.begin()
        else:
            show()
        while (more := bool(left) and not run.stop.is_set()) or ended < len(lanes):
            course.slots.want(total - run.tally.done)
            if more and begun - run.tally.done <= 2 * in_flight:
                size = batch_size(max(1, left.missing), in_flight=in_flight, per_second=run.tally.per_second)
                start, stop, missing = left.take(size)
                lane.begin(start, stop)
                lanes.append((tagged if missing else fetch_batch).submit(start, stop, plan_key=plan_key))
                lanes[-1].add_done_callback(course.ended)
                begun += missing
            with contextlib.suppress(queue.Empty):
                ended += not course.events.get(timeout=0.5)
                if progress is None and total:  # now: a tagged task that starts waits 2 s if it meets other writes
                    progress = Progress(total, show)
            if progress:
                progress.show(run)
        for future in cached:
            future.wait()
    except BaseException:  # a signal: nothing more is sent, and what is in flight has its grace
        course.leave()
        for future in lanes:
            future.wait(timeout=GRACE_S + FAREWELL_S)
        raise
    return _collected(plan, checkpoint, course, output)


def store_plan(plan: Plan, output: str) -> str:
    """Write a plan beside its tiles unless it is there, and return its key."""
    store, key = open_output(output), f"{plan.folder}/plan.json"
    data = json.dumps(plan.json()).encode()
    with contextlib.suppress(KeyError):
        if store.get(key) == data:
            return key
    store.put(key, data)
    return key


def _collected(plan: Plan, checkpoint: Checkpoint, course: Course, output: str) -> tuple[TileReceipt, ...]:
    tiles = dict(checkpoint.tiles)
    for receipt in course.receipts:
        tiles |= {tile.index: tile for tile in receipt.tiles}
    stored = sum(tile.status != "failed" for tile in tiles.values())
    words = f"{stored:,} of {len(plan):,} tiles are stored in {open_output(output).uri}"
    again = f"Run the same again: only the other {len(plan) - stored:,} are fetched."
    if course.cancelled.is_set():
        raise RunCancelled(f"Cancelled. {words}. {again}")
    # The cause before its consequences: the batch that met it, not one that it stopped.
    for error in sorted(course.errors, key=lambda error: isinstance(error, Stopped)):
        error.add_note(f"{words}. Mend the cause, if it does not pass by itself. {again}")
        raise error
    return tuple(tiles[index] for index in sorted(tiles))
