"""Small parts of a region: polygons that cover no pixel centre keep the pixels that they touch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from tasks.raster.crs import transformer
from tasks.raster.grid import TOLERANCE, cut, placed, snapped
from tasks.raster.region import Region

INSET = 1e-3
"""Pixels by which a kept pixel is smaller than a whole one, so that it touches no pixel beside it."""


def on_grid(region: Region, crs: str, geobox: GeoBox) -> BaseGeometry:
    """Return a region in the CRS of a grid. Each of its features, and each polygon of them, has pixels there.

    Args:
        region: The region.
        crs: CRS of the grid.
        geobox: The grid.

    Raises:
        InputError: The region cannot be expressed in the CRS.
    """
    whole = placed(region.geometry, region.crs, crs, geobox)
    kept = with_touched_pixels([whole], geobox)
    if len(region.areas) > 1:
        # A feature that is part of a larger polygon of the region may still cover no pixel centre.
        own = [placed(area, region.crs, crs, geobox) for area in _maybe_small(region, crs, geobox)]
        grown = with_touched_pixels(own, geobox)
        kept += [new for new, old in zip(grown, own, strict=True) if new is not old]
    return kept[0] if len(kept) == 1 else shapely.union_all(kept)


def _maybe_small(region: Region, crs: str, geobox: GeoBox) -> list[BaseGeometry]:
    """Return the features that may cover no pixel centre: to reproject each with all its edges takes 6 ms."""
    parts, owner = shapely.get_parts([area.geometry for area in region.areas], return_index=True)
    forward, to_pixels = transformer(region.crs, crs).transform, ~geobox.affine
    moved = shapely.transform(parts, lambda xy: np.column_stack(forward(xy[:, 0], xy[:, 1])))
    moved[~np.isfinite(shapely.bounds(moved)).all(axis=1)] = shapely.Polygon()
    local = shapely.transform(moved, lambda xy: np.column_stack(to_pixels @ (xy[:, 0], xy[:, 1])))
    return [region.areas[index].geometry for index in np.unique(owner[~_seen_to_cover(moved, local, geobox)])]


def with_touched_pixels(geometries: Sequence[BaseGeometry], geobox: GeoBox) -> list[BaseGeometry]:
    """Return areas in which each polygon on the grid covers the centre of at least one pixel.

    A polygon that is on the grid and covers no pixel centre of it (smaller or thinner than a pixel, or only the edge of
    the grid lies on it) is replaced by the pixels that it touches. All other polygons stay as they are.

    Args:
        geometries: Polygons and multipolygons in the CRS of the grid.
        geobox: The grid.

    Returns:
        The areas, in the same order. If each polygon of an area covers a pixel centre, the area is the same object.
    """
    parts, owner = shapely.get_parts(list(geometries), return_index=True)
    to_pixels = ~geobox.affine
    local = shapely.transform(parts, lambda xy: np.column_stack(to_pixels @ (xy[:, 0], xy[:, 1])))
    pixels: dict[int, list[BaseGeometry]] = {}
    for number in np.flatnonzero(~_seen_to_cover(parts, local, geobox)).tolist():
        if not any(_covered_centres(parts[number], local[number], geobox)):
            touched = list(_touched(local[number], geobox))
            if touched:
                pixels[number] = touched
    result = list(geometries)
    for index in {int(owner[number]) for number in pixels}:
        own = [pixels.get(number, [parts[number]]) for number in np.flatnonzero(owner == index).tolist()]
        # United, because GEOS counts the edges around a point: a pixel that two polygons cover would be outside.
        result[index] = shapely.union_all([piece for pieces in own for piece in pieces])
    return result


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
