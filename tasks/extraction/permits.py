"""Permits: how many requests a process may have in flight now, and when the next may begin.

What may be in flight is the least of two numbers: the slots of the project's quota that this process holds by leases,
and a window that Earth Engine's own answers set (AIMD: halved when it throttles, grown by one a round trip).
"""

from __future__ import annotations

import contextlib
import heapq
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass

from tasks.earthengine.errors import Stopped

# https://developers.google.com/earth-engine/guides/usage: the defaults of a project.
IN_FLIGHT, PER_SECOND = 40, 100
# How often a request that waits looks whether the run was stopped, or a lease has lapsed.
LOOK_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Pace:
    """The knobs of :class:`Permits`."""

    in_flight: int = IN_FLIGHT
    """Requests that the run may have in flight: the limit of the window."""
    per_second: float = PER_SECOND
    """Requests that all runs of the project together may begin in a second: a process keeps to the share that its slots
    are of the quota."""
    quota: int | None = None
    """Slots of the whole quota, of which the run may have `in_flight`; None = just as many."""
    burst_s: float = 0.4
    """Seconds of its share that a process may be behind and make good: threads wake late, and a run begins with as many
    as it may have in flight. Earth Engine counts by the minute, so less than half a second is no excess."""
    probe_s: float = 0.1
    """Seconds for which the first request goes alone, unless it is answered sooner: what is refused outright is refused
    before anything is computed, and a tile may compute for minutes."""
    probing: int = 19
    """Requests in flight from then on until a tile is fetched: fewer than the failures at which a run is given up
    (`StopPolicy.at_first`), or quick refusals would hide successes that take longer."""
    cut: float = 0.5
    """What throttling leaves of the requests in flight."""
    growth: float = 1.0
    """Requests that the window gains in a round trip without throttling."""
    growth_s: float = 5.0
    """Seconds in which it gains as much at the latest: a round trip may take minutes."""
    pause_s: float = 0.5
    """Seconds that nothing is sent after throttling, where the server does not say."""
    longest_pause_s: float = 300.0
    """Upper bound of what a server may ask for by Retry-After: a day would be a hang."""

    @property
    def own_per_second(self) -> float:
        """Requests that the run may begin in a second, if it has all its requests in flight."""
        return self.per_second * min(1.0, self.in_flight / (self.quota or self.in_flight))


@dataclass(frozen=True)
class _Lease:
    slots: int
    until: float


class Permits:
    """Permits for requests. Nothing is sent without a lease that is known to hold.

    The first request is a probe, and goes alone until its tile is fetched, or it takes long without having failed.

    Args:
        pace: The quota, and how the window moves.
        reserve: Returns the seconds before the end of a lease in which nothing new is sent on it: so long may a
            request still be in flight.
        clock: Monotonic seconds.
        wait: Waits for a condition, or so many seconds.
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
        """Slots of the whole quota, by which the rate is shared."""
        self._reserve, self._clock, self._wait = reserve, clock, wait
        self._gate = threading.Lock()
        self._changed = threading.Condition()
        self._leases: dict[Hashable, _Lease] = {}
        self._sent: dict[object, float] = {}
        """When each request that is in flight was sent, the oldest first."""
        self._lingering: list[float] = []
        self._window = 1.0
        self._proven = False
        self._alone_until: float | None = None
        """Until when the probe goes alone; None before it is sent."""
        self._cut_at = self._grown_at = self._paused_until = -float("inf")
        self._next = -float("inf")

    # Leases: what the quota grants ---------------------------------------------------------------------------------

    def hold(self, lease: Hashable, slots: int, until: float = float("inf")) -> None:
        """Count a lease on so many slots, confirmed until a time of the clock; again to prolong it."""
        with self._changed:
            self._leases[lease] = _Lease(slots, until)
            self._changed.notify_all()

    def drop(self, lease: Hashable) -> None:
        """Send nothing more on a lease. It may be released once `in_flight` is no more than `slots`."""
        with self._changed:
            self._leases.pop(lease, None)

    @property
    def reserve(self) -> float:
        """Seconds that must be left of a lease for a request to be sent on it: as long as others took, or take."""
        with self._changed:
            return self._needed(self._clock())

    @property
    def slots(self) -> int:
        """Slots of the leases that are known to hold for long enough to send a request."""
        with self._changed:
            return self._slots(self._clock())

    @property
    def in_flight(self) -> int:
        """Requests that are, or may still be, worked on."""
        with self._changed:
            return self._busy(self._clock())

    @property
    def window(self) -> int:
        """Requests in flight that Earth Engine was last seen to take."""
        return int(self._window)

    def wait_idle(self, timeout: float, *, beyond: int = 0) -> bool:
        """Wait until at most `beyond` requests are in flight; return whether that came to be in time."""
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
    def permit(self, stop: threading.Event) -> Iterator[None]:
        """Be one of the requests in flight, begun no earlier than the rate allows.

        Raises:
            Stopped: `stop` was set before there was a permit.
        """
        request = object()
        with self._gate:  # one at a time looks for a place, the others queue: else each change would wake them all
            self._enter(request, stop)
        try:
            yield
        finally:
            with self._changed:
                del self._sent[request]
                self._changed.notify()

    def _enter(self, request: object, stop: threading.Event) -> None:
        with self._changed:
            while True:
                if stop.is_set():
                    raise Stopped("The run was stopped.")
                now = self._clock()
                self._probe(now)
                slots, begin = self._slots(now), max(self._next, self._paused_until)
                if now >= begin and self._busy(now) < min(slots, self.window):
                    break
                # Leases end, pauses pass and places of given-up requests come free without anybody telling.
                ends = [*self._lingering[:1], *(end for end in (begin, self._alone_until) if end and end > now)]
                self._wait(self._changed, min([LOOK_S, *(end - now for end in ends)]))
            self._sent[request] = now
            if self._alone_until is None:
                self._alone_until = now + self.pace.probe_s
            share = self.pace.per_second * min(1.0, slots / self.quota)
            self._next = max(self._next, now - self.pace.burst_s) + 1 / share

    def linger(self, seconds: float) -> None:
        """Keep a place taken for a request that was given up, as Earth Engine may go on with it."""
        with self._changed:
            heapq.heappush(self._lingering, self._clock() + seconds)

    def prove(self) -> None:
        """Note that a tile was fetched: with the first, the window opens."""
        with self._changed:
            if not self._proven and self._cut_at < 0:
                self._window = float(self.pace.in_flight)
                self._changed.notify_all()
            self._proven = True

    def succeeded(self) -> None:
        """Note an answer: the window grows by one a round trip."""
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
        """Note that a request was refused, but not for want of quota: until a tile is fetched, they go one by one."""
        with self._changed:
            if not self._proven:
                self._window, self._alone_until = 1.0, float("inf")

    def throttled(self, begun: float, *, wait_s: float | None = None, pause: bool = True) -> None:
        """Note that Earth Engine throttled a request that began at a time of the clock.

        What is in flight is halved once for all the requests that began before it was halved last.

        Args:
            begun: When the request was sent.
            wait_s: Seconds that the server asked to wait (Retry-After).
            pause: Whether nothing is sent for a moment: not where the request was answered all the same.
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

    def _slots(self, now: float) -> int:
        reserve = self._needed(now)
        return sum(lease.slots for lease in self._leases.values() if lease.until - reserve > now)

    def _needed(self, now: float) -> float:
        return max(self._reserve(), now - next(iter(self._sent.values()), now))
