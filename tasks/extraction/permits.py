"""Permits: how many requests a process may have in flight now, and when the next one may be sent.

Two numbers limit the requests in flight, and the smaller one counts. One is the number of slots for which this process
holds leases. The other is a window that follows Earth Engine's answers (AIMD: throttling halves the window, and it
grows by one a round trip).
"""

from __future__ import annotations

import contextlib
import heapq
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

from tasks.earthengine.errors import Stopped
from tasks.earthengine.line import Stop

# The defaults of a project: https://developers.google.com/earth-engine/guides/usage
IN_FLIGHT, PER_SECOND = 40, 100
# Seconds after which a waiting request checks again whether the run was stopped or a lease has ended.
LOOK_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Pace:
    """The limits of a run, and the settings of :class:`Permits`."""

    in_flight: int = IN_FLIGHT
    """Requests that the run may have in flight: the upper bound of the window."""
    per_second: float = PER_SECOND
    """Requests a second that all runs of the project together may send. The share of a process in this rate is the
    share of its slots in the quota."""
    quota: int | None = None
    """Slots of the whole quota. The run may use `in_flight` of them; None = the run may use all."""
    burst_s: float = 0.4
    """Seconds by which a process may lag behind its rate and then catch up. Threads wake late, and a run sends all its
    first requests at once. Earth Engine counts by the minute, so this is no excess if it is less than half a second."""
    probe_s: float = 0.1
    """Seconds for which the first request goes alone, unless it is answered sooner. A request that is plainly wrong is
    refused before anything is computed, while the answer to a good one may take minutes."""
    probing: int = 19
    """Requests in flight after that, until a tile is fetched. They are fewer than the failures that stop a run
    (`StopPolicy.at_first`). Otherwise quick refusals would stop it before slower requests succeed."""
    cut: float = 0.5
    """Share of the requests in flight that remains after throttling."""
    growth: float = 1.0
    """Requests by which the window grows in a round trip without throttling."""
    growth_s: float = 5.0
    """Upper bound of the seconds that this growth takes: a round trip may take minutes."""
    pause_s: float = 0.5
    """Seconds without new requests after throttling, if the server does not give a time."""
    longest_pause_s: float = 300.0
    """Upper bound of the seconds that a server may ask for by Retry-After: to wait a day would be a hang."""

    @property
    def own_per_second(self) -> float:
        """Requests a second that the run may send if it has all its requests in flight."""
        return self.per_second * min(1.0, self.in_flight / (self.quota or self.in_flight))


@dataclass(frozen=True)
class _Lease:
    slots: int
    until: float


class Permits:
    """Permits for requests. Nothing is sent without a lease that is known to be valid.

    The first request is a probe. It goes alone until its tile is fetched, or until `Pace.probe_s` have passed without
    a failure.

    Args:
        pace: The limits of the run, and how the window moves.
        reserve: Returns the seconds before the end of a lease in which nothing new is sent on it, since a request may
            be in flight for that long.
        clock: Returns monotonic seconds.
        wait: Waits until a condition is notified, or for a number of seconds.
    """

    def __init__(
        self,
        pace: Pace | None = None,
        *,
        reserve: Callable[[], float] = lambda: 0.0,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Condition, float], object] = threading.Condition.wait,
    ) -> None:
        self.pace = pace or Pace()
        self.quota = self.pace.quota or self.pace.in_flight
        """Slots of the whole quota. Processes share the rate in proportion to their slots."""
        self._reserve, self._clock, self._wait = reserve, clock, wait
        self._gate = threading.Lock()
        self._changed = threading.Condition()
        self._leases: dict[Hashable, _Lease] = {}
        self._sent: dict[object, float] = {}
        """The time at which each request in flight was sent, the oldest first."""
        self._lingering: list[float] = []
        self._waiting: list[object] = []
        self._window = 1.0
        self._proven = False
        self._alone_until: float | None = None
        """The time until which the probe goes alone; None before it is sent."""
        self._cut_at = self._grown_at = self._paused_until = -float("inf")
        self._next = -float("inf")
        self._over: Exception | None = None

    # Leases: what the quota grants ---------------------------------------------------------------------------------

    def hold_lease(self, lease: Hashable, slots: int, until: float = float("inf")) -> None:
        """Count a lease of some slots, valid until a time of the clock. Call it again to extend the lease."""
        with self._changed:
            self._leases[lease] = _Lease(slots, until)
            self._changed.notify_all()

    def drop_lease(self, lease: Hashable) -> None:
        """Send nothing more on a lease. The lease may be released once `in_flight` is not above `slots`."""
        with self._changed:
            self._leases.pop(lease, None)

    @property
    def reserve(self) -> float:
        """Seconds that must be left of a lease to send a request: as long as others took, or have taken so far."""
        with self._changed:
            return self._needed(self._clock())

    @property
    def slots(self) -> int:
        """Slots of the leases that are valid for long enough to send a request."""
        with self._changed:
            return self._slots(self._clock())

    @property
    def in_flight(self) -> int:
        """Requests that Earth Engine computes, or may still compute."""
        with self._changed:
            return self._busy(self._clock())

    @property
    def awaited(self) -> int:
        """Requests whose answers are awaited here."""
        return len(self._sent)

    @property
    def lingering(self) -> int:
        """Requests that were given up here, and that Earth Engine may still compute. They count as in flight."""
        return self._left_behind()[0]

    @property
    def lingering_s(self) -> float:
        """Seconds until the last of them is no longer counted."""
        return self._left_behind()[1]

    @property
    def waiting(self) -> int:
        """Requests that wait for a permit."""
        return len(self._waiting)

    @property
    def window(self) -> int:
        """Requests in flight that Earth Engine accepts, as far as its answers have shown."""
        return int(self._window)

    def wait_idle(self, timeout: float, *, beyond: int = 0) -> bool:
        """Wait until at most `beyond` requests are in flight. Return whether that happened within `timeout` seconds."""
        end = self._clock() + timeout
        with self._changed:
            while self._busy(self._clock()) > beyond:
                left = end - self._clock()
                if left <= 0:
                    return False
                self._wait(self._changed, min(left, 0.2))
        return True

    # Requests --------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def permit(self, *stops: Stop) -> Iterator[None]:
        """Wait for a permit, and count one request as in flight inside the `with` block.

        Raises:
            Stopped: One of `stops` was set before a permit was free.
            Exception: The error that was given to `end`.
        """
        request = object()
        self._waiting.append(request)
        try:
            with self._gate:  # one thread waits for a permit, the others here: otherwise each change wakes all of them
                self._enter(request, stops)
        finally:
            self._waiting.remove(request)
        try:
            yield
        finally:
            with self._changed:
                del self._sent[request]
                self._changed.notify()

    def _enter(self, request: object, stops: Sequence[Stop]) -> None:
        with self._changed:
            while True:
                if any(stop.is_set() for stop in stops):
                    raise Stopped("The run was stopped.")
                if self._over:
                    raise self._over
                now = self._clock()
                self._probe(now)
                slots, begin = self._slots(now), max(self._next, self._paused_until)
                if now >= begin and self._busy(now) < min(slots, self.window):
                    break
                # No notification comes when a lease or a pause ends, or when a given-up request is no longer counted.
                ends = [*self._lingering[:1], *(end for end in (begin, self._alone_until) if end and end > now)]
                self._wait(self._changed, min([LOOK_S, *(end - now for end in ends)]))
            self._sent[request] = now
            if self._alone_until is None:
                self._alone_until = now + self.pace.probe_s
            share = self.pace.per_second * min(1.0, slots / self.quota)
            self._next = max(self._next, now - self.pace.burst_s) + 1 / share

    def end(self, error: Exception) -> None:
        """Grant nothing more: whoever waits for a permit gets the error."""
        with self._changed:
            self._over = error
            self._changed.notify_all()

    def linger(self, seconds: float) -> None:
        """Count a request that was given up as in flight for some more seconds: Earth Engine may still compute it."""
        with self._changed:
            heapq.heappush(self._lingering, self._clock() + seconds)

    def prove(self) -> None:
        """Record that a tile was fetched. The first one opens the window fully, unless there was throttling before."""
        with self._changed:
            if not self._proven and self._cut_at < 0:
                self._window = float(self.pace.in_flight)
                self._changed.notify_all()
            self._proven = True

    def succeeded(self) -> None:
        """Record an answer. The window grows by one a round trip."""
        with self._changed:
            before, now = self.window, self._clock()
            if self._proven or self._cut_at >= 0:
                late = (now - max(self._grown_at, self._cut_at)) / self.pace.growth_s
                self._window += self.pace.growth * max(1 / self._window, min(late, 1.0))
                self._window = min(self._window, float(self.pace.in_flight))
            self._grown_at = now
            if self.window > before:
                self._changed.notify_all()

    def failed(self) -> None:
        """Record that a request was refused, but not throttled. Requests go one by one until a tile is fetched."""
        with self._changed:
            if not self._proven:
                self._window, self._alone_until = 1.0, float("inf")

    def throttled(self, begun: float, *, wait_s: float | None = None, pause: bool = True) -> None:
        """Record that Earth Engine throttled a request, and reduce the window to half of the requests in flight.

        Requests that were sent before the last reduction do not reduce the window again.

        Args:
            begun: Time of the clock at which the request was sent.
            wait_s: Seconds that the server asked to wait (Retry-After).
            pause: Whether to send nothing for a moment. False if the request was answered in spite of the throttling.
        """
        with self._changed:
            now = self._clock()
            if begun >= self._cut_at:
                self._cut_at = now
                self._window = max(1.0, min(self._window, self._busy(now)) * self.pace.cut)
            if pause:
                seconds = min(wait_s, self.pace.longest_pause_s) if wait_s is not None else self.pace.pause_s
                self._paused_until = max(self._paused_until, now + seconds)

    # With the lock held ----------------------------------------------------------------------------------------------

    def _probe(self, now: float) -> None:
        if not self._proven and self._cut_at < 0 and self._alone_until is not None and now >= self._alone_until:
            self._window = float(min(self.pace.probing, self.pace.in_flight))

    def _busy(self, now: float) -> int:
        while self._lingering and self._lingering[0] <= now:
            heapq.heappop(self._lingering)
        return len(self._sent) + len(self._lingering)

    def _left_behind(self) -> tuple[int, float]:
        with self._changed:
            now = self._clock()
            self._busy(now)
            return len(self._lingering), max(self._lingering, default=now) - now

    def _slots(self, now: float) -> int:
        reserve = self._needed(now)
        return sum(lease.slots for lease in self._leases.values() if lease.until - reserve > now)

    def _needed(self, now: float) -> float:
        return max(self._reserve(), now - next(iter(self._sent.values()), now))
