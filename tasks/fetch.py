"""The fetch: batches of a plan as Prefect tasks, each a lane with many requests in flight, or known from before."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from prefect import Task, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.concurrency.context import ConcurrencyContext
from prefect.context import TaskRunContext
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run
from prefect.states import Cancelled, Failed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from tasks.earthengine.batch import GRACE_S
from tasks.earthengine.checkpoint import Checkpoint, gaps
from tasks.earthengine.connection import Connection
from tasks.earthengine.errors import EarthEngineError, Stopped
from tasks.earthengine.lane import Lane
from tasks.earthengine.permits import Pace
from tasks.earthengine.plan import Plan
from tasks.earthengine.run import Run
from tasks.earthengine.transport import Deadlines, fetch
from tasks.output import open_output, result_storage
from tasks.report import Progress
from tasks.slots import Slots
from tasks.storage.receipt import Receipt, TileReceipt, counted, receipt_key
from tasks.storage.store import StorageError, Store

# Seconds of work in a batch: what a receipt is written for, and few starts of a task.
BATCH_S = 90.0
# Tiles in a batch before it is known how long one takes: half a minute of work at a second each.
FIRST_TILES_A_REQUEST_IN_FLIGHT = 30
# Tiles in a batch at the most: their receipt is one file of a few megabytes.
LARGEST_BATCH = 10_000
# Part of the key of every cached batch: raised when its result says something else.
CACHE_VERSION = 1
# Seconds beyond their grace in which lanes write their receipts as a run is left.
FAREWELL_S = 6.0


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


class RunCancelled(Exception):
    """Somebody has cancelled the run. What it stored is kept."""


@dataclass(frozen=True)
class Course:
    """A run and its slots."""

    run: Run
    slots: Slots
    deadlines: Deadlines
    workload_tag: str
    id: str
    """Of the flow run."""
    events: queue.SimpleQueue[bool] = field(default_factory=queue.SimpleQueue)
    """True as a lane begins, False as it ends."""
    receipts: list[Receipt] = field(default_factory=list)
    """Of the batches that ended."""
    errors: list[BaseException] = field(default_factory=list)
    """What ended batches before their end."""
    checkpoints: dict[str, Checkpoint] = field(default_factory=dict)
    """What was stored before, by the plan's folder."""
    cancelled: threading.Event = field(default_factory=threading.Event)

    def cancel(self) -> None:
        """Stop, because somebody has cancelled the flow run."""
        self.cancelled.set()
        self.leave()

    def leave(self) -> None:
        """Stop, and let the process end once what is in flight has had its grace."""
        self.slots.leave(self.deadlines.computing_s)
        self.run.stop.set()

    def ended(self, future: PrefectFuture[Any]) -> None:
        """Take note that a lane's task has ended. One that crashed leaves no receipt: the run has failed."""
        future.wait()  # it has ended: else Prefect asks the server for its state, by a client that it does not close
        if not future.state.is_completed():
            self.run.stop.set()
        self.events.put(False)

    def lane(self, plan: Plan, connection: Connection, store: Store) -> Lane:
        """Return what fetches tiles of a plan."""
        ask = partial(fetch, connection, deadlines=self.deadlines, workload_tag=self.workload_tag)
        checkpoint = self.checkpoints.get(plan.folder, Checkpoint())
        return Lane(plan=plan, fetch=ask, run=self.run, store=store, checkpoint=checkpoint)


# By the id of the flow run: lanes are threads of the process that their flow runs in.
_COURSES: dict[str, Course] = {}


@contextlib.contextmanager
def at_quota(project: str, pace: Pace, deadlines: Deadlines, *, workload_tag: str) -> Iterator[Course]:
    """Share a project's quota with other runs, for as long as the block. No slot is held before tiles are fetched.

    Raises:
        BadInputError: the quota's limit counts nothing.
    """
    # Without Prefect's engine around it, a flow's function may be called as well: it plans, and refuses bad input.
    key = flow_run.id or str(uuid4())
    log = get_run_logger() if flow_run.id else logging.getLogger(__name__)
    with Run(pace) as run, Slots(project, run.permits, run_id=UUID(key), log=log) as slots:
        course = _COURSES[key] = Course(run, slots, deadlines, workload_tag, key)
        slots.on_cancel = course.cancel
        try:
            slots.wait_for_room()
            yield course
        finally:
            del _COURSES[key]


def _cache_key(_: TaskRunContext, given: Mapping[str, Any]) -> str:
    """Return where the result of a batch is kept beside its output: its plan, its range, the store, the version."""
    plan, store = _plan(given["output"], given["plan_key"]), open_output(given["output"])
    identity = f"{plan.fingerprint} {given['start']} {given['stop']} {store.uri} {CACHE_VERSION}"
    digest = hashlib.sha256(identity.encode()).hexdigest()
    return f"{plan.folder}/results/{given['start']:09d}-{given['stop']:09d}-{digest[:24]}"


# No retries, whatever the user's profile says: they would sleep in the slot, and the second would find the run stopped.
@task(name="fetch-batch", task_run_name="tiles {start}-{stop}", retries=0, log_prints=False)
def fetch_batch(start: int, stop: int, *, output: str, plan_key: str, connection: Connection) -> dict[str, Any]:
    """Fetch what is missing of the tiles [start, stop) of a stored plan, store it, and write their receipt.

    A task's own retries would sleep inside its concurrency slot, so requests are repeated inside the lane.

    Returns:
        Key of the receipt, and how many tiles of each status it has: what Prefect's cache keeps.
    """
    plan, store = _plan(output, plan_key), open_output(output)
    course = _COURSES[str(flow_run.id)]
    key = receipt_key(plan.folder, start, stop, course.id)
    lane = course.lane(plan, connection, store)
    if span := lane.checkpoint.span(start, stop):  # known from its receipt, but not to Prefect's cache
        return {"receipt": span.key, **counted(lane.checkpoint.tiles[index] for index in range(start, stop))}

    def keep(receipt: Receipt) -> None:
        store.put(key, receipt.encode())

    try:
        with course.slots.lane(_tag_lease()):
            course.events.put(True)
            outcome = lane.extract(start, stop, keep=keep)
        keep(outcome.receipt)
    except StorageError as failure:
        error: BaseException | None = failure
    else:
        course.receipts.append(outcome.receipt)
        error = outcome.error
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


class Left:
    """What is left to be put in batches: stretches between those that are verified as they are.

    Args:
        count: Tiles of the plan.
        checkpoint: What is stored of them.
    """

    def __init__(self, count: int, checkpoint: Checkpoint) -> None:
        self._gaps = list(gaps(checkpoint.spans, count))[::-1]
        self._known = checkpoint.tiles
        self.missing = count - len(checkpoint.tiles)
        """Tiles that are not verified, and in no batch yet."""

    def __bool__(self) -> bool:
        return bool(self._gaps)

    def take(self, size: int) -> tuple[int, int, int]:
        """Return the next stretch [start, stop) with at most so many missing tiles, and how many it has."""
        start, end = self._gaps.pop()
        missing = 0
        for index in range(start, end):
            if index not in self._known:
                if missing == size:
                    break
                missing += 1
            if index - start == 2 * LARGEST_BATCH:
                break
        else:
            index = end
        if index < end:
            self._gaps.append((index, end))
        self.missing -= missing
        return start, index, missing


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
    course.checkpoints[plan.folder] = checkpoint
    run, left, lane = course.run, Left(len(plan), checkpoint), course.lane(plan, connection, open_output(output))
    total, in_flight = left.missing, run.permits.pace.in_flight
    given = {"output": output, "plan_key": plan_key, "connection": connection}
    tasks = _tasks(course, output)
    cached = [tasks.cached.submit(span.start, span.stop, **given) for span in checkpoint.spans] if tasks.cached else []
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
                lanes.append((tasks.tagged if missing else tasks.known).submit(start, stop, **given))
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


@dataclass(frozen=True)
class _Tasks:
    """The task of a batch, in the three ways in which it is run."""

    cached: Task[..., dict[str, Any]] | None
    """Of a batch that is verified: its body does not run. None where Prefect keeps no results."""
    known: Task[..., dict[str, Any]]
    """Of a batch of which all is stored, but no one receipt says so."""
    tagged: Task[..., dict[str, Any]]
    """Of a lane: the tag's limit is the quota that all runs of the Earth Engine project share."""


def _tasks(course: Course, output: str) -> _Tasks:
    tags = [course.slots.tag] if course.slots.shared else []
    where = result_storage(output)
    if where is None:
        plain = fetch_batch.with_options(cache_policy=NO_CACHE, persist_result=False)
        return _Tasks(None, plain, plain.with_options(tags=tags))
    kept: Any = {"cache_key_fn": _cache_key, "persist_result": True, "result_storage": where}
    cached = fetch_batch.with_options(**kept, result_serializer="json")
    known = cached.with_options(refresh_cache=True)
    return _Tasks(cached, known, known.with_options(tags=tags))


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
    words = f"{stored:,} of {len(plan):,} tiles are stored in {open_output(output).uri}, with receipts"
    again = f"Run the same again: only the other {len(plan) - stored:,} are fetched."
    if course.cancelled.is_set():
        raise RunCancelled(f"Cancelled. {words}. {again}")
    # The cause before its consequences: the batch that met it, not one that it stopped.
    for error in sorted(course.errors, key=lambda error: isinstance(error, Stopped)):
        error.add_note(f"{words}. Mend the cause, if it does not pass by itself. {again}")
        raise error
    return tuple(tiles[index] for index in sorted(tiles))


@functools.lru_cache(maxsize=4)
def _plan(output: str, plan_key: str) -> Plan:
    """Read a plan once a process: its name holds its fingerprint, so it never changes."""
    return Plan.from_json(json.loads(open_output(output).get(plan_key)))
