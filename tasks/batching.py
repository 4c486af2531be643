"""Batches: how what is missing of a plan is cut into stretches, each the work of a lane."""

from __future__ import annotations

from tasks.earthengine.checkpoint import Checkpoint, gaps

# Seconds of work in a batch: what a receipt is written for, and few starts of a task.
BATCH_S = 90.0
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


class Left:
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

    def take(self, size: int) -> tuple[int, int, int]:
        """Return the next stretch [start, stop) with at most so many missing tiles, and how many it has."""
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
        return start, index, missing
