"""Traffic: which requests are let in, how long they take, and what goes wrong with them.

Nothing here waits or sends: the decisions are values, and the server carries them out.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from deployments.sandbox.knobs import FAULTS, Knobs
from deployments.sandbox.refusal import Refusal
from deployments.sandbox.statistics import Statistics

Fault = Literal["500", "503", "dropped", "truncated", "hanging"]

# Recorded at the high-volume endpoint.
THROTTLED = "Too Many Requests: Request was rejected because the request rate or concurrency limit was exceeded."
FAILURES: dict[str, Refusal] = {
    "500": Refusal("Internal error encountered.", 500),
    "503": Refusal("The service is currently unavailable.", 503),
}


@dataclass(frozen=True)
class Fate:
    """What happens to a request that was let in."""

    latency: float
    """Seconds until it is answered, at the least."""
    fault: Fault | None


@dataclass
class Traffic:
    """The quota of one project, and the dice."""

    knobs: Knobs = field(default_factory=Knobs)
    statistics: Statistics = field(default_factory=Statistics)
    _attempts: Counter[int] = field(default_factory=Counter)
    _drawn: int = 0
    _tokens: float = math.inf
    _refilled: float = -math.inf

    def turn(self, knobs: Knobs) -> None:
        """Set the knobs. The dice start anew with another seed, the rate's budget with another rate."""
        if knobs.seed != self.knobs.seed:
            self._attempts.clear()
            self._drawn = 0
        if knobs.qps != self.knobs.qps:
            self._tokens = math.inf
        self.knobs = knobs

    def admit(self, now: float) -> None:
        """Let a request in, or not. Whoever is let in must leave by ``statistics.leave``.

        The rate is a bucket of one second's worth: in any t seconds, at most ``qps * (t + 1)`` come in.

        Args:
            now: Seconds on any clock that never goes back.

        Raises:
            Refusal: 429.
        """
        knobs = self.knobs
        if knobs.max_concurrent is not None and self.statistics.in_flight >= knobs.max_concurrent:
            self._refuse()
        if knobs.qps is not None:
            size = max(knobs.qps, 1.0)
            if math.isinf(self._tokens):
                self._tokens, self._refilled = size, now
            self._tokens = min(size, self._tokens + (now - self._refilled) * knobs.qps)
            self._refilled = now
            if self._tokens < 1 - 1e-9:
                self._refuse()
            self._tokens -= 1
        self.statistics.enter()

    def _refuse(self) -> None:
        self.statistics.throttled += 1
        raise Refusal(THROTTLED, 429)

    def draw(self, fingerprint: int) -> Fate:
        """Throw the dice for a request.

        They depend on the seed, the request and how often it was made, and not on what else happens: a
        rehearsal meets the same faults, however its requests overlap.
        """
        knobs = self.knobs
        self._drawn += 1
        if self._drawn == knobs.hang_at:
            return Fate(0.0, "hanging")
        if not knobs.latency_median and not any(getattr(knobs, name) for name in FAULTS):
            return Fate(0.0, None)
        self._attempts[fingerprint] += 1
        dice = random.Random(f"{knobs.seed} {fingerprint} {self._attempts[fingerprint]}")  # noqa: S311 - no secret
        latency = knobs.latency_median * math.exp(knobs.latency_sigma * dice.gauss())
        self.statistics.latency += latency
        throw = dice.random()
        faults: tuple[Fault, ...] = ("500", "503", "dropped", "truncated", "hanging")
        for fault in faults:
            throw -= getattr(knobs, f"p_{fault}")
            if throw < 0:
                return Fate(latency, fault)
        return Fate(latency, None)


def fingerprint(path: str, body: bytes) -> int:
    """Return 64 bits that tell one request from another."""
    return int.from_bytes(hashlib.blake2b(path.encode() + b"\0" + body, digest_size=8).digest())
