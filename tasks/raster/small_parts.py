"""Small parts of a region: polygons that cover no pixel centre keep the pixels that they touch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from tasks.raster.grid import TOLERANCE, cut, snapped

INSET = 1e-3
"""Pixels by which a kept pixel is smaller than a whole one, so that it touches no pixel beside it."""


def with_touched_pixels(geometry: BaseGeometry, geobox: GeoBox) -> BaseGeometry:
    """Return a region in which each polygon on the grid covers the centre of at least one pixel.

    A polygon that is on the grid and covers no pixel centre of it (smaller or thinner than a pixel, or only the edge of
    the grid lies on it) is replaced by the pixels that it touches. All other polygons stay as they are.

    Args:
        geometry: Polygon or multipolygon in the CRS of the grid.
        geobox: The grid.

    Returns:
        The region: `geometry` itself, if each of its polygons covers a pixel centre.
    """
    parts, to_pixels = shapely.get_parts(geometry), ~geobox.affine
    local = shapely.transform(parts, lambda xy: np.column_stack(to_pixels @ (xy[:, 0], xy[:, 1])))
    kept: dict[int, list[BaseGeometry]] = {}
    for number in np.flatnonzero(~_seen_to_cover(parts, local, geobox)).tolist():
        if not any(_covered_centres(parts[number], local[number], geobox)):
            pixels = list(_touched(local[number], geobox))
            if pixels:
                kept[number] = pixels
    if not kept:
        return geometry
    others = [part for number, part in enumerate(parts) if number not in kept]
    # United, because GEOS counts the edges around a point: a pixel that two polygons cover would be outside.
    return shapely.union_all([*others, *(pixel for pixels in kept.values() for pixel in pixels)])


def _seen_to_cover(parts: NDArray[np.object_], local: NDArray[np.object_], geobox: GeoBox) -> NDArray[np.bool_]:
    """Return which polygons cover the pixel centre nearest to their middle. Most do: the rest needs a closer look."""
    shape = geobox.shape
    west, north, east, south = shapely.bounds(local).T
    inner = shapely.get_coordinates(shapely.point_on_surface(local)).T
    found = np.zeros(len(parts), bool)
    for x, y in (((west + east) / 2, (north + south) / 2), inner):
        column, row = np.floor(x), np.floor(y)
        on_grid = (column >= 0) & (column < shape.x) & (row >= 0) & (row < shape.y)
        found |= on_grid & shapely.contains_xy(parts, *(geobox.affine @ (column + 0.5, row + 0.5)))
    return found


def _covered_centres(part: BaseGeometry, local: BaseGeometry, geobox: GeoBox) -> Iterator[bool]:
    """Yield for each place where the centre line of a pixel row crosses a polygon whether a pixel centre is covered.

    Args:
        part: The polygon in CRS units, in which :func:`tasks.raster.clip.inside` looks, too.
        local: The same in pixels.
        geobox: The grid.
    """
    west, north, east, south = local.bounds
    columns = cut(snapped(west, east), geobox.shape.x)
    if not columns:
        return
    for row in cut(snapped(north, south), geobox.shape.y):
        line = shapely.LineString([(columns.start, row + 0.5), (columns.stop, row + 0.5)])
        for piece in shapely.get_parts(shapely.intersection(local, line)):
            if not piece.is_empty:
                left, _, right, _ = piece.bounds
                centres = np.arange(np.ceil(left - 0.5 - TOLERANCE), np.floor(right - 0.5 + TOLERANCE) + 1) + 0.5
                places: Any = (centres, np.full_like(centres, row + 0.5))
                yield bool(shapely.contains_xy(part, *(geobox.affine @ places)).any())


def _touched(local: BaseGeometry, geobox: GeoBox) -> Iterator[BaseGeometry]:
    """Yield the pixels of the grid that a polygon (pixel units) touches, each run of a row as one box in CRS units."""
    west, north, east, south = local.bounds
    for row in cut(snapped(north, south), geobox.shape.y):
        strip = shapely.clip_by_rect(local, west - 1, row, east + 1, row + 1)
        # A piece hangs together, so it touches each column between its ends.
        for piece in shapely.get_parts(strip):
            if piece.is_empty:
                continue
            left, _, right, _ = piece.bounds
            columns = cut(snapped(left, right), geobox.shape.x)
            if columns:
                run = shapely.box(columns.start + INSET, row + INSET, columns.stop - INSET, row + 1 - INSET)
                yield shapely.transform(run, lambda xy: np.column_stack(geobox.affine @ (xy[:, 0], xy[:, 1])))
