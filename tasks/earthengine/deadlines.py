"""Time limits of a request to Earth Engine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Deadlines:
    """Time limits of one request."""

    connect_s: float = 10.0
    """Seconds to open a connection, TLS included. Enough to resend a lost packet 3 times (RFC 6298: 1 + 2 + 4 s)."""
    read_s: float = 330.0
    """Seconds from sending to the last byte of the answer: `computing_s`, and 30 to transfer 48 MiB."""
    computing_s: float = 300.0
    """Longest time in seconds that Earth Engine computes one request ("5 min", guides/processing_environments)."""


DEADLINES = Deadlines()
