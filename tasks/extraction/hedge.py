"""Hedged requests: at the end of a run, send a request that takes far longer than the others a second time.

The term is that of Dean and Barroso, "The Tail at Scale" (doi:10.1145/2408776.2408794). A request that hangs would hold
the end of a run until its deadline, while all other slots are free. The first whole answer counts, and the other
request is given up. Earth Engine may compute both, so the permit of the given-up request stays taken for that time.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

PERCENTILE = 0.99
# Ratio of the bounds of a class of latencies.
CLASS = 1.02
# Latencies below this many seconds are one class.
SHORTEST_S = 1e-3


class Latencies:
    """How long the answered requests of a run took, as counts by class. Thread-safe; its size is bounded."""

    def __init__(self) -> None:
        self.count = 0
        """Number of latencies."""
        self._counts: Counter[int] = Counter()
        self._lock = threading.Lock()

    def add(self, seconds: float) -> None:
        """Count the latency of one request that was answered."""
        number = math.ceil(math.log(max(seconds, SHORTEST_S), CLASS))
        with self._lock:
            self._counts[number] += 1
            self.count += 1

    @property
    def percentile_s(self) -> float:
        """99th percentile in seconds, at most 2% too large; of fewer than 100 latencies the longest. 0 without any."""
        with self._lock:
            rank, passed = math.ceil(PERCENTILE * self.count), 0
            for number in sorted(self._counts):
                passed += self._counts[number]
                if passed >= rank:
                    return float(CLASS**number)
        return 0.0


@dataclass(frozen=True, kw_only=True)
class HedgePolicy:
    """Which requests are sent a second time, and how many of them."""

    share: float = 0.01
    """Largest share of a run's requests that are sent a second time. It allows at least one request; 0 = none."""
    least_s: float = 10.0
    """Seconds after which a request may be sent a second time, even if all others were quick."""
    factor: float = 5.0
    """How many times the run's 99th percentile a request must take. Latencies of one run are not this unequal by
    chance: of a log-normal distribution with sigma 1, one in 24,000 is."""
    least_answers: int = 20
    """Answers that must be known. With fewer, it is not known whether an image is slow or a request hangs."""

    def limit_s(self, latencies: Latencies) -> float:
        """Return the seconds after which a request takes too long; infinite if too few answers are known."""
        if not self.share or latencies.count < self.least_answers:
            return math.inf
        return max(self.least_s, self.factor * latencies.percentile_s)

    def left(self, *, requests: int, hedged: int) -> int:
        """Return how many more requests may be sent a second time.

        Args:
            requests: Requests of the run that have ended.
            hedged: Requests that were sent a second time.
        """
        return max(0, max(1, int(self.share * requests)) - hedged) if self.share else 0

    def due(self, ages_s: Sequence[float], latencies: Latencies, *, unsent: int, requests: int, hedged: int) -> int:
        """Return how many of the oldest requests are to be sent a second time now.

        Args:
            ages_s: Seconds since each request in flight that was sent once was sent.
            latencies: Latencies of the answered requests.
            unsent: Requests that were not sent at all yet. As long as there are any, they go first.
            requests: Requests of the run that have ended.
            hedged: Requests that were sent a second time.
        """
        if unsent:
            return 0
        limit = self.limit_s(latencies)
        return min(sum(age > limit for age in ages_s), self.left(requests=requests, hedged=hedged))


HEDGE = HedgePolicy()
