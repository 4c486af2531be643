"""The running counts of a session."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field


@dataclass
class Tally:
    """Counts of tiles and requests. They are read without a lock, so a reader may get values that are slightly old."""

    taken: int = 0
    """Number of tiles that a thread has taken from the queue."""
    done: int = 0
    """Number of tiles that ended: stored, empty or failed."""
    failed: int = 0
    requests: int = 0
    """Number of pixel requests that ended, with an answer or an error."""
    throttled: int = 0
    hedged: int = 0
    """Number of requests that were sent a second time while the first was in flight (`tasks.extraction.hedge`)."""
    longest_s: float = 0.0
    """Seconds that the longest recent request took. They decay slowly, so that one hang does not count for ever."""
    restricted: bool = False
    """Whether the last answer showed that the project's requests in flight are restricted."""
    begun: float | None = None
    """Time of the first answer on the monotonic clock."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def request(self, seconds: float, *, throttled: bool) -> None:
        """Count a request, and record its seconds unless it was throttled."""
        with self._lock:
            self.requests += 1
            self.begun = self.begun or time.monotonic()
            if throttled:
                self.throttled += 1
            else:
                self.longest_s = max(seconds, self.longest_s * 0.999)

    def take(self) -> None:
        """Count a tile that a thread takes."""
        with self._lock:
            self.taken += 1

    def hedge(self, number: int) -> None:
        """Count requests that are sent a second time; -1 for one that was not sent after all."""
        with self._lock:
            self.hedged += number

    def tile(self, *, failed: bool) -> None:
        """Count a tile that ended."""
        with self._lock:
            self.done += 1
            self.failed += failed

    @property
    def per_second(self) -> float | None:
        """Tiles a second so far; None in the first second, and before the first tile ended."""
        seconds = time.monotonic() - self.begun if self.begun else 0.0
        return self.done / seconds if seconds > 1 and self.done else None
