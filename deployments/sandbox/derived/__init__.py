"""Public collections, simulated from the real samples under their public ids, and marked so.

Each module of a collection has ``ID`` and ``assets()``: the collection first and then its images, lazily. A new one
is a new row of the table below.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

from deployments.sandbox.derived import landsat, modis, sentinel2, srtm
from deployments.sandbox.derived.public import PUBLIC, UPDATED
from deployments.sandbox.raster import Asset

COLLECTIONS: Mapping[str, Callable[[], tuple[Asset, ...]]] = {
    modis.ID: modis.assets,
    sentinel2.ID: sentinel2.assets,
    srtm.ID: srtm.assets,
} | {mission.id: functools.partial(landsat.assets, mission) for mission in landsat.MISSIONS}
"""Id of a collection, or of an image by itself, to its assets: built at the first call and kept."""


HINT = (
    f" Of Earth Engine's public catalogue the sandbox has only {', '.join(sorted(COLLECTIONS))}, each with the dates "
    "that deployments/sandbox/README.md lists."
)
"""What a refusal of another public asset adds: Earth Engine may well have it."""


def folder(name: str) -> Asset | None:
    """Return a folder of the public catalogue that leads to a derived asset, None if there is none.

    Args:
        name: Such as ``projects/earthengine-public/assets/LANDSAT/LC08``.
    """
    if not any(f"{PUBLIC}/{collection}".startswith(f"{name}/") for collection in COLLECTIONS):
        return None
    short = name.removeprefix(PUBLIC).removeprefix("/")
    return Asset(name=name, id=short or name, type="FOLDER", update_time=UPDATED)


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
    return folder(name)


def children(name: str) -> tuple[Asset, ...]:
    """Return the images of a derived collection, in order of their index, or what is in a folder.

    Args:
        name: Full resource name of the collection or the folder.
    """
    if folder(name) is not None:
        depth = name.count("/") + 2
        inside = {"/".join(f"{PUBLIC}/{collection}".split("/")[:depth]) for collection in COLLECTIONS}
        found = (get(path) for path in sorted(inside) if path.startswith(f"{name}/"))
        return tuple(asset for asset in found if asset is not None)
    images = _by_name(name.removeprefix(f"{PUBLIC}/")).values()
    return tuple(sorted((image for image in images if image.name != name), key=lambda image: image.name))
