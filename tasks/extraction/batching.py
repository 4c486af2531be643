"""Divide the missing tiles of a plan into batches, and choose how many batches begin together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tasks.extraction.checkpoint import Checkpoint, gaps

# Seconds of work in a batch: enough that a run writes few receipts and starts few tasks.
BATCH_S = 90.0
# Seconds of work in a wave, the batches that begin together: the measured rate is trusted for that long.
WAVE_S = 300.0
# Tiles in a batch for each request in flight, until the time of a tile is known: half a minute at one second a tile.
FIRST_TILES_A_REQUEST_IN_FLIGHT = 30
# Largest number of tiles in a batch: their receipt is one file of a few megabytes.
LARGEST_BATCH = 10_000


def batch_size(left: int, *, in_flight: int, per_second: float | None) -> int:
    """Return the number of missing tiles in the next batch.

    Args:
        left: Number of missing tiles that are in no batch yet.
        in_flight: Number of requests in flight.
        per_second: Tiles a second so far; None before the first batch.

    >>> batch_size(1_000, in_flight=40, per_second=None), batch_size(20_000, in_flight=40, per_second=None)
    (1000, 1200)
    >>> batch_size(20_000, in_flight=40, per_second=80.0), batch_size(8_000, in_flight=40, per_second=80.0)
    (7200, 8000)
    """
    size = in_flight * FIRST_TILES_A_REQUEST_IN_FLIGHT if per_second is None else int(per_second * BATCH_S)
    size = max(in_flight, min(size, LARGEST_BATCH))
    return left if left <= size * 1.5 else size


class TileRange(NamedTuple):
    """Tiles [start, stop) of a plan that form a batch."""

    start: int
    stop: int
    missing: int
    """Number of tiles that must be fetched."""


class Remainder:
    """The tiles that are in no batch yet: the gaps between the batches that are already complete.

    Args:
        count: Number of tiles in the plan.
        checkpoint: What is stored of the plan.
    """

    def __init__(self, count: int, checkpoint: Checkpoint) -> None:
        self._gaps = list(gaps(checkpoint.spans, count))[::-1]
        self._known = checkpoint.tiles
        self.missing = sum(1 for _ in checkpoint.missing(0, count))
        """Number of tiles that are not verified and in no batch yet."""

    def __bool__(self) -> bool:
        return bool(self._gaps)

    def take(self, size: int) -> TileRange:
        """Return the next range, with at most `size` missing tiles and at most 2 x `LARGEST_BATCH` tiles in all."""
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
    """Return the batches that begin together: about five minutes of work.

    Args:
        left: The tiles that are in no batch yet. The returned ranges are removed from it.
        in_flight: Number of requests in flight.
        per_second: Tiles a second so far; None before the first batch, which then begins alone.
    """
    wave: list[TileRange] = []
    while left and (not wave or (per_second and sum(each.missing for each in wave) < per_second * WAVE_S)):
        size = batch_size(max(1, left.missing), in_flight=in_flight, per_second=per_second)
        wave.append(left.take(size))
    return wave
