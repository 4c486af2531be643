"""The counts of a session, as it goes."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field


@dataclass
class Tally:
    """Written under a lock, read without: a reader may be a moment behind."""

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
        """Tiles a second so far; None while there are too few to measure."""
        seconds = time.monotonic() - self.begun if self.begun else 0.0
        return self.done / seconds if seconds > 1 and self.done else None
