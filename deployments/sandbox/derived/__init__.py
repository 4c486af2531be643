"""Public collections, simulated from the real samples under their public ids, and marked so.

Each module of a collection has ``ID`` and ``assets()``: the collection first and then its images, lazily. A new one
is a new row of the table below.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

from deployments.sandbox.derived import landsat, modis, sentinel2, srtm
from deployments.sandbox.derived.public import PUBLIC
from deployments.sandbox.raster import Asset

COLLECTIONS: Mapping[str, Callable[[], tuple[Asset, ...]]] = {
    modis.ID: modis.assets,
    sentinel2.ID: sentinel2.assets,
    srtm.ID: srtm.assets,
} | {mission.id: functools.partial(landsat.assets, mission) for mission in landsat.MISSIONS}
"""Id of a collection, or of an image by itself, to its assets: built at the first call and kept."""


@functools.cache
def _by_name(collection: str) -> Mapping[str, Asset]:
    return {asset.name: asset for asset in COLLECTIONS[collection]()}


def get(name: str) -> Asset | None:
    """Return a derived asset by its full resource name, None if there is none.

    Args:
        name: Such as ``projects/earthengine-public/assets/MODIS/061/MOD13Q1/2020_01_01``.
    """
    for collection in COLLECTIONS:
        if f"{name}/".startswith(f"{PUBLIC}/{collection}/"):
            return _by_name(collection).get(name)
    return None


def children(name: str) -> tuple[Asset, ...]:
    """Return the images of a derived collection, in order of their index; none of anything else.

    Args:
        name: Full resource name of the collection.
    """
    images = _by_name(name.removeprefix(f"{PUBLIC}/")).values()
    return tuple(sorted((image for image in images if image.name != name), key=lambda image: image.name))
