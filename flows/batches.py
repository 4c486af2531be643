"""Fetch a plan: map the fetch task over its batches, some batches (a wave) at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any

from prefect import unmapped
from prefect.context import FlowRunContext
from prefect.exceptions import TerminationSignal
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.batch_task import BatchTask
from tasks.earthengine.errors import Stopped
from tasks.errors.input import BadInputError
from tasks.errors.run import RunCancelled
from tasks.extraction.account import Account
from tasks.extraction.batch import Batch, OpenBatch, begin_batch
from tasks.extraction.batching import Remainder, TileRange, next_wave
from tasks.extraction.checkpoint import Checkpoint
from tasks.extraction.session import FetchSession
from tasks.fetch import fetch_batch
from tasks.plan.plan import Plan
from tasks.prefect_io.cancellation import check_goes_on
from tasks.prefect_io.impatience import hurry
from tasks.prefect_io.leases import PrefectLeases
from tasks.prefect_io.opener import Output
from tasks.prefect_io.progress import Progress, report_stop
from tasks.storage.receipt import TileReceipt

# Seconds between two checks of a run's progress. At its end checks are more frequent, to notice when all requests are
# sent.
LOOK_S, SOON_S = 0.5, 0.05
# If a run is interrupted, its requests in flight have `GRACE_S` to end (`tasks.extraction.stop_event`). Batches then
# have this many seconds more to write their receipts.
ENDING_S = 6.0
# Batches that the flow can complete at the same time. Each of them only waits.
MOST_THREADS = 64


def one_batch_at_a_time() -> TaskRunner[PrefectFuture[Any]]:
    """Return the task runner of a flow. It runs one batch at a time, which uses the whole quota.

    Requests go on with the tiles of the next batch without a gap, even before Prefect starts its task. With a limited
    tag on SQLite, this start takes two seconds, and longer if more tasks start at once.
    """
    runner: Any = ThreadPoolTaskRunner(max_workers=1)  # its future type is narrower than `flow` accepts
    return runner  # type: ignore[no-any-return]  # as above


def fetch_plan(
    plan: Plan,
    checkpoint: Checkpoint,
    *,
    output: Output,
    plan_key: str,
    account: Account,
    session: FetchSession,
    show: Callable[[], None] = lambda: None,
    meanwhile: Callable[[], object] = lambda: None,
) -> tuple[TileReceipt, ...]:
    """Fetch the missing tiles of a stored plan, and return one receipt for each tile of the plan, in order.

    Called inside a flow.

    Args:
        plan: The plan to fetch.
        checkpoint: The tiles of the plan that are already stored.
        output: Where the tiles go.
        plan_key: Key of the plan in the output.
        account: Connection and quota.
        session: Fetch session of the flow run.
        show: Called once: when the first batch has begun, or at once if no tile is missing.
        meanwhile: Called once all requests are sent, while the last of them are in flight. Not called if no tile is
            missing, or if the run stops early.

    Raises:
        BadInputError: The flow has a task runner that starts other processes.
        EarthEngineError: Earth Engine refuses every request (credentials, permissions, budget).
        StorageError: The output cannot be written.
        RunCancelled: The flow run was cancelled.
    """
    batch = Batch(
        output=output.reference,
        plan_key=plan_key,
        plan=plan.fingerprint,
        start=0,
        stop=len(plan),
        connection=account.connection.reference,
        pace=session.permits.pace,
        deadlines=session.deadlines,
        hedge=session.races.policy,
        workload_tag=account.workload_tag,
        run_id=session.run_id,
    )
    run = FlowRunContext.get()
    if run is not None and not isinstance(run.task_runner, ThreadPoolTaskRunner):
        kind = type(run.task_runner).__name__
        reason = "batches run in threads of the flow's process, and another process would fetch the same tiles again"
        raise BadInputError("task_runner", kind, reason, "Use the flow with its own task runner")
    whole = OpenBatch(batch=batch, plan=plan, store=output.store, connection=account.connection, checkpoint=checkpoint)
    check_goes_on()
    return _Fetch(whole, session).run(show, meanwhile)


class _Fetch:
    """The fetch of one plan by one flow run, wave by wave. Only the flow's thread uses it."""

    def __init__(self, whole: OpenBatch, session: FetchSession) -> None:
        self._whole, self._session = whole, session
        self._plan, self._checkpoint = whole.plan, whole.checkpoint
        self._pool = ThreadPoolExecutor(MOST_THREADS, "batch")
        """Runs batches whose task Prefect does not run. Until then it has no thread."""
        self._tasks: list[BatchTask] = []
        """Batches that have not ended, in the order in which their tasks run."""
        self._errors: list[BaseException] = []
        self._begun = 0
        """Number of missing tiles in the batches that have begun."""
        self._progress: Progress | None = None
        self._receipts_before = len(session.receipts)

    def run(self, show: Callable[[], None], meanwhile: Callable[[], object]) -> tuple[TileReceipt, ...]:
        """Fetch the plan: see :func:`fetch_plan`."""
        try:
            try:
                self._fetch(show, meanwhile)
            except BaseException as error:  # such as Ctrl-C
                self._stop(error)
                raise
            if self._session.cancelled.is_set():
                self._stop(None)
            elif self._session.stop.is_set():
                self._show_end()
        finally:
            self._pool.shutdown(wait=False)
        return self._collected()

    def _fetch(self, show: Callable[[], None], meanwhile: Callable[[], object]) -> None:
        """Map all batches, and wait for them. Return earlier if the run is cancelled."""
        session, left = self._session, Remainder(len(self._plan), self._checkpoint)
        total, done_before = left.missing, session.tally.done
        session.unqueued = total
        in_flight = session.permits.pace.in_flight
        self._map([TileRange(span.start, span.stop, 0) for span in self._checkpoint.spans])
        if not total:
            show()
        while ((more := bool(left) and not session.stop.is_set()) or self._tasks) and not session.cancelled.is_set():
            if more and self._begun - (session.tally.done - done_before) <= 2 * in_flight:
                self._map(next_wave(left, in_flight=in_flight, per_second=session.tally.per_second))
                session.unqueued = left.missing
            nearly = session.outstanding <= 2 * in_flight
            # Prefect's own callbacks and waits may ask its server, and fail with it. These futures do not.
            wait({task.running for task in self._tasks}, SOON_S if nearly else LOOK_S, FIRST_COMPLETED)
            self._look()
            if self._progress is None and total:  # not earlier: other writes delay the start of a tagged task by 2 s
                self._progress = Progress(total, show)
            if not (more or session.stop.is_set()) and total and session.outstanding <= in_flight:
                meanwhile()  # all requests are sent
                meanwhile = _nothing
            if self._progress:
                self._progress.show(session)

    def _stop(self, cause: BaseException | None) -> None:
        """Send nothing more, let requests in flight end, and let batches write their receipts.

        A signal that comes meanwhile does not shorten this. Only Ctrl-C after Ctrl-C does: then no request is waited
        for.

        Args:
            cause: What stops the run: an error or a signal. None = the run was cancelled.

        Raises:
            BaseException: The first signal that came meanwhile.
        """
        session = self._session
        signals: list[BaseException] = [] if cause is None or isinstance(cause, Exception) else [cause]
        session.leave()
        if signals or cause is None:
            report_stop(session, by_hand=isinstance(cause, KeyboardInterrupt))
        end = time.monotonic() + session.stop.left_s + ENDING_S
        while True:
            try:
                if signals:
                    hurry()
                self._end_batches(end)
                break
            except (KeyboardInterrupt, TerminationSignal) as signal:
                signals.append(signal)
                if sum(isinstance(each, KeyboardInterrupt) for each in signals) > 1:
                    session.stop.cut()
                    end = min(end, time.monotonic() + ENDING_S)
        self._show_end()
        for first in signals[:1]:
            first.add_note(self._words())
            if first is not cause:
                raise first

    def _show_end(self) -> None:
        if self._progress:
            self._progress.show(self._session, last=True)

    def _end_batches(self, end: float) -> None:
        """Let the batches of an interrupted run write their receipts, until a time of the clock.

        A batch whose task still waits, for a slot or in the queue, is ended here.
        """
        self._tasks = [task for task in self._tasks if task.has_tiles]
        while self._tasks and time.monotonic() < end:
            for task in self._tasks:
                task.take_over()
            wait({task.running for task in self._tasks}, SOON_S, FIRST_COMPLETED)
            self._look()
            if self._progress:
                self._progress.show(self._session)

    def _look(self) -> None:
        """Take the batches that have ended from the list. After an error, the session sends nothing more."""
        for task in list(self._tasks):
            if not task.look(is_next=task is self._tasks[0]):
                continue
            self._tasks.remove(task)
            if error := task.error:
                self._session.stop.set()
                self._errors.append(error)

    def _map(self, wave: Sequence[TileRange]) -> None:
        """Begin the batches of a wave, and map the fetch task over them.

        Batches without a missing tile run without the tag, and Prefect's cache may answer them. The others take a
        slot. They ignore the cache and replace its entry, because the cache would keep a failure, too.
        """
        quota = self._session.quota
        known = [self._opened(stretch) for stretch in wave if not stretch.missing]
        missing = [self._opened(stretch) for stretch in wave if stretch.missing]
        tags = [quota.tag] if isinstance(quota, PrefectLeases) else []
        for task_, opened in (
            (fetch_batch, known),
            (fetch_batch.with_options(tags=tags, refresh_cache=True), missing),
        ):
            for each in opened:
                begin_batch(each, self._session)
            if opened:
                futures: Any = task_.map([each.batch for each in opened], quota=unmapped(quota))  # see `fetch_plan`
                self._tasks += [
                    BatchTask(each.batch, future, self._session, self._pool)
                    for each, future in zip(opened, futures, strict=True)
                ]
        self._begun += sum(stretch.missing for stretch in wave)

    def _opened(self, stretch: TileRange) -> OpenBatch:
        batch = self._whole.batch.model_copy(update={"start": stretch.start, "stop": stretch.stop})
        return replace(self._whole, batch=batch)

    def _collected(self) -> tuple[TileReceipt, ...]:
        if self._session.cancelled.is_set():
            raise RunCancelled(f"Cancelled. {self._words()}")
        # Raise the cause first: `Stopped` is the error of batches that another error has stopped.
        for error in sorted(self._errors, key=lambda error: isinstance(error, Stopped)):
            error.add_note(self._words("If the cause is not temporary, fix it first. "))
            raise error
        tiles = self._tiles()
        return tuple(tiles[index] for index in sorted(tiles))

    def _words(self, first: str = "") -> str:
        """Return how many tiles are stored, and what to do `first` before the run is resumed."""
        total = len(self._plan)
        stored = sum(tile.status != "failed" for tile in self._tiles().values())
        left = total - stored
        again = "To resume, run the same job again" + (f": only the other {left:,} tiles are fetched." if left else ".")
        return f"{stored:,} of {total:,} tiles are stored in {self._whole.store.uri}. {first}{again}"

    def _tiles(self) -> dict[int, TileReceipt]:
        """Return the receipts of the tiles that have ended, by their numbers."""
        tiles = dict(self._checkpoint.tiles)
        for receipt in self._session.receipts[self._receipts_before :]:
            tiles |= {tile.index: tile for tile in receipt.tiles}
        return tiles


def _nothing() -> None: ...
