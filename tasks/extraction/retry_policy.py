"""How often one request is sent again, and after which waits."""

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
