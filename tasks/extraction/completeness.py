"""Whether every tile of a plan is there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from tasks.earthengine.errors import Throttled, Transient
from tasks.errors.run import ExtractionFailedError
from tasks.storage.receipt import TileReceipt

# Errors of failed tiles that may succeed a while later.
PASSING = frozenset({Transient.__name__, Throttled.__name__})


def failed_tiles(tiles: Iterable[TileReceipt]) -> list[TileReceipt]:
    """The tiles that failed."""
    return [tile for tile in tiles if tile.status == "failed"]


def check_complete(tiles: Sequence[TileReceipt], *, expected: int, output: str, allow_failures: bool) -> None:
    """Hold the run against its plan: expected = stored + empty + failed.

    Raises:
        ExtractionFailedError: a tile is missing, or one failed and the caller does not allow it.
    """
    failed = failed_tiles(tiles)
    seen = {tile.index for tile in tiles}
    if seen == set(range(expected)) and (allow_failures or not failed):
        return
    reasons = Counter(tile.reason or "" for tile in failed)
    lines = [f"  {count} x {reason}" for reason, count in reasons.most_common(5)]
    raise ExtractionFailedError(
        "\n".join(
            [
                f"{len(failed)} of {expected} tiles failed, {expected - len(seen)} are missing:",
                *lines,
                (
                    f"{len(tiles) - len(failed)} tiles are in {output}. Mend the cause and run the same again: only "
                    "the others are fetched. Or set allow_failures to leave holes."
                ),
            ]
        ),
        passing=bool(failed) and all(tile.error_kind in PASSING for tile in failed),
    )
