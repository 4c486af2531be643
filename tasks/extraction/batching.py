"""Batches: how what is missing of a plan is cut into stretches, and how many of them are begun at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tasks.extraction.checkpoint import Checkpoint, gaps

# Seconds of work in a batch: what a receipt is written for, and few starts of a task.
BATCH_S = 90.0
# Seconds of work in a wave: so far ahead the measured rate is trusted.
WAVE_S = 300.0
# Tiles in a batch before it is known how long one takes: half a minute of work at a second each.
FIRST_TILES_A_REQUEST_IN_FLIGHT = 30
# Tiles in a batch at the most: their receipt is one file of a few megabytes.
LARGEST_BATCH = 10_000


def batch_size(left: int, *, in_flight: int, per_second: float | None) -> int:
    """Return how many of the tiles that are left make the next batch.

    Args:
        left: Tiles that are in no batch yet.
        in_flight: Requests in flight.
        per_second: Tiles a second so far, None before the first.

    >>> batch_size(1_000, in_flight=40, per_second=None), batch_size(20_000, in_flight=40, per_second=None)
    (1000, 1200)
    >>> batch_size(20_000, in_flight=40, per_second=80.0), batch_size(8_000, in_flight=40, per_second=80.0)
    (7200, 8000)
    """
    size = in_flight * FIRST_TILES_A_REQUEST_IN_FLIGHT if per_second is None else int(per_second * BATCH_S)
    size = max(in_flight, min(size, LARGEST_BATCH))
    return left if left <= size * 1.5 else size


class TileRange(NamedTuple):
    """Tiles [start, stop) of a plan that make a batch."""

    start: int
    stop: int
    missing: int
    """How many of them are to be fetched."""


class Remainder:
    """What is left to be put in batches: stretches between those that are verified as they are.

    Args:
        count: Tiles of the plan.
        checkpoint: What is stored of them.
    """

    def __init__(self, count: int, checkpoint: Checkpoint) -> None:
        self._gaps = list(gaps(checkpoint.spans, count))[::-1]
        self._known = checkpoint.tiles
        self.missing = sum(1 for _ in checkpoint.missing(0, count))
        """Tiles that are not verified, and in no batch yet."""

    def __bool__(self) -> bool:
        return bool(self._gaps)

    def take(self, size: int) -> TileRange:
        """Return the next stretch with at most so many missing tiles."""
        start, end = self._gaps.pop()
        missing = 0
        for index in range(start, end):
            if index - start == 2 * LARGEST_BATCH:
                break
            if index not in self._known:
                if missing == size:
                    break
                missing += 1
        else:
            index = end
        if index < end:
            self._gaps.append((index, end))
        self.missing -= missing
        return TileRange(start, index, missing)


def next_wave(left: Remainder, *, in_flight: int, per_second: float | None) -> Sequence[TileRange]:
    """Return the batches that are begun at once: the work of about five minutes.

    Args:
        left: What is in no batch yet; what is returned is taken from it.
        in_flight: Requests in flight.
        per_second: Tiles a second so far; None before the first, which only one batch can wait for.
    """
    wave: list[TileRange] = []
    while left and (not wave or (per_second and sum(each.missing for each in wave) < per_second * WAVE_S)):
        size = batch_size(max(1, left.missing), in_flight=in_flight, per_second=per_second)
        wave.append(left.take(size))
    return wave
