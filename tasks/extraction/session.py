"""A fetch session: the requests in flight of one run in one process, from its opening to its close.

A session outlives each batch, and this makes one process fast: as soon as the last tile of a batch is taken, threads
go on with the next batch, whenever Prefect or another engine starts the task of that batch. A process has at most one
session for each run, and `FetchSession.of` finds it. Between batches, a process also keeps caches of stores
(`tasks.storage.address`) and of plans (`tasks.extraction.stored_plan`).
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
from tasks.extraction.hedge import HEDGE, HedgePolicy
from tasks.extraction.permits import Pace, Permits
from tasks.extraction.quota import Quota
from tasks.extraction.race import Races
from tasks.extraction.splitting import Sizes
from tasks.extraction.stop_event import StopEvent
from tasks.extraction.stop_policy import FailureStreak
from tasks.extraction.tally import Tally
from tasks.extraction.tile_queue import TileQueue
from tasks.storage.receipt import Receipt, TileReceipt

P = ParamSpec("P")
T = TypeVar("T")

# More threads than requests in flight, by a quarter and at least by 4: they decode and encode while others wait for
# Earth Engine.
SPARE_SHARE, SPARE_LEAST = 4, 4
# A request must end before its lease does. So nothing is sent in the last seconds of a lease: at least this many, and
# at least 1.5 times the longest of the last requests.
RESERVE_LEAST_S = 10.0


class FetchSession:
    """The permits, counts, failure streak, threads and stop event of one run in one process.

    Args:
        run_id: Id of the flow run, or an id that the caller chose.
        quota: The quota that grants the process its requests in flight.
        pace: The limits of the run.
        deadlines: How long one request may take, and how long Earth Engine may still compute one that was given up.
        hedge: Which requests are sent a second time at the end of the run.
    """

    _open: ClassVar[dict[str, FetchSession]] = {}
    """Open sessions by run id."""
    _left: ClassVar[set[str]] = set()
    """Ids of runs whose flow ended with an error. A task of such a run that starts late opens no session."""
    _opening: ClassVar[threading.Lock] = threading.Lock()
    """Lock that is held while a session is opened, joined or left."""

    def __init__(
        self, run_id: str, quota: Quota, pace: Pace, deadlines: Deadlines = DEADLINES, hedge: HedgePolicy = HEDGE
    ) -> None:
        self.run_id, self.quota = run_id, quota
        self.deadlines = deadlines
        self.permits = Permits(pace, reserve=self._reserve)
        self.stop = StopEvent()
        """Set when nothing more may be sent."""
        self.cancelled = threading.Event()
        """Set, in addition to `stop`, when the run was cancelled."""
        self.tally = Tally()
        self.unqueued = 0
        """Tiles that the run will queue later."""
        self.races = Races(hedge, self.tally, unsent=lambda: self.unsent, stop=self.stop)
        self.failure_streak = FailureStreak()
        self.sizes = Sizes()
        self.begun: dict[Any, Any] = {}
        """By batch, what `tasks.extraction.batch.begin_batch` returned for each batch that has not ended."""
        self.receipts: list[Receipt] = []
        """Receipts of the batches that ended in this session."""
        self.ends: dict[Any, BaseException | None] = {}
        """By batch, how `tasks.extraction.batch.run_batch` ended: the error that it raised, or None."""
        self.hold = quota.hold(self.permits, run_id=run_id, wanted=self._wanted, on_cancel=self.cancel)
        """The slots that the session holds of the quota."""
        self._most = pace.in_flight + max(SPARE_LEAST, pace.in_flight // SPARE_SHARE)
        self._threads: list[threading.Thread] = []
        # Never shut down: requests that are in flight when the session ends are still stored. The pool's threads end
        # when nothing refers to the session any more.
        self._pool = ThreadPoolExecutor(os.cpu_count(), "pixels")
        self._work: queue.SimpleQueue[TileQueue | None] = queue.SimpleQueue()
        self._tiles = self._users = 0
        self._beginning = threading.Lock()

    @classmethod
    def of(cls, run_id: str) -> FetchSession | None:
        """Return the session of a run in this process; None if there is none."""
        return cls._open.get(run_id)

    @classmethod
    @contextlib.contextmanager
    def shared(
        cls, run_id: str, quota: Quota, pace: Pace, deadlines: Deadlines, hedge: HedgePolicy
    ) -> Iterator[FetchSession]:
        """Join the session of a run in this process, or open one. It closes when its last user leaves the `with` block.

        Raises:
            BadInputError: The run has a session with another quota, pace, deadlines or rule for hedged requests.
            Stopped: The flow of the run has ended with an error.
        """
        with cls._opening:
            if run_id in cls._left:
                raise Stopped("The flow of this run has already ended.")
            session = cls._open.get(run_id)
            given = (quota, pace, deadlines, hedge)
            if session and (session.quota, session.permits.pace, session.deadlines, session.races.policy) != given:
                reason = "a run with this id is active in this process, with another quota, pace, deadlines or hedge"
                raise BadInputError("run_id", run_id, reason, "Give each run an id of its own")
            session = (session or FetchSession(run_id, quota, pace, deadlines, hedge)).join()
        try:
            yield session
        finally:
            session.close()

    @property
    def is_shared(self) -> bool:
        """Whether a batch uses the session now, in addition to the flow that opened it."""
        return self._users > 1

    @property
    def outstanding(self) -> int:
        """Number of tiles that were queued and have not ended."""
        return self._tiles - self.tally.done

    @property
    def unsent(self) -> int:
        """Number of tiles and parts of tiles of the run that have not been requested yet, as far as it is known."""
        return self.unqueued + self._tiles - self.tally.taken + self.permits.waiting

    def begin(self, tiles: Iterable[int], fetch: Callable[[int], TileReceipt]) -> TileQueue:
        """Queue tiles for the threads, after the tiles that were queued earlier. The first call takes slots.

        Args:
            tiles: Numbers of the tiles in their plan.
            fetch: Fetches a tile by number and returns its receipt.
        """
        numbers = tuple(tiles)
        with self._beginning:
            first = not self._tiles
            self._tiles += len(numbers)
        found = TileQueue(numbers, fetch=lambda index: self._counted(fetch, index), over=self.stop)
        for _ in range(min(len(numbers), self._most)):
            self._work.put(found)
        if not (first and numbers):
            self._start_threads()
            return found
        try:
            self.hold.begin(self._start_threads)
        except BaseException:  # slots are taken only here: without them, the other batches would wait for ever
            self.stop.set()
            raise
        return found

    def _start_threads(self) -> None:
        with self._beginning:
            if not self._threads:
                self.races.start()
            while len(self._threads) < min(self.outstanding, self._most):
                # Daemon threads: a process can end without waiting for an answer, which may take minutes.
                thread = threading.Thread(target=self._serve, name=f"request-{len(self._threads)}", daemon=True)
                self._threads.append(thread)
                thread.start()

    def in_pool(self, function: Callable[P, T], *args: P.args, **more: P.kwargs) -> T:
        """Call a function in one of a few threads, and return its value. For work that takes CPU and does not wait.

        In each thread, the first CRS costs GDAL 17 ms of CPU (a PROJ context of its own). Requests use fifty threads.
        """
        return self._pool.submit(function, *args, **more).result()

    @contextlib.contextmanager
    def entered_in_pool(self, context: contextlib.AbstractContextManager[T]) -> Iterator[T]:
        """Enter a context in the pool, as `in_pool` calls a function. The calling thread leaves the context."""
        made = self.in_pool(context.__enter__)
        try:
            yield made
        finally:
            context.__exit__(*sys.exc_info())

    def ended(self, batch: Hashable, receipt: Receipt) -> None:
        """Record the end of a batch and its receipt."""
        self.begun.pop(batch, None)
        self.receipts.append(receipt)

    def cancel(self) -> None:
        """Stop the session because the run was cancelled."""
        self.cancelled.set()
        self.leave()

    def leave(self) -> None:
        """Stop the session. The process may end after `stop_event.GRACE_S` seconds, in which requests may still end."""
        self.hold.leave(self.deadlines.computing_s)
        self.stop.set()

    def __enter__(self) -> Self:
        """Open the session, so that `of` finds it.

        Raises:
            RuntimeError: The run already has a session in this process.
        """
        with self._opening:
            if self.run_id in self._open:
                self.hold.close()
                raise RuntimeError(f"run_id = {self.run_id!r}: this run already has a fetch session in this process")
            self._left.discard(self.run_id)
            return self.join()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Leave the session: see `close`. After an error, no task of the run may open a session again."""
        if error is not None:
            self._left.add(self.run_id)
        self.close()

    def join(self) -> Self:
        """Count one more user of the session. The caller holds the lock `_opening`."""
        if not self._users:
            self._open[self.run_id] = self
            malloc.share()
        self._users += 1
        return self

    def close(self) -> None:
        """Count one user less. After the last user, stop the remaining work and give the slots back."""
        with self._opening:
            self._users -= 1
            if self._users:
                return
            del self._open[self.run_id]
        self.stop.set()
        self.hold.close()
        for _thread in self._threads:
            self._work.put(None)
        malloc.trim()  # products can use the memory that the answers took

    def _serve(self) -> None:
        while (tiles := self._work.get()) is not None:
            tiles.work()

    def _wanted(self) -> int:
        """Return how many requests could be in flight, those that Earth Engine still computes included."""
        return self.outstanding + self.races.wanted + self.permits.lingering

    def _counted(self, fetch: Callable[[int], TileReceipt], index: int) -> TileReceipt:
        self.tally.take()
        tile = fetch(index)
        self.tally.tile(failed=tile.status == "failed")
        return tile

    def _reserve(self) -> float:
        return max(RESERVE_LEAST_S, 1.5 * self.tally.longest_s)

    @classmethod
    def forget(cls) -> None:
        """Forget all sessions. After a fork, the child process has none of their threads."""
        cls._open, cls._left, cls._opening = {}, set(), threading.Lock()


os.register_at_fork(after_in_child=FetchSession.forget)
