"""Warnings about slots: at most one in half a minute, however often there is a reason."""

from __future__ import annotations

import time

from tasks.extraction.permits import Permits
from tasks.prefect_io.flow_run import Log
from tasks.prefect_io.quota_limit import LimitState

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

    @property
    def due(self) -> bool:
        """Whether a reason would be logged now."""
        return time.monotonic() - self._since >= PATIENCE_S

    def add(self, reason: str, *, always: bool = False) -> None:
        """Log a reason if there has been no slot for `PATIENCE_S` seconds, or if `always`, for that long no warning."""
        now = time.monotonic()
        if self._permits.slots and not always:
            self._since = now
        elif now - self._since >= PATIENCE_S:
            self._since = now
            waits = "Leases are not up to date" if self._permits.slots else "Waiting for slots"
            self._log.warning("%s: %s.", waits, reason)


def why_none(name: str, state: LimitState, *, others: bool) -> str:
    """Return why a process has no slot of a limit.

    Args:
        name: Name of the limit.
        state: The limit, as the server reports it.
        others: Whether other processes share it.
    """
    if not state.limit:
        return f"the limit {name} is 0, which pauses all runs. To go on, raise it"
    if state.taken < state.limit:
        return (
            f"{state.limit - state.taken} of {state.limit} slots of {name} are free, and are taken as soon as possible"
        )
    who = "other runs" if others else "runs that died, or by this run before the server was restarted"
    return f"{state.taken} of {state.limit} slots of {name} are taken by {who}"
