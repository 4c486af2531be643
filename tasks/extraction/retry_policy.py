"""How often one request is repeated, and how long to wait before each repetition."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import tenacity

from tasks.earthengine.errors import EarthEngineError, Throttled, Transient

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often and for how long one request is repeated. Throttling is counted apart: the request is not at fault."""

    attempts: int = 7
    """Attempts of a request that meets temporary errors: up to a minute in all, as with the official client. That
    outlasts a restart of a back end, but not an outage."""
    throttled_s: float = 1_800.0
    """Seconds for which a request may be throttled again and again. Half an hour without a slot means that something
    else uses the quota, or that there is no quota."""
    first_wait_s: float = 1.0
    """Upper bound of the first wait in seconds. It doubles each time. Full jitter spreads the repeated requests."""
    longest_wait_s: float = 30.0
    """Upper bound of a wait in seconds: a back end restarts within seconds."""
    longest_asked_s: float = 300.0
    """Upper bound of the seconds that a server may ask for by Retry-After: to wait a day would be a hang."""

    def run(
        self,
        call: Callable[[], T],
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> T:
        """Call a function until it succeeds, and return its value.

        A throttled call is repeated at once, since it then waits for a permit.

        Args:
            call: Sends the request once.
            sleep: Waits for a number of seconds.
            clock: Returns monotonic seconds.

        Raises:
            EarthEngineError: The last error, if it is not temporary or no attempt is left.
        """
        attempts = 0
        throttled_since: float | None = None

        def used_up(state: tenacity.RetryCallState) -> bool:
            nonlocal attempts, throttled_since
            if isinstance(_error(state), Throttled):
                throttled_since = clock() if throttled_since is None else throttled_since
                return clock() - throttled_since >= self.throttled_s
            throttled_since = None
            attempts += 1
            return attempts >= self.attempts

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
