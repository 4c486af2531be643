"""The estimate of a plan: requests, bytes and time, before anything is spent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.plan.plan import Plan


def pixel_bytes(dtypes: tuple[str, ...]) -> int:
    """Bytes that Earth Engine counts for one pixel of bands of these types: each with a byte for its mask."""
    return sum(np.dtype(dtype).itemsize + 1 for dtype in dtypes)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a plan will cost, before anything is spent."""

    requests: int
    pixels: int
    """Per band."""
    bytes: int
    """Uncompressed, as Earth Engine counts them (an upper bound for patches that overlap)."""
    best_seconds: float
    """The time that the rate limit alone allows; each request's own time comes on top."""


def estimate(plan: Plan, *, per_second: float) -> Estimate:
    """Return the cost of a plan under a rate of requests a second."""
    pixels = plan.tiles.pixels
    return Estimate(
        requests=len(plan),
        pixels=pixels * len(plan.sources),
        bytes=sum(pixels * pixel_bytes(source.wire_dtypes) for source in plan.sources),
        best_seconds=len(plan) / per_second,
    )
