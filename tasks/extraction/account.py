"""The account that a run uses: a connection to an Earth Engine project, and the interactive quota of the project."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.earthengine.connection import Connection
from tasks.extraction.permits import IN_FLIGHT, PER_SECOND, Pace

TAG = "pixel-quarry"


@dataclass(frozen=True, kw_only=True)
class Account:
    """A connection, the quota of its project, and the part of the quota that one run may use."""

    connection: Connection
    quota: int = IN_FLIGHT
    """Requests that all runs of the project together may have in flight."""
    per_second: float = PER_SECOND
    """Requests a second that all runs of the project together may send."""
    run_in_flight: int | None = None
    """Requests that one run may have in flight; None = the whole quota."""
    workload_tag: str = TAG
    """Label of the run's requests in Cloud Monitoring."""

    @property
    def pace(self) -> Pace:
        """The limits of one run."""
        return Pace(in_flight=self.run_in_flight or self.quota, per_second=self.per_second, quota=self.quota)
