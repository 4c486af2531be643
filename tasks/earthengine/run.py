"""A run in one process: what its lanes share."""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from tasks.earthengine import heap
from tasks.earthengine.batch import Batch
from tasks.earthengine.permits import Pace, Permits
from tasks.earthengine.policy import Verdict
from tasks.earthengine.splitting import Sizes

# Threads beyond the requests in flight: they decode and encode while others wait for Earth Engine.
SPARE_SHARE, SPARE_LEAST = 4, 4
# A request must end before the lease that it is sent on: so many seconds before its end, and half as much again as the
# longest requests take, nothing is sent any more.
RESERVE_LEAST_S = 10.0


@dataclass
class Tally:
    """Counts of a run, as it goes. Written under a lock, read without: a reader may be a moment behind."""

    done: int = 0
    """Tiles that ended: stored, empty or failed."""
    failed: int = 0
    requests: int = 0
    """Pixel requests that were answered, one way or the other."""
    throttled: int = 0
    longest_s: float = 0.0
    """Longest of the last requests: forgotten slowly, so that one hang does not count for ever."""
    restricted: bool = False
    """Whether the last answer said that the project's requests in flight are restricted."""
    begun: float | None = None
    """When the first answer came, on the monotonic clock."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def request(self, seconds: float, *, throttled: bool) -> None:
        """Count a request, and how long it took unless it was throttled."""
        with self._lock:
            self.requests += 1
            self.begun = self.begun or time.monotonic()
            if throttled:
                self.throttled += 1
            else:
                self.longest_s = max(seconds, self.longest_s * 0.999)

    def tile(self, *, failed: bool) -> None:
        """Count a tile."""
        with self._lock:
            self.done += 1
            self.failed += failed

    @property
    def per_second(self) -> float | None:
        """Tiles a second so far; None before there are enough to tell."""
        seconds = time.monotonic() - self.begun if self.begun else 0.0
        return self.done / seconds if seconds > 1 and self.done else None


class Run:
    """The permits, the counts, the verdict, the threads and the stop of one run.

    Args:
        pace: The quota.
    """

    def __init__(self, pace: Pace | None = None) -> None:
        pace = pace or Pace()
        self.permits = Permits(pace, reserve=self._reserve)
        self.stop = threading.Event()
        """Set when nothing more is to be sent."""
        self.tally = Tally()
        self.verdict = Verdict()
        self.sizes = Sizes()
        heap.share()
        self._most = pace.in_flight + max(SPARE_LEAST, pace.in_flight // SPARE_SHARE)
        self._threads: list[threading.Thread] = []
        self._work: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self.begun: dict[tuple[int, int], Batch] = {}
        """Batches that were begun, by their first tile and that after their last."""

    def begin(self, batch: Batch, *, threads: int) -> None:
        """Let so many threads work on a batch, those that there are at the most, once they are done with others."""
        wanted = min(threads, self._most)
        for _ in range(wanted):
            self._work.put(batch)
        while len(self._threads) < wanted:
            # Daemons: a process that is to end does not wait for an answer that may take minutes.
            thread = threading.Thread(target=self._serve, name=f"request-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self) -> None:
        while (batch := self._work.get()) is not None:
            batch.work()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Stop what is still going on."""
        self.stop.set()
        for _thread in self._threads:
            self._work.put(None)
        heap.trim()  # what answers took is free for products now

    def _reserve(self) -> float:
        return max(RESERVE_LEAST_S, 1.5 * self.tally.longest_s)
