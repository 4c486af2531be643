"""When a run stops because tile after tile fails."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from tasks.earthengine.errors import GivenUp, OutOfReach, Throttled, Transient


@dataclass(frozen=True, kw_only=True)
class StopPolicy:
    """When a run is given up, though no single error says so."""

    at_first: int = 20
    """Tiles that fail by one class of error before any succeeded: a misspelt band must not cost 40,000 requests."""
    in_a_row: int = 100
    """Tiles that fail one after the other by faults that should pass: an outage, in which the rest would fail too."""


class FailureStreak:
    """Watches how tiles end, and says when no other can do better. Shared by the lanes of a run in one process."""

    def __init__(self, policy: StopPolicy | None = None) -> None:
        self._policy = policy or StopPolicy()
        self._lock = threading.Lock()
        self._succeeded = False
        self._kind: type[Exception] | None = None
        self._in_a_row = 0

    def succeeded(self) -> None:
        """Note a tile that was fetched."""
        with self._lock:
            self._succeeded, self._in_a_row = True, 0

    def failed(self, error: Exception) -> None:
        """Note a tile that failed.

        Raises:
            GivenUp: the run is to stop.
        """
        passing = isinstance(error, Transient | Throttled)
        kind = Transient if passing else type(error)  # by class: texts name a size or a place of each tile
        with self._lock:
            self._in_a_row = self._in_a_row + 1 if kind is self._kind else 1
            self._kind = kind
            in_a_row, succeeded = self._in_a_row, self._succeeded
        reason = f"{type(error).__name__}: {error}"
        if not succeeded and in_a_row >= self._policy.at_first:
            failed = f"The first {in_a_row} tiles all failed alike, and so would the rest."
            kind_of_end = OutOfReach if passing else GivenUp
            raise kind_of_end(f"{failed} {reason} Mend that, and run again.")
        if passing and in_a_row >= self._policy.in_a_row:
            failed = f"{in_a_row} tiles in a row failed: Earth Engine is out of reach."
            raise OutOfReach(f"{failed} {reason} Run again once it answers.")
