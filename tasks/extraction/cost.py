"""What a run costs: an estimate for the missing tiles before the run, and the spent requests and time after it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tasks.extraction.permits import Pace
from tasks.plan.estimate import Estimate, estimate
from tasks.plan.plan import Plan
from tasks.storage.receipt import TileReceipt


def remaining(plan: Plan, *, stored: int, pace: Pace) -> Estimate:
    """Return the estimate for the tiles of a plan that are not stored yet.

    Args:
        plan: The plan.
        stored: Number of its tiles that are already stored.
        pace: The limits of the run.
    """
    whole, share = estimate(plan, per_second=pace.own_per_second), 1 - stored / len(plan)
    return Estimate(
        requests=len(plan) - stored,
        pixels=round(whole.pixels * share),
        bytes=round(whole.bytes * share),
        best_seconds=whole.best_seconds * share,
    )


def seconds_at_one_each(cost: Estimate, pace: Pace) -> float:
    """Return the seconds that the requests take if each request takes one second."""
    return max(math.ceil(cost.requests / pace.in_flight), cost.best_seconds)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a run spent on its requests."""

    seconds: float
    """From the first request to the last receipt."""
    fetched: tuple[TileReceipt, ...]
    """Receipts of the tiles that the run requested."""
    hedged: int = 0
    """Requests that were sent a second time while the first was in flight. Earth Engine may have computed both. They
    are no part of the tiles' attempts, because no answer was there to be fetched again."""
    pace: Pace

    @property
    def best_seconds(self) -> float:
        """Shortest time in seconds that the quota allows for these tiles.

        It is the largest of three times: requests / rate, sum of the tiles' times / requests in flight, and the time
        of the slowest tile.
        """
        requests = sum(tile.attempts for tile in self.fetched) + self.hedged
        busy = sum(tile.seconds for tile in self.fetched)
        longest = max((tile.seconds for tile in self.fetched), default=0.0)
        return max(requests / self.pace.own_per_second, busy / self.pace.in_flight, longest)
