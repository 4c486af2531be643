"""Policies: how patiently a request is repeated, and when a run is given up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import tenacity

from tasks.earthengine.errors import EarthEngineError, GivenUp, OutOfReach, Throttled, Transient

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often and how patiently one request is repeated. Throttling counts apart: it is no fault of the request."""

    attempts: int = 7
    """Tries of a request that meets passing faults: up to a minute in all, as patient as the official client, which
    bridges a restart of a back end and gives up on an outage."""
    throttled_s: float = 1_800.0
    """Seconds for which a request may be throttled again and again: half an hour without a place in the quota means
    that somebody else has it, or that it is none."""
    first_wait_s: float = 1.0
    """Upper bound of the first wait; doubled each time, with full jitter so that requests do not return together."""
    longest_wait_s: float = 30.0
    """Upper bound of a wait: a back end restarts within seconds."""
    longest_asked_s: float = 300.0
    """Upper bound of what a server may ask for by Retry-After: a day would be a hang."""

    def run(
        self,
        call: Callable[[], T],
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> T:
        """Return what the call gave.

        A throttled call is repeated at once: its permit is what makes it wait.

        Raises:
            EarthEngineError: the last error, when it is not one that passes or tries are used up.
        """
        tries = 0
        throttled_since: float | None = None

        def used_up(state: tenacity.RetryCallState) -> bool:
            nonlocal tries, throttled_since
            if isinstance(_error(state), Throttled):
                throttled_since = clock() if throttled_since is None else throttled_since
                return clock() - throttled_since >= self.throttled_s
            throttled_since = None
            tries += 1
            return tries >= self.attempts

        backoff = tenacity.wait_random_exponential(multiplier=self.first_wait_s, max=self.longest_wait_s)

        def pause(state: tenacity.RetryCallState) -> float:
            error = _error(state)
            if isinstance(error, Throttled):
                return 0.0
            asked = error.retry_after if isinstance(error, EarthEngineError) else None
            return max(min(asked or 0.0, self.longest_asked_s), backoff(state))

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type((Transient, Throttled)),
            stop=used_up,
            wait=pause,
            sleep=sleep,
            reraise=True,
        )
        return retrying(call)


def _error(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


@dataclass(frozen=True, kw_only=True)
class StopPolicy:
    """When a run is given up, though no single error says so."""

    at_first: int = 20
    """Tiles that fail by one class of error before any succeeded: a misspelt band must not cost 40,000 requests."""
    in_a_row: int = 100
    """Tiles that fail one after the other by faults that should pass: an outage, in which the rest would fail too."""


class Verdict:
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
