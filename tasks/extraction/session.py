"""A fetch session: the requests in flight of one run in one process, from its opening to its close.

It outlives each batch, and that is what makes one process fast: threads go on with the tiles of the next batch as soon
as none of the last is left to take, whenever Prefect, or another engine, starts the task of it. A process has one
session a run at the most, which `FetchSession.of` finds; beside the cache of `tasks.extraction.openers` it is all that
lives in a process.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, ClassVar, ParamSpec, Self, TypeVar

from tasks.earthengine.deadlines import DEADLINES, Deadlines
from tasks.earthengine.errors import Stopped
from tasks.errors.input import BadInputError
from tasks.extraction import malloc
from tasks.extraction.permits import Pace, Permits
from tasks.extraction.quota import Quota
from tasks.extraction.splitting import Sizes
from tasks.extraction.stop_policy import FailureStreak
from tasks.extraction.tally import Tally
from tasks.extraction.tile_queue import TileQueue
from tasks.storage.receipt import Receipt, TileReceipt

P = ParamSpec("P")
T = TypeVar("T")

# Threads beyond the requests in flight: they decode and encode while others wait for Earth Engine.
SPARE_SHARE, SPARE_LEAST = 4, 4
# A request must end before the lease that it is sent on: so many seconds before its end, and half as much again as the
# longest requests take, nothing is sent any more.
RESERVE_LEAST_S = 10.0


class FetchSession:
    """The permits, the counts, the verdict, the threads and the stop of one run in one process.

    Args:
        run_id: Id of the flow run, or of a job.
        quota: What the process may have in flight, and by whose leave.
        pace: What the run may do at the most.
        deadlines: How long one request may take, and Earth Engine may go on with one that is left.
    """

    _open: ClassVar[dict[str, FetchSession]] = {}
    """By their runs."""
    _left: ClassVar[set[str]] = set()
    """Runs whose flow has left them: a task of theirs that starts late, as the process ends, opens no session."""
    _opening: ClassVar[threading.Lock] = threading.Lock()
    """Held while a session is opened, joined or left."""

    def __init__(self, run_id: str, quota: Quota, pace: Pace, deadlines: Deadlines = DEADLINES) -> None:
        self.run_id, self.quota = run_id, quota
        self.deadlines = deadlines
        self.permits = Permits(pace, reserve=self._reserve)
        self.stop = threading.Event()
        """Set when nothing more is to be sent."""
        self.cancelled = threading.Event()
        """Set, besides, when the run has been cancelled."""
        self.tally = Tally()
        self.verdict = FailureStreak()
        self.sizes = Sizes()
        self.begun: dict[Any, Any] = {}
        """By batch what `tasks.extraction.batch.begin_batch` has begun of those that have not ended."""
        self.receipts: list[Receipt] = []
        """Of the batches that ended here."""
        self.hold = quota.hold(self.permits, run_id=run_id, wanted=lambda: self.outstanding, on_cancel=self.cancel)
        """What it has of the quota."""
        self._most = pace.in_flight + max(SPARE_LEAST, pace.in_flight // SPARE_SHARE)
        self._threads: list[threading.Thread] = []
        # Never shut down: what is in flight as the session ends is still stored. It ends with the session's last user.
        self._pool = ThreadPoolExecutor(os.cpu_count(), "pixels")
        self._work: queue.SimpleQueue[TileQueue | None] = queue.SimpleQueue()
        self._tiles = self._users = 0
        self._beginning = threading.Lock()

    @classmethod
    def of(cls, run_id: str) -> FetchSession | None:
        """Return the session of a run in this process, if there is one."""
        return cls._open.get(run_id)

    @classmethod
    @contextlib.contextmanager
    def shared(cls, run_id: str, quota: Quota, pace: Pace, deadlines: Deadlines) -> Iterator[FetchSession]:
        """Join the session of a run in this process, or open one: it ends with the last of its users.

        Raises:
            BadInputError: the run has one with another quota, pace or deadlines.
            Stopped: the flow of the run has left.
        """
        with cls._opening:
            if run_id in cls._left:
                raise Stopped("The run was left.")
            session = cls._open.get(run_id)
            if session and (session.quota, session.permits.pace, session.deadlines) != (quota, pace, deadlines):
                reason = "that run goes on in this process, with another quota, pace or deadlines"
                raise BadInputError("run_id", run_id, reason, "Give what belongs to another job an id of its own")
            session = (session or FetchSession(run_id, quota, pace, deadlines)).join()
        try:
            yield session
        finally:
            session.close()

    @property
    def is_shared(self) -> bool:
        """Whether a batch uses it just now, beside the flow that opened it."""
        return self._users > 1

    @property
    def outstanding(self) -> int:
        """Tiles that were begun and have not ended."""
        return self._tiles - self.tally.done

    def begin(self, tiles: Iterable[int], fetch: Callable[[int], TileReceipt]) -> TileQueue:
        """Let the threads take tiles, after those that were begun before.

        Args:
            tiles: Their numbers in a plan.
            fetch: Returns the receipt of a tile.
        """
        numbers = tuple(tiles)
        with self._beginning:
            first = not self._tiles
            self._tiles += len(numbers)
        found = TileQueue(numbers, fetch=lambda index: self._counted(fetch(index)), over=self.stop)
        for _ in range(min(len(numbers), self._most)):
            self._work.put(found)
        if not (first and numbers):
            self._start_threads()
            return found
        try:
            self.hold.begin(self._start_threads)
        except BaseException:  # nobody else begins it: the other batches would wait for slots for ever
            self.stop.set()
            raise
        return found

    def _start_threads(self) -> None:
        with self._beginning:
            while len(self._threads) < min(self.outstanding, self._most):
                # Daemons: a process that is to end does not wait for an answer that may take minutes.
                thread = threading.Thread(target=self._serve, name=f"request-{len(self._threads)}", daemon=True)
                self._threads.append(thread)
                thread.start()

    def in_pool(self, function: Callable[P, T], *args: P.args, **more: P.kwargs) -> T:
        """Return what a function returns, called in one of few threads: for what takes CPU, and no time else.

        A thread's first CRS costs GDAL 17 ms of CPU (a PROJ context of its own), and requests have fifty threads.
        """
        return self._pool.submit(function, *args, **more).result()

    @contextlib.contextmanager
    def entered_in_pool(self, context: contextlib.AbstractContextManager[T]) -> Iterator[T]:
        """Enter a context as `in_pool` calls a function; it is left by the thread that leaves this one."""
        made = self.in_pool(context.__enter__)
        try:
            yield made
        finally:
            context.__exit__(*sys.exc_info())

    def ended(self, batch: Hashable, receipt: Receipt) -> None:
        """Take note of the end of a batch."""
        self.begun.pop(batch, None)
        self.receipts.append(receipt)

    def cancel(self) -> None:
        """Stop, because the run has been cancelled."""
        self.cancelled.set()
        self.leave()

    def leave(self) -> None:
        """Stop, and let the process end once what is in flight has had its grace."""
        self.hold.leave(self.deadlines.computing_s)
        self.stop.set()

    def __enter__(self) -> Self:
        """Open it: from now on `of` finds it.

        Raises:
            RuntimeError: the run has one in this process.
        """
        with self._opening:
            if self.run_id in self._open:
                self.hold.close()
                raise RuntimeError(f"run {self.run_id} has a fetch session in this process already")
            self._left.discard(self.run_id)
            return self.join()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Leave it: see `shared`."""
        if error is not None:
            self._left.add(self.run_id)
        self.close()

    def join(self) -> Self:
        """Be one more who uses it: see `shared`, which holds the lock."""
        if not self._users:
            self._open[self.run_id] = self
            malloc.share()
        self._users += 1
        return self

    def close(self) -> None:
        """Use it no more. The last one stops what is still going on, and gives back what is held."""
        with self._opening:
            self._users -= 1
            if self._users:
                return
            del self._open[self.run_id]
        self.stop.set()
        self.hold.close()
        for _thread in self._threads:
            self._work.put(None)
        malloc.trim()  # what answers took is free for products now

    def _serve(self) -> None:
        while (tiles := self._work.get()) is not None:
            tiles.work()

    def _counted(self, tile: TileReceipt) -> TileReceipt:
        self.tally.tile(failed=tile.status == "failed")
        return tile

    def _reserve(self) -> float:
        return max(RESERVE_LEAST_S, 1.5 * self.tally.longest_s)

    @classmethod
    def forget(cls) -> None:
        """Know no session: of those that were open as a process was forked, the child has no thread."""
        cls._open, cls._left, cls._opening = {}, set(), threading.Lock()


os.register_at_fork(after_in_child=FetchSession.forget)
