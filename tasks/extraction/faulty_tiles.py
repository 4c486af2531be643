"""The tiles of a plan that are damaged, missing, failed or without a receipt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass

import numpy as np

from tasks.extraction.checkpoint import Checkpoint
from tasks.extraction.tile_fault import Fault, TileFault
from tasks.plan.plan import Plan

UNRECEIPTED = TileFault(Fault.UNRECEIPTED, "stored, but no receipt lists it")
NEVER_STORED = TileFault(Fault.MISSING, "never stored")


@dataclass(frozen=True, kw_only=True)
class FaultyTile:
    """A tile of a plan that is damaged, missing, failed or without a receipt."""

    plan: str
    """Folder of the plan."""
    tile: int
    """Number of the tile in the plan."""
    key: str
    """Key at which the tile is stored, or should be."""
    fault: TileFault


class FaultyTiles:
    """The faulty tiles of a plan, by number.

    A plan may have millions of them, and others may have written it: only their numbers are kept.

    Args:
        plan: The plan.
        checkpoint: What is stored of it.
    """

    def __init__(self, plan: Plan, checkpoint: Checkpoint) -> None:
        self._plan, self._checkpoint = plan, checkpoint
        self._numbers = np.fromiter(checkpoint.missing(0, len(plan)), np.int64)

    def __len__(self) -> int:
        return self._numbers.size

    def __iter__(self) -> Iterator[FaultyTile]:
        for number in map(int, self._numbers):
            key = self._plan.key(number)
            yield FaultyTile(plan=self._plan.folder, tile=number, key=key, fault=self._fault(number))

    def without(self, others: FaultyTiles) -> FaultyTiles:
        """Return the tiles that are not among others of the same plan."""
        found = copy(self)
        found._numbers = np.setdiff1d(self._numbers, others._numbers, assume_unique=True)  # noqa: SLF001 - of this class
        return found

    def kinds(self) -> Counter[Fault]:
        """Return the number of tiles with each kind of fault."""
        return Counter(self._fault(number).kind for number in map(int, self._numbers))

    def sources(self) -> list[int]:
        """Return the numbers of the sources in the plan that have faulty tiles, in order."""
        return [int(number) for number in np.unique(self._numbers // len(self._plan.tiles))]

    def _fault(self, number: int) -> TileFault:
        if found := self._checkpoint.faults.get(number):
            return found
        return UNRECEIPTED if number in self._checkpoint.unverified else NEVER_STORED
