"""Clipping: mask the pixels outside a region, and find the tiles that a region touches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from tasks.raster.raster import Raster
from tasks.raster.tiling import Tiling
from tasks.raster.window import Window


def inside(geometry: BaseGeometry, geobox: GeoBox) -> NDArray[np.bool_]:
    """Return which pixels have their centre inside a region: shape (y, x), True = inside.

    Args:
        geometry: Polygons in the CRS of the grid.
        geobox: The grid.
    """
    # GDAL's rasterize is faster, but rasterio calls it inside `warnings.catch_warnings`, which is not thread-safe.
    extent = geobox.extent.geom
    # A long coastline is cut to the part near the tile, which is all that the tile needs.
    near = shapely.clip_by_rect(geometry, *extent.buffer(abs(geobox.affine.a)).bounds)
    return inside_window(near, geobox, Window.of(geobox.shape))


def inside_window(geometry: BaseGeometry, geobox: GeoBox, window: Window) -> NDArray[np.bool_]:
    """Return :func:`inside` of some rows and columns of a grid. The answer for a pixel is the same in every window.

    The geometry is prepared, so that the next window of it takes less time.
    """
    if geometry.is_empty:
        return np.zeros(window.shape, dtype=bool)
    shapely.prepare(geometry)
    (top, bottom), (left, right) = ((side.start, side.stop) for side in (window.rows, window.columns))
    outline = [geobox.affine @ corner for corner in ((left, top), (right, top), (right, bottom), (left, bottom))]
    if geometry.contains(shapely.Polygon(outline)):
        return np.ones(window.shape, dtype=bool)
    rows, columns = (np.arange(side.start, side.stop) + 0.5 for side in (window.rows, window.columns))
    centres: Any = np.meshgrid(columns, rows)
    xs, ys = geobox.affine @ tuple(centres)
    return np.asarray(shapely.contains_xy(geometry, xs, ys), dtype=bool)


def clipped(raster: Raster, within: NDArray[np.bool_]) -> Raster:
    """Return the raster with the pixels outside a region masked.

    Args:
        raster: A raster whose mask is known.
        within: True for the pixels inside the region, shape (y, x). The others are masked in all bands.
    """
    assert raster.valid is not None
    return replace(raster, valid=raster.valid & within)


def touching(geometry: BaseGeometry, tiling: Tiling) -> NDArray[np.int64]:
    """Return the numbers of the tiles that a region touches, in ascending order.

    Args:
        geometry: Polygons in the CRS of the grid.
        tiling: The grid and its tiles.
    """
    numbers = _near(geometry, tiling)
    pixels, size = tiling.geobox.shape, tiling.tile_size
    row, column = np.divmod(numbers, int(tiling.shape.x))
    top, bottom = row * size, np.minimum(row * size + size, pixels.y)
    left, right = column * size, np.minimum(column * size + size, pixels.x)
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    xy = np.stack([np.stack(tiling.geobox.affine @ corner, axis=-1) for corner in corners], axis=1)
    shapely.prepare(geometry)
    touched: NDArray[np.bool_] = shapely.intersects(geometry, shapely.polygons(xy))
    return numbers[touched]


def _near(geometry: BaseGeometry, tiling: Tiling) -> NDArray[np.int64]:
    """Return the numbers of the tiles that the bounding boxes of polygons touch, in ascending order.

    Polygons may be far apart: a list of all tiles between them could fill the memory.
    """
    shape, size, to_pixels = tiling.shape, tiling.tile_size, ~tiling.geobox.affine
    found = [np.zeros(0, np.int64)]
    for part in shapely.get_parts(geometry):
        columns, rows = to_pixels @ tuple(shapely.get_coordinates(part).T)
        # A tile more at each side: an edge that lies on the edge of a tile touches both tiles.
        down, across = (
            np.arange(max(int(np.floor(low / size)) - 1, 0), min(int(np.floor(high / size)) + 2, count))
            for low, high, count in ((rows.min(), rows.max(), shape.y), (columns.min(), columns.max(), shape.x))
        )
        found.append(np.add.outer(down * int(shape.x), across).ravel())
    return np.unique(np.concatenate(found)).astype(np.int64)
