"""Check that a run is complete: every tile of its plan is stored or empty."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from tasks.earthengine.errors import Throttled, Transient
from tasks.errors.run import ExtractionFailedError
from tasks.storage.receipt import TileReceipt

# Classes of temporary errors: a tile that failed with one of them may succeed later.
PASSING = frozenset({Transient.__name__, Throttled.__name__})
NO_NAMES: Mapping[int, str] = MappingProxyType({})


def failed_tiles(tiles: Iterable[TileReceipt]) -> list[TileReceipt]:
    """Return the tiles that failed."""
    return [tile for tile in tiles if tile.status == "failed"]


def check_complete(
    tiles: Sequence[TileReceipt],
    *,
    expected: int,
    output: str,
    allow_failures: bool,
    names: Mapping[int, str] = NO_NAMES,
) -> None:
    """Compare the tiles of a run with its plan: expected = stored + empty + failed.

    Args:
        tiles: The receipts of the tiles.
        expected: Number of tiles in the plan.
        output: Address of the output, for the message.
        allow_failures: Whether failed tiles are accepted.
        names: What the user calls some tiles, by their numbers.

    Raises:
        ExtractionFailedError: A tile has no receipt, or a tile failed and `allow_failures` is not set.
    """
    failed = failed_tiles(tiles)
    seen = {tile.index for tile in tiles}
    if seen == set(range(expected)) and (allow_failures or not failed):
        return
    reasons = Counter(tile.reason or "" for tile in failed)
    known = {tile.reason or "": names[tile.index] for tile in reversed(failed) if tile.index in names}
    lines = [
        f"  {count} x {reason}" + (f" (first: {known[reason]})" if reason in known else "")
        for reason, count in reasons.most_common(5)
    ]
    raise ExtractionFailedError(
        "\n".join(
            [
                f"{len(failed)} of {expected} tiles failed, {expected - len(seen)} are missing:",
                *lines,
                (
                    f"{len(tiles) - len(failed)} tiles are kept in {output}. Fix the cause and run again: only the "
                    "other tiles are fetched. Or set allow_failures to finish without them."
                ),
            ]
        ),
        passing=bool(failed) and all(tile.error_kind in PASSING for tile in failed),
    )
