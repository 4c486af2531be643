"""Policies: how patiently a request is repeated, and when a run is given up."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import tenacity

from tasks.earthengine.errors import EarthEngineError, Throttled, Transient

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often and how patiently one request is repeated. Throttling counts apart: it is no fault of the request."""

    attempts: int = 5
    """Tries of a request that meets passing faults: bridges a restart of a back end, gives up on an outage."""
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
    ) -> tuple[T, int]:
        """Return what the call gave, and the number of tries, those that were throttled left out.

        A throttled call is repeated at once: its permit is what makes it wait.

        Raises:
            EarthEngineError: the last error, when it is not one that passes or tries are used up.
        """
        tries = 0
        begun = clock()

        def used_up(state: tenacity.RetryCallState) -> bool:
            nonlocal tries
            if isinstance(_error(state), Throttled):
                return clock() - begun >= self.throttled_s
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
        return retrying(call), tries + 1


def _error(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


class GivenUp(EarthEngineError):
    """Tile after tile failed alike: the rest of the run would only fail as well."""

    action = "stop the run"


@dataclass(frozen=True, kw_only=True)
class StopPolicy:
    """When a run is given up, though no single error says so."""

    equal_at_first: int = 20
    """Tiles that fail alike before any succeeded: a misspelt band must not cost 40,000 requests."""
    equal_in_a_row: int = 100
    """Tiles that fail alike, one after the other, by passing faults: an outage, in which the rest would fail too."""


class Verdict:
    """Watches how tiles end, and says when no other can do better. Shared by the lanes of a run in one process."""

    def __init__(self, policy: StopPolicy | None = None) -> None:
        self._policy = policy or StopPolicy()
        self._lock = threading.Lock()
        self._succeeded = False
        self._alike = ""
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
        reason = f"{type(error).__name__}: {error}"
        alike = re.sub(r"[\d.]+", "#", reason)  # the same refusal names another size or place for each tile
        with self._lock:
            self._in_a_row = self._in_a_row + 1 if alike == self._alike else 1
            self._alike = alike
            in_a_row, succeeded = self._in_a_row, self._succeeded
        if not succeeded and in_a_row >= self._policy.equal_at_first:
            raise GivenUp(f"The first {in_a_row} tiles all failed alike, and so would the rest. {reason}")
        if isinstance(error, Transient) and in_a_row >= self._policy.equal_in_a_row:
            raise GivenUp(f"{in_a_row} tiles in a row failed alike: Earth Engine is out of reach. {reason}")
