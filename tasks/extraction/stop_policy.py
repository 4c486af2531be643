"""When to stop a run because tile after tile fails."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from tasks.earthengine.errors import GivenUp, OutOfReach, Throttled, Transient


@dataclass(frozen=True, kw_only=True)
class StopPolicy:
    """How many failed tiles stop a run, if no single error stops it."""

    at_first: int = 20
    """Tiles that fail with one class of error before any succeeds. A misspelt band must not cost 40,000 requests."""
    in_a_row: int = 100
    """Tiles that fail one after the other with temporary errors. In such an outage, the rest would fail, too."""


class FailureStreak:
    """Watches how tiles end, and stops the run when the rest would fail, too. All threads of a run share it."""

    def __init__(self, policy: StopPolicy | None = None) -> None:
        self._policy = policy or StopPolicy()
        self._lock = threading.Lock()
        self._succeeded = False
        self._kind: type[Exception] | None = None
        self._in_a_row = 0

    def succeeded(self) -> None:
        """Record a tile that was fetched."""
        with self._lock:
            self._succeeded, self._in_a_row = True, 0

    def failed(self, error: Exception) -> None:
        """Record a tile that failed.

        Raises:
            GivenUp: The run must stop. ``OutOfReach`` if the errors are temporary.
        """
        passing = isinstance(error, Transient | Throttled)
        kind = Transient if passing else type(error)  # by class: each message names the size or the place of its tile
        with self._lock:
            self._in_a_row = self._in_a_row + 1 if kind is self._kind else 1
            self._kind = kind
            in_a_row, succeeded = self._in_a_row, self._succeeded
        reason = f"{type(error).__name__}: {error}"
        if not succeeded and in_a_row >= self._policy.at_first:
            failed = f"The first {in_a_row} tiles all failed with one class of error. The rest would fail, too."
            kind_of_end = OutOfReach if passing else GivenUp
            raise kind_of_end(f"{failed} {reason} Fix the cause, then run again.")
        if passing and in_a_row >= self._policy.in_a_row:
            failed = f"{in_a_row} tiles in a row failed: Earth Engine is out of reach."
            raise OutOfReach(f"{failed} {reason} Run again when Earth Engine answers.")
