"""The Prefect task of one batch. What becomes of the batch does not depend on what Prefect makes of the task."""

from __future__ import annotations

import time
from concurrent.futures import Executor, Future
from typing import Any

from prefect.futures import PrefectConcurrentFuture

from tasks.extraction.batch import Batch, run_batch
from tasks.extraction.session import FetchSession
from tasks.prefect_io.flow_run import run_logger
from tasks.prefect_io.opener import PREFECT
from tasks.prefect_io.slot_wait import end_slot_wait

# Seconds that Prefect has to start the task of a batch whose tiles have all ended, and to end that of a batch whose
# receipt is written. Usually it takes up to two; longer if its server restarts, is busy, or has no slot for the task.
PATIENCE_S = 10.0


class BatchTask:
    """A batch whose tiles are queued in the session, and the Prefect task that waits for them.

    The threads of the session fetch the tiles whether the task runs or not. So if Prefect does not start the task, or
    loses its end because its server is away, the flow completes the batch by itself. Only the flow's thread uses this.

    Args:
        batch: The batch.
        future: The future of the task.
        session: The session of the run.
        pool: Runs the batch in the flow's process if Prefect does not.
    """

    def __init__(
        self, batch: Batch, future: PrefectConcurrentFuture[Any], session: FetchSession, pool: Executor
    ) -> None:
        self.batch = batch
        self._future, self._session, self._pool = future, session, pool
        self._own: Future[Any] | None = None
        self._late: float | None = None

    @property
    def running(self) -> Future[Any]:
        """The future that ends with the batch, or with its task."""
        return self._own or self._future.wrapped_future

    def look(self, *, is_next: bool) -> bool:
        """Return whether the batch has ended. Complete it in this process if its task cannot.

        Args:
            is_next: Whether the tasks of all batches before it have ended. Prefect runs one task at a time.
        """
        if self._own:
            return self._own.done()
        if self.batch in self._session.ends:
            return self._is_left(is_next=is_next)
        if self._future.wrapped_future.done():
            if self._failure() is None:  # answered by Prefect's cache, or without a missing tile
                return True
            self._take_over(f"Prefect could not run the task ({self._failure()})")
        elif is_next and self._is_late(not self._is_started()):
            self._take_over(f"Prefect has not started the task for {PATIENCE_S:.0f} s")
        return False

    @property
    def has_tiles(self) -> bool:
        """Whether tiles of the batch were missing when it began."""
        begun = self._session.begun.get(self.batch)
        return bool(self._own) or (begun is not None and bool(begun.opened.missing))

    @property
    def error(self) -> BaseException | None:
        """The error of a batch that has ended; None if all is well."""
        if self.batch in self._session.ends:
            return self._session.ends[self.batch]
        return self._own.exception() if self._own else None

    def take_over(self) -> None:
        """Complete the batch in this process, because the run ends now, unless its task has started."""
        if not (self._own or self._is_started()):
            self._take_over()

    def _take_over(self, reason: str = "") -> None:
        if reason:
            words = "Tiles %d to %d: the flow writes their receipt itself. %s."
            run_logger().warning(words, self.batch.start, self.batch.stop - 1, reason)
        if not self._future.wrapped_future.cancel():  # it is not queued: it waits for its slot, or has ended
            end_slot_wait(self._future.task_run_id)
        self._own = self._pool.submit(run_batch, self.batch, self._session.quota, opener=PREFECT)

    def _is_left(self, *, is_next: bool) -> bool:
        """Return whether the task of a completed batch has ended, or takes too long to end."""
        if self._future.wrapped_future.done():
            reason = None if self._session.ends[self.batch] else self._failure()
        elif is_next and self._is_late(True):
            reason = f"no answer for {PATIENCE_S:.0f} s"
        else:
            return False
        if reason:
            run_logger().warning(
                "Tiles %d to %d: the Prefect server did not record the end of their task (%s). The tiles and their "
                "receipt are stored, and the run goes on.",
                *(self.batch.start, self.batch.stop - 1, reason),
            )
        return True

    def _is_late(self, waiting: bool) -> bool:
        """Return whether this has been asked, with the same answer, for longer than `PATIENCE_S` seconds."""
        if not waiting:
            return False
        now = time.monotonic()
        self._late = self._late or now
        return now - self._late > PATIENCE_S

    def _is_started(self) -> bool:
        """Return whether the task runs, or has tiles to wait for."""
        begun = self._session.begun.get(self.batch)
        return begun is None or begun.joined.is_set() or not begun.tiles.ended

    def _failure(self) -> str | None:
        """Return what became of a task that has ended; None if it completed. The server is not asked."""
        try:
            state = self._future.wrapped_future.result()
        except BaseException as error:  # noqa: BLE001 - what Prefect's engine raised in its thread, or a cancellation
            return type(error).__name__ + (f": {error}" if str(error) else "")
        return None if state.is_completed() else f"{state.name}: {state.message}"
