"""Statistics: what was asked of the sandbox, and how much of it at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Statistics:
    """Counts since the start or the last reset."""

    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By method and status; the status of a fault without one is its name, such as ``dropped``."""
    pixel_requests: int = 0
    """Calls of getPixels and computePixels, answered or not."""
    bytes: int = 0
    """Of response bodies, as sent."""
    in_flight: int = 0
    """Pixel and value requests that are being worked on."""
    peak_in_flight: int = 0
    repeated: int = 0
    """Successful pixel requests whose path and body had succeeded before."""
    throttled: int = 0
    """Requests refused by quota."""
    latency: float = 0.0
    """Sum of the latencies drawn, in seconds."""
    succeeded: set[int] = field(default_factory=set)
    """Fingerprints of pixel requests that succeeded."""

    def enter(self) -> None:
        """Count a request into flight."""
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)

    def leave(self) -> None:
        """Count a request out of flight."""
        self.in_flight -= 1

    def succeed(self, fingerprint: int) -> None:
        """Note a pixel request that was answered in full."""
        self.repeated += fingerprint in self.succeeded
        self.succeeded.add(fingerprint)

    def reset(self) -> None:
        """Begin anew. What is in flight stays in flight."""
        self.__init__(in_flight=self.in_flight, peak_in_flight=self.in_flight)  # type: ignore[misc] # every count to its default

    def json(self) -> dict[str, Any]:
        """Return the statistics as JSON: ``requests`` is method -> status -> count."""
        requests: dict[str, dict[str, int]] = {}
        for (method, status), count in sorted(self.requests.items()):
            requests.setdefault(method, {})[status] = count
        return {
            "requests": requests,
            "pixel_requests": self.pixel_requests,
            "bytes": self.bytes,
            "in_flight": self.in_flight,
            "peak_in_flight": self.peak_in_flight,
            "repeated_requests": self.repeated,
            "throttled": self.throttled,
            "latency_seconds": self.latency,
        }
