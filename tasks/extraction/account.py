"""The account that a run draws on: an Earth Engine project, the way to it, and its interactive quota."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.earthengine.connection import Connection
from tasks.extraction.permits import IN_FLIGHT, PER_SECOND, Pace

TAG = "pixel-quarry"


@dataclass(frozen=True, kw_only=True)
class Account:
    """A connection with the quota of its project, and what one run may use of it."""

    connection: Connection
    quota: int = IN_FLIGHT
    """Requests that all runs of the project together may have in flight."""
    per_second: float = PER_SECOND
    """Requests that all of them together may begin in a second."""
    run_in_flight: int | None = None
    """Requests that one run may have in flight; None = the whole quota."""
    workload_tag: str = TAG
    """Label of its requests in Cloud Monitoring."""

    @property
    def pace(self) -> Pace:
        """What one run may do."""
        return Pace(in_flight=self.run_in_flight or self.quota, per_second=self.per_second, quota=self.quota)
