"""Grids: which pixels cover a region or a point, snapped so that neighbouring runs line up."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import shapely
from affine import Affine
from numpy.typing import ArrayLike, NDArray
from odc.geo import wh_, xy_
from odc.geo.geobox import GeoBox
from odc.geo.types import XY, Shape2d

from tasks.errors.input import InputError
from tasks.raster.crs import WGS84, crs_of, reproject, transformer
from tasks.raster.region import Region

TOLERANCE = 1e-6
"""Pixels by which a bound may pass a pixel's edge before it costs another pixel: what rounding leaves."""
ORIGIN: XY[float] = xy_(0.0, 0.0)
"""Where grids are anchored unless another place is chosen."""


def covering_geobox(region: Region, crs: str, scale: float, *, anchor: XY[float] = ORIGIN) -> GeoBox:
    """Return the smallest grid of square north-up pixels that covers a region.

    Pixel corners lie at the anchor plus whole multiples of the scale, whatever the region, so that the
    grids of two regions line up to the pixel.

    Args:
        region: What to cover; its edges are densified before they are reprojected.
        crs: CRS of the grid.
        scale: Side of a pixel in units of the CRS (metres, or degrees).
        anchor: Some pixel corner in CRS units.

    Raises:
        InputError: the scale is not positive and finite, or the region cannot be expressed in the CRS.
    """
    _check_scale(scale)
    return native_geobox(region, crs, Affine(scale, 0.0, anchor.x, 0.0, -scale, anchor.y))


def native_geobox(region: Region, crs: str, affine: Affine, *, shape: Shape2d | None = None) -> GeoBox:
    """Return the smallest part of an endless pixel grid that covers a region.

    Args:
        region: What to cover.
        crs: CRS of the grid.
        affine: From (column, row) to CRS units, as an asset stores it; pixels may be oblong or sheared.
        shape: Of the asset that begins at column 0, row 0: the answer is cut to it.
            None = no end.

    Raises:
        InputError: the affine cannot be inverted, the region cannot be expressed in the CRS, or it does not
            touch the asset.
    """
    if not all(map(math.isfinite, affine)) or affine.determinant == 0:
        raise InputError(f"the transform {tuple(affine)[:6]} is degenerate: give pixels of some extent")
    xs, ys = shapely.get_coordinates(reproject(region.geometry, region.crs, crs)).T
    columns, rows = ~affine @ (xs, ys)
    across = _snapped(float(np.min(columns)), float(np.max(columns)))
    down = _snapped(float(np.min(rows)), float(np.max(rows)))
    if shape is not None:
        across, down = _cut(across, shape.x), _cut(down, shape.y)
        if not (across and down):
            raise InputError(
                f"the region does not touch the image ({shape.x} x {shape.y} pixels): choose a region within it"
            )
    x, y = affine @ (across.start, down.start)  # in one step from the grid's own corner: every run rounds alike
    placed = Affine(affine.a, affine.b, x, affine.d, affine.e, y)
    return GeoBox(wh_(across.stop - across.start, down.stop - down.start), placed, crs_of(crs))


@dataclass(frozen=True, kw_only=True)
class PatchCorners:
    """Where many patches begin, as arrays: a patch is an integer."""

    left: NDArray[np.float64]
    """x of the top-left corners, in CRS units, shape (patch,)."""
    top: NDArray[np.float64]
    """y of the top-left corners, in CRS units, shape (patch,)."""


def patch_corners(
    lon: ArrayLike, lat: ArrayLike, crs: str, scale: float, size: int, *, anchor: XY[float] = ORIGIN
) -> PatchCorners:
    """Return the corners of square patches around points.

    Pixel corners lie at the anchor plus whole multiples of the scale. The point is at most half a pixel away from the
    patch's centre on either axis: for an odd size it lies in the middle pixel, for an even size the
    centre is the pixel corner nearest to it.

    Args:
        lon: Longitudes in WGS 84 degrees, shape (patch,).
        lat: Latitudes in WGS 84 degrees, shape (patch,).
        crs: CRS of the patches.
        scale: Side of a pixel in units of the CRS.
        size: Pixels a side.
        anchor: Some pixel corner in CRS units.

    Raises:
        InputError: scale or size is not positive, or a point has no coordinates in the CRS.
    """
    _check_scale(scale)
    if size < 1:
        raise InputError(f"size {size} is no patch: give at least 1 pixel a side")
    lons, lats = (np.atleast_1d(np.asarray(values, dtype=float)) for values in (lon, lat))
    xs, ys = transformer(WGS84, crs).transform(lons, lats)
    lost = np.flatnonzero(~(np.isfinite(xs) & np.isfinite(ys)))
    if lost.size:
        i = int(lost[0])
        raise InputError(
            f"point {i} (longitude {lons[i]}, latitude {lats[i]}) cannot be expressed in {crs!r}: choose a CRS "
            "that covers it, or 'utm'"
        )
    columns = np.floor((xs - anchor.x) / scale - size / 2 + 0.5)
    rows = np.floor((anchor.y - ys) / scale - size / 2 + 0.5)
    # Adding turns the -0.0 of the first row into 0.0, so that equal grids are written alike.
    left, top = columns * scale + anchor.x, -rows * scale + anchor.y
    return PatchCorners(left=left, top=top)


def _snapped(low: float, high: float) -> range:
    """Return the pixels of one axis that cover ``low`` to ``high`` (in pixels)."""
    first = math.floor(low + TOLERANCE)
    return range(first, max(math.ceil(high - TOLERANCE), first + 1))


def _cut(pixels: range, end: int) -> range:
    """Return those pixels of one axis that lie in ``range(end)``; none are an empty range."""
    return range(max(pixels.start, 0), min(pixels.stop, end))


def _check_scale(scale: float) -> None:
    if not (math.isfinite(scale) and scale > 0):
        raise InputError(f"scale {scale} is no pixel size: give a positive number in units of the CRS")
