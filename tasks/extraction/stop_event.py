"""The stop of a session: an event, and the time that requests in flight still have to end."""

from __future__ import annotations

import threading
import time

# Seconds that requests in flight have to end and be stored after a session has stopped.
GRACE_S = 20.0


class StopEvent(threading.Event):
    """Set when nothing more may be sent. From the first `set` on, requests in flight have `GRACE_S` seconds.

    All batches of a session share this time. Thread-safe.
    """

    def __init__(self) -> None:
        super().__init__()
        self._until: float | None = None

    def set(self) -> None:
        """Set the event. A second call does not change the time."""
        if self._until is None:
            self._until = time.monotonic() + GRACE_S
        super().set()

    def cut(self) -> None:
        """Set the event, and wait for nothing that is in flight."""
        self._until = -float("inf")
        super().set()

    @property
    def left_s(self) -> float:
        """Seconds that requests in flight still have; infinite before the event is set."""
        return float("inf") if self._until is None else max(0.0, self._until - time.monotonic())
