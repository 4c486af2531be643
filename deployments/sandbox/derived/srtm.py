"""``USGS/SRTMGL1_003``, simulated: terrain of noise that knows where the water is."""

from __future__ import annotations

import functools
from datetime import UTC, datetime

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from deployments.sandbox.asset import with_image
from deployments.sandbox.derived.clouds import Array, noise
from deployments.sandbox.derived.public import PUBLIC, UPDATED, simulated
from deployments.sandbox.derived.surface import Surface, itaipu, wake
from deployments.sandbox.pyramid import StoredBand, Window, intersects
from deployments.sandbox.raster import INT16, Asset, Pixels, Projection

ID = "USGS/SRTMGL1_003"
SECOND = 0.0002777777777777778
DIMENSIONS = (1296001, 417601)
PROJECTION = Projection(crs="EPSG:4326", transform=Affine(SECOND, 0, -180.0001388888889, 0, -SECOND, 60.00013888888889))
_LEVELS = {True: 219.0, False: 92.0}  # metres of the water, in the south and in the north


@functools.cache
def _surfaces() -> tuple[tuple[Surface, Window], ...]:
    """Return the grounds, smooth enough to shape terrain, with the window that each can touch."""
    smooth = [itaipu().coarser(4), wake().coarser(4)]
    found = [(surface, surface.extent(PROJECTION, DIMENSIONS)) for surface in smooth]
    return tuple((surface, extent) for surface, extent in found if extent is not None)


@functools.cache
def assets() -> tuple[Asset, ...]:
    """Return the image alone: it is in no collection."""
    band = StoredBand(
        id="elevation",
        type=INT16,
        projection=PROJECTION,
        dimensions=DIMENSIONS,
        load=_load,
        extent=tuple(window for _, window in _surfaces()),
    )
    asset = Asset(
        name=f"{PUBLIC}/{ID}",
        id=ID,
        type="IMAGE",
        update_time=UPDATED,
        start_time=datetime(2000, 2, 11, tzinfo=UTC),
        end_time=datetime(2000, 2, 22, tzinfo=UTC),
        properties={"system:index": "SRTMGL1_003"} | simulated("; ".join(surface.source for surface, _ in _surfaces())),
        size_bytes=DIMENSIONS[0] * DIMENSIONS[1] * 2,
    )
    return (with_image(asset, (band,)),)


def _load(window: Window) -> Pixels:
    left, top, right, bottom = window
    shape = (bottom - top, right - left)
    values, mask = np.zeros(shape, "<i2"), np.zeros(shape, np.float32)
    for surface, extent in _surfaces():
        if intersects(window, extent):
            elevation, valid = terrain(surface, *surface.coordinates(PROJECTION, window))
            np.copyto(values, np.rint(elevation).astype("<i2"), where=valid)
            mask[valid] = 1
    return Pixels(values, mask)


def terrain(surface: Surface, cols: Array, rows: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Return elevation in metres at pixel coordinates of a surface, and where it is valid.

    Args:
        surface: Its water is flat, its woods lie lower than its bare fields.
        cols: Columns, (height, width).
        rows: Rows, same shape.
    """
    patch = surface.at(cols, rows)
    known = np.where(patch.valid, cols, 0.0), np.where(patch.valid, rows, 0.0)
    x, y = known[0] * surface.grid.transform.a, known[1] * surface.grid.transform.a
    relief = 62 * noise(x, y, 7000.0, 71) + 17 * noise(x, y, 1900.0, 72) + 5 * noise(x, y, 500.0, 73)
    land = 4 + relief + 9 * (1 - patch.vegetation)
    return np.float32(_LEVELS[surface.southern]) + land * (1 - patch.water), patch.valid
