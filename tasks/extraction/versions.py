"""Versions of images: which plan is newer than another, and which asset was updated after it was planned."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace

from tasks.earthengine.connection import Connection
from tasks.earthengine.expression import fingerprint
from tasks.earthengine.metadata import get_asset
from tasks.plan.images import UNPINNED
from tasks.plan.plan import Plan, Source


def find_superseded(plans: Iterable[tuple[Plan, bool]]) -> Iterator[str]:
    """Yield the folders of superseded plans: a newer, complete plan differs only in the versions of its images.

    Of a plan that is in several folders, one stays: that in which a run looks first.

    Args:
        plans: The plans of an output, each with whether it is complete.
    """
    same: dict[str, list[tuple[Plan, bool]]] = defaultdict(list)
    for plan, complete in plans:
        sources = [replace(source, version="").identity for source in plan.sources]
        request = [plan.name, plan.home, sources, plan.tiles.json(), asdict(plan.tile_format)]
        same[fingerprint(request)].append((plan, complete))
    for versions in same.values():
        for newest, complete in sorted(versions, key=lambda each: (each[0].named is not None, each[0].folder)):
            older = [plan for plan, _ in versions if plan is not newest and _is_older(plan, newest)]
            if complete and len(older) == len(versions) - 1:
                yield from sorted(plan.folder for plan in older)
                break  # versions that are equal would each be older than the other


def _is_older(plan: Plan, other: Plan) -> bool:
    """Return whether each image of a plan is at most as new as the same image of another plan.

    Versions that cannot be compared give False.
    """
    pairs = [
        pair
        for source, like in zip(plan.sources, other.sources, strict=True)
        for pair in zip(_moments(source.version), _moments(like.version), strict=False)
    ]
    comparable = all(UNPINNED not in pair and pair[0][:1].isdigit() == pair[1][:1].isdigit() for pair in pairs)
    return comparable and all(mine <= its for mine, its in pairs)


def _moments(version: str) -> list[str]:
    """Return the times of a version: of one image, or of all images in the mosaic of a day."""
    return [moment for _, moment in json.loads(version)] if version.startswith("[") else [version]


def changed_asset(connection: Connection, source: Source) -> str | None:
    """Return an asset of a source that was updated after it was planned; None if there is none.

    The tiles of such a source can no longer be fetched.

    Raises:
        EarthEngineError: Earth Engine did not return the metadata of an asset.
    """
    if source.version == UNPINNED or source.version.startswith("as_of:"):
        return None
    many = source.version.startswith("[")
    planned = json.loads(source.version) if many else [[source.asset or source.origin, source.version]]
    for asset, version in planned:
        if (get_asset(connection, asset).version or UNPINNED) != version:
            return str(asset)
    return None
