"""What is new or changed in a growing series: the images that are not completely stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tasks.extraction.checkpoint import Checkpoint
from tasks.plan.plan import Plan
from tasks.storage.receipt import TileReceipt


def no_longer_planned(before: Plan, now: Plan) -> list[str]:
    """Return the labels of images of an earlier plan that are not in a plan, in any version.

    Args:
        before: The plan of an earlier run of a growing series.
        now: The plan of this run.
    """
    planned = {replace(source, version="").identity for source in now.sources}
    return [source.label for source in before.sources if replace(source, version="").identity not in planned]


class Increment:
    """A part of a series: images that are new, whose `updateTime` changed, or that a run did not finish.

    Args:
        whole: Plan of all images that the collection holds now.
        known: What is stored of that plan.
    """

    def __init__(self, whole: Plan, known: Checkpoint) -> None:
        self._known, self._count = known, len(whole.tiles)
        self._sources = [
            number
            for number in range(len(whole.sources))
            if any(True for _ in known.missing(number * self._count, (number + 1) * self._count))
        ]
        self.plan = whole.only(self._sources)

    def with_known(self, tiles: Sequence[TileReceipt]) -> tuple[TileReceipt, ...]:
        """Return the tiles of the whole plan: the given tiles of the part, and the known tiles of the rest."""
        all_tiles = dict(self._known.tiles)
        for tile in tiles:
            source, place = divmod(tile.index, self._count)
            index = self._sources[source] * self._count + place
            all_tiles[index] = replace(tile, index=index)
        return tuple(all_tiles[index] for index in sorted(all_tiles))
