"""How long one request to Earth Engine may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Deadlines:
    """How long one request may take."""

    connect_s: float = 10.0
    """Seconds until a connection stands, TLS included: 3 retransmissions of a lost packet (RFC 6298: 1 + 2 + 4 s)."""
    read_s: float = 330.0
    """Seconds from sending to the last byte of the answer: what Earth Engine may compute, and 30 to transfer 48 MiB."""
    computing_s: float = 300.0
    """Seconds that Earth Engine computes at the longest ("5 min", guides/processing_environments)."""


DEADLINES = Deadlines()
