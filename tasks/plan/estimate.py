"""Estimate what a plan costs before it runs: requests, bytes and time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.plan.plan import Plan


def pixel_bytes(dtypes: tuple[str, ...]) -> int:
    """Return the bytes that Earth Engine counts for one pixel of bands of these types. Each has a byte for its mask."""
    return sum(np.dtype(dtype).itemsize + 1 for dtype in dtypes)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Estimated cost of a plan."""

    requests: int
    pixels: int
    """Pixels of one band, in all images."""
    bytes: int
    """Uncompressed bytes as Earth Engine counts them. Where patches overlap, pixels are counted once for each patch."""
    best_seconds: float
    """Shortest time in seconds that the rate limit allows. The time of each request comes on top."""


def estimate(plan: Plan, *, per_second: float) -> Estimate:
    """Return the estimated cost of a plan.

    Args:
        plan: The plan.
        per_second: Rate limit, requests a second.
    """
    pixels = plan.tiles.pixels
    return Estimate(
        requests=len(plan),
        pixels=pixels * len(plan.sources),
        bytes=sum(pixels * pixel_bytes(source.wire_dtypes) for source in plan.sources),
        best_seconds=len(plan) / per_second,
    )
