"""Clipping: pixels outside a region are masked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from tasks.raster.raster import Raster
from tasks.raster.tiling import Tiling


def inside(geometry: BaseGeometry, geobox: GeoBox) -> NDArray[np.bool_]:
    """Return which pixels have their centre in a region, shape (y, x).

    Args:
        geometry: Polygons in the CRS of the grid.
        geobox: The grid.
    """
    # GDAL's rasterising is quicker, but rasterio silences a warning around it in a way that threads undo.
    extent = geobox.extent.geom
    # Of a coastline a tile needs only its own part.
    near = shapely.clip_by_rect(geometry, *extent.buffer(abs(geobox.affine.a)).bounds)
    if near.is_empty:
        return np.zeros(geobox.shape, dtype=bool)
    if near.contains(extent):
        return np.ones(geobox.shape, dtype=bool)
    columns, rows = np.meshgrid(np.arange(geobox.shape.x) + 0.5, np.arange(geobox.shape.y) + 0.5)
    xs, ys = geobox.affine @ (columns, rows)
    shapely.prepare(near)
    return np.asarray(shapely.contains_xy(near, xs, ys), dtype=bool)


def clipped(raster: Raster, within: NDArray[np.bool_]) -> Raster:
    """Return the raster with what lies outside masked.

    Args:
        raster: Its mask is known.
        within: Pixels that stay, shape (y, x).
    """
    assert raster.valid is not None
    return replace(raster, valid=raster.valid & within)


def touching(geometry: BaseGeometry, tiling: Tiling) -> NDArray[np.int64]:
    """Return the tiles that a region touches, in order.

    Args:
        geometry: Polygons in the CRS of the grid.
        tiling: Its tiles.
    """
    tiles, pixels, size = tiling.shape, tiling.geobox.shape, tiling.tile_size
    row, column = (part.ravel() for part in np.mgrid[: tiles.y, : tiles.x])
    top, bottom = row * size, np.minimum(row * size + size, pixels.y)
    left, right = column * size, np.minimum(column * size + size, pixels.x)
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    xy = np.stack([np.stack(tiling.geobox.affine @ corner, axis=-1) for corner in corners], axis=1)
    shapely.prepare(geometry)
    return np.flatnonzero(shapely.intersects(geometry, shapely.polygons(xy))).astype(np.int64)
