"""The batches of a plan, mapped over the fetch task in waves."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
from prefect import unmapped
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from tasks.earthengine.errors import Stopped
from tasks.errors.input import BadInputError
from tasks.errors.run import RunCancelled
from tasks.extraction.account import Account
from tasks.extraction.batch import Batch, OpenBatch, begin_batch, run_batch
from tasks.extraction.batching import Remainder, TileRange, next_wave
from tasks.extraction.checkpoint import Checkpoint
from tasks.extraction.session import FetchSession
from tasks.extraction.tile_queue import GRACE_S
from tasks.fetch import fetch_batch
from tasks.plan.plan import Plan
from tasks.prefect_io.leases import PrefectLeases
from tasks.prefect_io.opener import PREFECT, Output
from tasks.prefect_io.progress import Progress
from tasks.prefect_io.server import ServerAwayError
from tasks.storage.receipt import TileReceipt

# Seconds between looks at how far a run is, and in its last moments, which are not to be missed.
LOOK_S, SOON_S = 0.5, 0.05
# Seconds beyond their grace in which batches write their receipts as a run is left.
FAREWELL_S = 6.0


def one_at_a_time() -> TaskRunner[PrefectFuture[Any]]:
    """Return the task runner of a flow: one batch at a time, which is as wide as the quota.

    The tiles of the next batch follow those of the last without a gap, whenever Prefect starts its task: that takes two
    seconds with a limited tag on SQLite, and more the more of them start at once.
    """
    runner: Any = ThreadPoolTaskRunner(max_workers=1)  # its future type is narrower than `flow` is annotated for
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
    """Fetch what is missing of a stored plan, and return a receipt a tile, in order.

    Called inside a flow.

    Args:
        plan: What to fetch.
        checkpoint: What is stored of it.
        output: Where the tiles go.
        plan_key: Where the plan is stored.
        account: Connection and quota.
        session: Of the flow run.
        show: Called once requests are on their way.
        meanwhile: Called once all requests are sent, while the last are awaited.

    Raises:
        EarthEngineError: Earth Engine refuses every request (credentials, permissions, budget).
        StorageError: the output can't be written.
        RunCancelled: the flow run has been cancelled.
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
        workload_tag=account.workload_tag,
        run_id=session.run_id,
    )
    run = FlowRunContext.get()
    if run is not None and not isinstance(run.task_runner, ThreadPoolTaskRunner):
        kind = type(run.task_runner).__name__
        reason = "batches of a flow run in threads of its process: others would fetch beside them"
        raise BadInputError("task_runner", kind, reason, "Leave the flow's own")
    whole = OpenBatch(batch=batch, plan=plan, store=output.store, connection=account.connection, checkpoint=checkpoint)
    return _Fetch(whole, session).run(show, meanwhile)


class _Fetch:
    """The fetch of one plan by one flow run: its waves, and how they end. Used by the flow's thread alone."""

    def __init__(self, whole: OpenBatch, session: FetchSession) -> None:
        self._whole, self._session = whole, session
        self._plan, self._checkpoint = whole.plan, whole.checkpoint
        self._futures: list[PrefectFuture[Any]] = []
        """Of the tasks that have not ended, in the order in which they run."""
        self._ended: queue.SimpleQueue[PrefectFuture[Any]] = queue.SimpleQueue()
        self._errors: list[BaseException] = []
        self._begun = 0
        """Missing tiles that were begun."""
        self._receipts_before = len(session.receipts)

    def run(self, show: Callable[[], None], meanwhile: Callable[[], object]) -> tuple[TileReceipt, ...]:
        """See `fetch_plan`."""
        session, left = self._session, Remainder(len(self._plan), self._checkpoint)
        total, done_before = left.missing, session.tally.done
        in_flight = session.permits.pace.in_flight
        self._map([TileRange(span.start, span.stop, 0) for span in self._checkpoint.spans])
        if not total:
            show()
        progress: Progress | None = None
        try:
            while (more := bool(left) and not session.stop.is_set()) or self._futures:
                if more and self._begun - (session.tally.done - done_before) <= 2 * in_flight:
                    self._map(next_wave(left, in_flight=in_flight, per_second=session.tally.per_second))
                nearly = session.outstanding <= 2 * in_flight
                with contextlib.suppress(queue.Empty):
                    self._note(self._ended.get(timeout=SOON_S if nearly else LOOK_S))
                    while True:
                        self._note(self._ended.get_nowait())
                if progress is None and total:  # now: a tagged task that starts waits 2 s if it meets other writes
                    progress = Progress(total, show)
                if not (more or session.stop.is_set()) and total and session.outstanding <= in_flight:
                    meanwhile()  # all are sent, the last are awaited
                    meanwhile = _nothing
                if progress:
                    progress.show(session)
        except BaseException:  # a signal: nothing more is sent, and what is in flight has its grace
            session.leave()
            self._farewell()
            raise
        return self._collected()

    def _farewell(self) -> None:
        """Let batches write their receipts; those whose tasks wait for a slot, or in the queue, are ended here."""
        if self._session.is_shared:
            for future in self._futures[:1]:  # one at a time: the others have not begun
                with contextlib.suppress(Exception):
                    future.wait(timeout=GRACE_S + FAREWELL_S)
        begun = [batch for batch, each in self._session.begun.items() if each.opened.missing]
        if begun:
            with ThreadPoolExecutor(len(begun)) as pool:  # at once: each gives what is in flight its grace
                for batch in begun:
                    pool.submit(run_batch, batch, self._session.quota, opener=PREFECT)

    def _map(self, wave: Sequence[TileRange]) -> None:
        """Begin the batches of a wave, and map their tasks over them.

        Those that are known from their receipts run without the tag, and may be answered from Prefect's cache. The
        others take a slot, and whatever the cache says of them is written anew: it would keep a failure, too.
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
                futures = task_.map([each.batch for each in opened], quota=unmapped(quota))
                self._futures += futures
                for future in futures:
                    future.add_done_callback(self._ended.put)
        self._begun += sum(stretch.missing for stretch in wave)

    def _opened(self, stretch: TileRange) -> OpenBatch:
        batch = self._whole.batch.model_copy(update={"start": stretch.start, "stop": stretch.stop})
        return replace(self._whole, batch=batch)

    def _note(self, future: PrefectFuture[Any]) -> None:
        """Take note of how a batch's task ended. One that crashed leaves no receipt: the run has failed."""
        self._futures.remove(future)
        error: Any
        try:
            future.wait()  # it has ended: else Prefect asks the server for its state, by a client that it never closes
            state = future.state
            if state.is_completed():
                return
            error = future.result(raise_on_failure=False)
            if not isinstance(error, Exception):
                error = RuntimeError(f"The task of a batch ended in state {state.name}: {state.message}")
        except (httpx.HTTPError, OSError) as failure:  # of Prefect's engine: as it takes the slot, or gives it back
            error = ServerAwayError(f"Prefect could not run the task of a batch ({type(failure).__name__}).")
            error.__cause__ = failure
        except Exception as failure:  # noqa: BLE001 - the end is noted whatever it was: the flow raises it
            error = failure
            error.add_note("Prefect could not run the task of a batch.")
        self._session.stop.set()
        self._errors.append(error)

    def _collected(self) -> tuple[TileReceipt, ...]:
        tiles = dict(self._checkpoint.tiles)
        for receipt in self._session.receipts[self._receipts_before :]:
            tiles |= {tile.index: tile for tile in receipt.tiles}
        total = len(self._plan)
        stored = sum(tile.status != "failed" for tile in tiles.values())
        words = f"{stored:,} of {total:,} tiles are stored in {self._whole.store.uri}"
        again = f"Run the same again: only the other {total - stored:,} are fetched."
        if self._session.cancelled.is_set():
            raise RunCancelled(f"Cancelled. {words}. {again}")
        # The cause before its consequences: the batch that met it, not one that it stopped.
        for error in sorted(self._errors, key=lambda error: isinstance(error, Stopped)):
            error.add_note(f"{words}. Mend the cause, if it does not pass by itself. {again}")
            raise error
        return tuple(tiles[index] for index in sorted(tiles))


def _nothing() -> None: ...
