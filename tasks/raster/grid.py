"""Grids: the pixels that cover a region or a point, snapped to an anchor so that the grids of all runs align."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import shapely
import shapely.affinity
from affine import Affine
from numpy.typing import ArrayLike, NDArray
from odc.geo import wh_, xy_
from odc.geo.geobox import GeoBox
from odc.geo.types import XY, Shape2d
from shapely.geometry.base import BaseGeometry

from tasks.errors.input import InputError, refused
from tasks.raster import globe
from tasks.raster.crs import WGS84, crs_of, transformer
from tasks.raster.region import Region
from tasks.raster.reprojection import STEPS, reproject
from tasks.raster.world_map import map_edge

TOLERANCE = 1e-6
"""Pixels by which a bound may pass a pixel edge without adding another pixel. It allows for rounding errors."""
ORIGIN: XY[float] = xy_(0.0, 0.0)
"""The default anchor of grids, CRS units."""


def covering_geobox(region: Region, crs: str, scale: float, *, anchor: XY[float] = ORIGIN) -> GeoBox:
    """Return the smallest grid of square north-up pixels that covers a region.

    Pixel corners lie at the anchor plus whole multiples of the scale, for any region. The grids of two regions
    therefore align to the pixel.

    Args:
        region: The region to cover. Its edges are densified before they are reprojected.
        crs: CRS of the grid.
        scale: Side of a pixel in units of the CRS (metres, or degrees).
        anchor: Any pixel corner (x, y), CRS units.

    Raises:
        InputError: The scale is not positive and finite, or the region cannot be expressed in the CRS.
    """
    _check_scale(scale)
    return native_geobox(region, crs, Affine(scale, 0.0, anchor.x, 0.0, -scale, anchor.y))


def native_geobox(
    region: Region, crs: str, affine: Affine, *, shape: Shape2d | None = None, start: tuple[int, int] = (0, 0)
) -> GeoBox:
    """Return the smallest part of a given pixel grid that covers a region.

    Args:
        region: The region to cover.
        crs: CRS of the grid.
        affine: The affine (geotransform) of the grid, from (column, row) of pixel corners to CRS units, as stored for
            an asset. Pixels may be oblong or sheared.
        shape: Height and width of the asset. The result is cut to it. None = the asset has no limits.
        start: Column and row of the grid at which the asset begins.

    Raises:
        InputError: The affine cannot be inverted, the region cannot be expressed in the CRS, or the region does not
            touch the asset.
    """
    if not all(map(math.isfinite, affine)) or affine.determinant == 0:
        raise InputError(
            f"affine = {tuple(affine)[:6]}: it is degenerate (not finite, or pixels without area). "
            "Give an affine that can be inverted."
        )
    limits = None if shape is None else GeoBox(shape, affine @ Affine.translation(*start), crs_of(crs))
    xs, ys = shapely.get_coordinates(placed(region.geometry, region.crs, crs, limits)).T
    columns, rows = ~affine @ (xs, ys)
    across = snapped(float(np.min(columns)), float(np.max(columns)))
    down = snapped(float(np.min(rows)), float(np.max(rows)))
    if shape is not None:
        goes_on = limits is not None and goes_round(limits) and len(across) <= shape.x
        across = across if goes_on else cut(across, shape.x, start[0])
        down = cut(down, shape.y, start[1])
        if not (across and down):
            corners = [affine @ (start[0] + shape.x * i, start[1] + shape.y * j) for i in (0, 1) for j in (0, 1)]
            (west, east), (south, north) = ((min(side), max(side)) for side in zip(*corners, strict=True))
            where = ", ".join(f"{side:.10g}" for side in (west, south, east, north))
            raise refused(
                "region",
                [round(side, 6) for side in region.geometry.bounds],
                f"it does not touch the image, which is at [{where}] in {crs[:40]}",
                "Give a region on the image. Are longitude and latitude swapped?",
            )
    x, y = affine @ (across.start, down.start)  # one step from the grid's origin: all runs round alike
    moved = Affine(affine.a, affine.b, x, affine.d, affine.e, y)
    return GeoBox(wh_(across.stop - across.start, down.stop - down.start), moved, crs_of(crs))


def placed(geometry: BaseGeometry, source: str, crs: str, limits: GeoBox | None, *, steps: int = STEPS) -> BaseGeometry:
    """Return the polygons of a region in the CRS of a grid.

    On a map that repeats itself eastwards, they lie where the grid is: of an asset from 0 to 360 degrees, a region from
    -10 to 10 has the parts 350 to 360 and 0 to 10.

    Args:
        geometry: Polygons of the region.
        source: CRS of the region.
        crs: CRS of the grid.
        limits: The grid within which they are needed. None = the grid has no limits.
        steps: See :func:`tasks.raster.reprojection.reproject`.

    Raises:
        TornError: The CRS has no place for a part of the region.
    """
    moved = reproject(geometry, source, crs, steps=steps)
    edge = map_edge(crs)
    if edge is None or limits is None or limits.affine.b or goes_round(limits):
        return moved
    ends = sorted([limits.affine.c, limits.affine.c + limits.affine.a * limits.shape.x])
    west, _, east, _ = moved.bounds
    if ends[0] <= west and east <= ends[1]:
        return moved
    strip = shapely.box(ends[0], -1e9, ends[1], 1e9)
    copies = [shapely.affinity.translate(moved, turn * edge[1]) if turn else moved for turn in (-1, 0, 1)]
    there = [copy for copy in copies if shapely.intersection(copy, strip).area > 0]
    if len(there) < 2:
        return there[0] if there else moved
    return globe.united([shapely.intersection(copy, strip) for copy in there])


@dataclass(frozen=True, kw_only=True)
class PatchCorners:
    """The top-left corners of many patches, as arrays. The position in the arrays is the number of the patch."""

    left: NDArray[np.float64]
    """x of the top-left corners, CRS units, shape (patch,)."""
    top: NDArray[np.float64]
    """y of the top-left corners, CRS units, shape (patch,)."""


def patch_corners(
    lon: ArrayLike, lat: ArrayLike, crs: str, scale: float, size: int, *, anchor: XY[float] = ORIGIN
) -> PatchCorners:
    """Return the top-left corners of square patches around points.

    Pixel corners lie at the anchor plus whole multiples of the scale. On either axis, the centre of a patch is at most
    half a pixel away from its point. If the size is odd, the point lies in the middle pixel. If the size is even, the
    centre is the pixel corner nearest to the point.

    Args:
        lon: Longitudes in WGS 84 degrees, shape (patch,).
        lat: Latitudes in WGS 84 degrees, shape (patch,).
        crs: CRS of the patches.
        scale: Side of a pixel in units of the CRS.
        size: Side of a patch, pixels.
        anchor: Any pixel corner (x, y), CRS units.

    Raises:
        InputError: The scale or the size is not positive, or a point has no coordinates in the CRS.
    """
    _check_scale(scale)
    return native_patch_corners(lon, lat, crs, Affine(scale, 0.0, anchor.x, 0.0, -scale, anchor.y), size)


def native_patch_corners(lon: ArrayLike, lat: ArrayLike, crs: str, affine: Affine, size: int) -> PatchCorners:
    """Return the corners of patches around points on a given pixel grid. See :func:`patch_corners`.

    Args:
        lon: Longitudes in WGS 84 degrees, shape (patch,).
        lat: Latitudes in WGS 84 degrees, shape (patch,).
        crs: CRS of the grid.
        affine: From (column, row) of pixel corners to CRS units. Pixels may be oblong, sheared or south-up: the corner
            is that of the first pixel.
        size: Side of a patch, pixels.

    Raises:
        InputError: The size is not positive, or a point has no coordinates in the CRS.
    """
    if size < 1:
        raise InputError(f"size = {size}: a patch has at least 1 pixel on each side. Give a positive integer.")
    lons, lats = (np.atleast_1d(np.asarray(values, dtype=float)) for values in (lon, lat))
    xs, ys = transformer(WGS84, crs).transform(lons, lats)
    lost = np.flatnonzero(~(np.isfinite(xs) & np.isfinite(ys)))
    if lost.size:
        i = int(lost[0])
        raise refused(
            "crs",
            crs,
            f"point {i} (longitude {lons[i]}, latitude {lats[i]}) has no finite coordinates in this CRS",
            "Choose a CRS that covers the point, or 'utm'",
        )
    if affine.b == affine.d == 0:  # a division rounds alike for every anchor
        columns, rows = (xs - affine.c) / affine.a, (ys - affine.f) / affine.e
    else:
        columns, rows = ~affine @ (xs, ys)
    columns, rows = (np.floor(pixels - size / 2 + 0.5) for pixels in (columns, rows))
    # The addition turns the -0.0 of the first row into 0.0, so that equal grids are written as the same text.
    left = affine.a * columns + affine.b * rows + affine.c
    top = affine.d * columns + affine.e * rows + affine.f
    return PatchCorners(left=left, top=top)


def goes_round(box: GeoBox) -> bool:
    """Return whether a grid is as wide as a map that repeats itself: its last column is beside its first."""
    edge, affine = map_edge(str(box.crs)), box.affine
    return edge is not None and affine.b == 0 and affine.a > 0 and abs(edge[1] / affine.a - box.shape.x) < 0.1


def snapped(low: float, high: float) -> range:
    """Return the pixels of one axis that cover ``low`` to ``high`` (in pixels); at least one."""
    first = math.floor(low + TOLERANCE)
    return range(first, max(math.ceil(high - TOLERANCE), first + 1))


def cut(pixels: range, count: int, start: int = 0) -> range:
    """Return the pixels of one axis that are among ``count`` pixels from ``start``; an empty range if none are."""
    return range(max(pixels.start, start), min(pixels.stop, start + count))


def _check_scale(scale: float) -> None:
    if not (math.isfinite(scale) and scale > 0):
        raise InputError(f"scale = {scale}: it is not a pixel size. Give a positive number in units of the CRS.")
