"""Warnings about slots: at most one in half a minute, however often there is a reason."""

from __future__ import annotations

import time

from tasks.extraction.permits import Permits
from tasks.prefect_io.flow_run import Log

# Seconds without a slot after which a warning is logged, and seconds until the next warning.
PATIENCE_S = 30.0


class Complaints:
    """The warnings of a process that waits for slots, or whose leases are not up to date.

    Args:
        permits: The permits of the process.
        log: Logger of the run.
    """

    def __init__(self, permits: Permits, log: Log) -> None:
        self._permits, self._log = permits, log
        self._since = time.monotonic()

    def add(self, reason: str, *, always: bool = False) -> None:
        """Log a reason if there has been no slot for `PATIENCE_S` seconds, or if `always`, for that long no warning."""
        now = time.monotonic()
        if self._permits.slots and not always:
            self._since = now
        elif now - self._since >= PATIENCE_S:
            self._since = now
            waits = "Leases are not up to date" if self._permits.slots else "Waiting for slots"
            self._log.warning("%s: %s.", waits, reason)
