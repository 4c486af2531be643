"""The interactive quota of a project, as one process keeps it: requests in flight, requests a second."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Iterator

# https://developers.google.com/earth-engine/guides/usage: the defaults of a project.
IN_FLIGHT, PER_SECOND = 40, 100


class Quota:
    """Permits for requests: at most so many at once, and so many a second.

    Args:
        in_flight: Requests that may be in flight at once.
        per_second: Requests that may begin in a second, evenly spaced.
    """

    def __init__(self, *, in_flight: int = IN_FLIGHT, per_second: float = PER_SECOND) -> None:
        self._slots = threading.BoundedSemaphore(in_flight)
        self._interval = 1 / per_second
        self._next = 0.0
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def permit(self) -> Iterator[None]:
        """Hold one slot, begun no earlier than the rate allows."""
        with self._slots:
            with self._lock:
                now = time.monotonic()
                begin = max(now, self._next)
                self._next = begin + self._interval
            time.sleep(begin - now)
            yield


@functools.lru_cache(maxsize=8)
def shared_quota(project: str, in_flight: int, per_second: float) -> Quota:
    """Return the one quota that all lanes of this process share for a project."""
    del project  # part of the key
    return Quota(in_flight=in_flight, per_second=per_second)
