"""Races between a request and its second sending: the first whole answer counts. A thread begins them."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable

from tasks.earthengine.errors import EarthEngineError
from tasks.earthengine.line import Line
from tasks.earthengine.transport import Answer
from tasks.extraction.hedge import HedgePolicy, Latencies
from tasks.extraction.tally import Tally

# Sends the request once on a line: waits for a permit, and returns the answer or raises a typed error.
Send = Callable[[Line], Answer]
# Seconds between two looks at the requests in flight.
LOOK_S = 0.5
_log = logging.getLogger("pixel_quarry")


class Race:
    """One request, and its second sending if there is one. The thread of the tile waits for the first whole answer."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._changed = threading.Condition()  # guards the attributes below
        self._first, self._second = Line(), Line()
        self._answer: Answer | None = None
        self._doubled = self._running = False

    def run(self) -> Answer:
        """Send the request, and return the first whole answer.

        If it fails in a way that may pass, and its second sending is in flight, wait for that one.

        Raises:
            EarthEngineError: The request failed, and its second sending, if there was one, failed as well.
        """
        try:
            return self._won(self._send(self._first), loser=self._second)
        except EarthEngineError as error:
            if answer := self._other_answer(wait=error.passing):
                return answer
            raise

    def age_s(self, now: float) -> float | None:
        """Return the seconds since the request was sent; None if it is not in flight, or was sent a second time."""
        begun = self._first.begun
        return None if begun is None or self._doubled else now - begun

    @property
    def doubled(self) -> bool:
        """Whether the request was sent a second time, or waits for a permit to be."""
        return self._doubled

    def double(self, tally: Tally) -> None:
        """Send the request a second time, in a thread of its own, and count it."""
        self._doubled = self._running = True
        tally.hedge(1)
        # A daemon thread, as those of the session: a process can end without waiting for an answer.
        threading.Thread(target=self._send_again, args=(tally,), name="hedge", daemon=True).start()

    def _send_again(self, tally: Tally) -> None:
        try:
            # If it fails, the first sending is still under way, or reports its own error.
            with contextlib.suppress(Exception):
                self._won(self._send(self._second), loser=self._first)
        finally:
            if self._second.begun is None:  # there was no slot for it in time
                tally.hedge(-1)
            with self._changed:
                self._running = False
                self._changed.notify_all()

    def _won(self, answer: Answer, *, loser: Line) -> Answer:
        with self._changed:
            if self._answer is None:
                self._answer = answer
                loser.cut()
            return self._answer

    def _other_answer(self, *, wait: bool) -> Answer | None:
        """Return the answer of the second sending; None if it failed, or is not waited for."""
        with self._changed:
            if not wait or self._second.begun is None:
                self._second.cut()
                return self._answer
            self._changed.wait_for(lambda: not self._running)
            return self._answer


class Races:
    """The requests of a session in flight, and the thread that sends some of them a second time.

    Args:
        policy: Which requests are sent a second time.
        tally: Counts of the session.
        unsent: Returns how many requests of the run were not sent yet.
        stop: Set when nothing more may be sent.
    """

    def __init__(self, policy: HedgePolicy, tally: Tally, *, unsent: Callable[[], int], stop: threading.Event) -> None:
        self.policy, self.latencies = policy, Latencies()
        self.wanted = 0
        """Slots that second sendings use or may need soon."""
        self._tally, self._unsent, self._stop = tally, unsent, stop
        self._lock = threading.Lock()
        self._races: dict[Race, None] = {}

    def start(self) -> None:
        """Start the thread, which ends with the session."""
        if self.policy.share:
            threading.Thread(target=self._watch, name="hedges", daemon=True).start()

    def answer(self, send: Send) -> Answer:
        """Send one request, a second time if it takes too long, and return the first whole answer.

        Raises:
            EarthEngineError: The request failed.
        """
        race = Race(send)
        with self._lock:
            self._races[race] = None
        try:
            return race.run()
        finally:
            with self._lock:
                del self._races[race]

    def look(self) -> None:
        """Send the requests that are due a second time."""
        with self._lock:
            races, now = tuple(self._races), time.monotonic()
        ages = {race: age for race in races if (age := race.age_s(now)) is not None}
        unsent, tally = self._unsent(), self._tally
        counts = {"unsent": unsent, "requests": tally.requests, "hedged": tally.hedged}
        due = self.policy.due([*ages.values()], self.latencies, **counts)
        oldest = sorted(ages, key=lambda race: -ages[race])
        for race in oldest[:due]:
            race.double(tally)
        limit = self.policy.limit_s(self.latencies)
        if due:
            _log.info("%d requests took longer than %.0f s at the end of the run: sent a second time.", due, limit)
        # Slots are taken on the server while a request grows old, since that takes seconds.
        soon = 0 if unsent else sum(age > limit / 2 for age in ages.values()) - due
        soon = min(soon, self.policy.left(requests=tally.requests, hedged=tally.hedged))
        self.wanted = sum(race.doubled for race in races) + soon

    def _watch(self) -> None:
        while not self._stop.wait(LOOK_S):
            self.look()
