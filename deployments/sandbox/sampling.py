"""Where a grid's pixels fall in another pixel grid, and what is found there."""

from __future__ import annotations

import functools
import threading

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer

from deployments.sandbox.raster import SINUSOIDAL, Grid, Pixels, Projection, Resampling, crs_of

# A sample point on the edge of two pixels belongs to the right and lower one, also if rounding put it a hair
# before the edge. GDAL's warper allows 1e-10; global grids of 232 m lose about 1e-10 of a pixel already.
EDGE = 1e-9

_SMALL = 2**18  # pixels: the coordinates of such a grid take 4 MB at most, and 16 of them are kept

_thread = threading.local()


def transformer(source: str, target: str) -> Transformer:
    """Return the transformer between two CRS, x before y, cached for this thread.

    Args:
        source: Authority code or WKT.
        target: Authority code or WKT.

    Raises:
        pyproj.exceptions.CRSError: one of the texts is no CRS.
    """
    cache: dict[tuple[str, str], Transformer] | None = getattr(_thread, "transformers", None)
    if cache is None or len(cache) > 256:
        cache = _thread.transformers = {}
    found = cache.get((source, target))
    if found is None:
        found = Transformer.from_crs(crs_of(source), crs_of(target), always_xy=True)
        cache[source, target] = found
    return found


def pixel_coordinates(grid: Grid, target: Projection) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where the centres of a grid's pixels lie in the pixel coordinates of another projection.

    Transforms between CRS are exact for each pixel, with no approximation between grid points.

    Args:
        grid: The pixels that are asked for.
        target: The pixel grid in which they are looked up.

    Returns:
        ``(cols, rows)``, each (height, width) float64 in pixels of ``target``: (0, 0) is the corner of its
        first pixel and the floor is the index of the nearest one. Both are inf where a point cannot be
        projected. The arrays may be read-only views.

    Raises:
        pyproj.exceptions.CRSError: a CRS is unknown.
    """
    if grid.width * grid.height <= _SMALL:
        return _remembered_coordinates(grid, target)
    return _coordinates(grid, target)


@functools.lru_cache(maxsize=16)
def _remembered_coordinates(grid: Grid, target: Projection) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return `_coordinates` again, read-only: all bands and dates of a request ask for the same."""
    cols, rows = _coordinates(grid, target)
    cols.flags.writeable = rows.flags.writeable = False
    return cols, rows


def _coordinates(grid: Grid, target: Projection) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x = np.arange(grid.width, dtype=np.float64) + 0.5
    y = np.arange(grid.height, dtype=np.float64) + 0.5
    if grid.crs == target.crs:
        return _apply(_between(grid.transform, target.transform), x, y)
    xs, ys = (np.ascontiguousarray(part) for part in _apply(grid.transform, x, y))
    return from_coordinates(xs, ys, grid.crs, target)


def from_coordinates(
    xs: NDArray[np.float64], ys: NDArray[np.float64], crs: str, target: Projection
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the pixel coordinates of points.

    Args:
        xs: Eastings or longitudes in units of ``crs``, any shape.
        ys: Northings or latitudes, same shape.
        crs: Authority code or WKT of the points.
        target: The pixel grid in which they are looked up.

    Returns:
        ``(cols, rows)`` in pixels of ``target``, inf where a point cannot be projected.
    """
    beyond = None
    if crs != target.crs:
        if crs == SINUSOIDAL:  # PROJ wraps what lies beyond the edge of this world round to its other side
            beyond = _off_the_world(xs, ys)
        xs, ys = transformer(crs, target.crs).transform(xs, ys, errcheck=False)
    inverse = ~target.transform
    origin_x, origin_y = target.transform.c, target.transform.f
    dx, dy = xs - origin_x, ys - origin_y
    with np.errstate(invalid="ignore"):  # inf - inf of a sheared transform is a point that has no place
        cols = inverse.a * dx + (inverse.b * dy if inverse.b else 0.0)
        rows = (inverse.d * dx if inverse.d else 0.0) + inverse.e * dy
    lost = ~(np.isfinite(cols) & np.isfinite(rows))
    if beyond is not None:
        lost |= beyond
    if lost.any():
        cols, rows = np.where(lost, np.inf, cols), np.where(lost, np.inf, rows)
    return cols, rows


def sample(
    pixels: Pixels, cols: NDArray[np.float64], rows: NDArray[np.float64], resampling: Resampling = "nearest"
) -> Pixels:
    """Read pixels at points between them.

    Interpolated values are weighted by the masks of their neighbours, so that what is masked does not bleed
    into what is valid, and the mask is interpolated alike. Bicubic (Catmull-Rom) needs 16 fully valid
    neighbours and is bilinear elsewhere.

    Args:
        pixels: Stored pixels, (height, width).
        cols: Column coordinates in these pixels, any one shape; (0, 0) is the corner of the first pixel.
        rows: Row coordinates, same shape.
        resampling: How to read between pixel centres.

    Returns:
        Pixels in the shape of ``cols``; values keep their dtype if nearest and are float64 else. Points
        outside the stored pixels are masked.
    """
    height, width = pixels.values.shape
    if resampling == "nearest":
        return _nearest(pixels, cols, rows)
    inside = (cols >= 0) & (cols < width) & (rows >= 0) & (rows < height)
    x = np.where(inside, cols, 0.5) - 0.5
    y = np.where(inside, rows, 0.5) - 0.5
    values, mask = _bilinear(pixels, x, y)
    if resampling == "bicubic":
        cubic, whole = _bicubic(pixels, x, y)
        values = np.where(whole, cubic, values)
    return Pixels(values, np.where(inside, mask, 0).astype(np.float32))


def _between(source: Affine, target: Affine) -> Affine:
    """Return the transform from the pixels of one affine to those of another.

    Origins are subtracted first: world coordinates are large beside the pixels that are looked for.
    """
    moved = Affine(source.a, source.b, source.c - target.c, source.d, source.e, source.f - target.f)
    between: Affine = ~Affine(target.a, target.b, 0.0, target.d, target.e, 0.0) @ moved
    return between


def _apply(
    affine: Affine, x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the affine of every pair of a column and a row, each (height, width); views where separable."""
    shape = (y.size, x.size)
    if affine.b == 0 and affine.d == 0:
        cols, rows = affine.a * x + affine.c, affine.e * y + affine.f
        return np.broadcast_to(cols, shape), np.broadcast_to(rows[:, None], shape)
    return (
        affine.a * x + (affine.b * y)[:, None] + affine.c,
        affine.d * x + (affine.e * y)[:, None] + affine.f,
    )


def _off_the_world(xs: NDArray[np.float64], ys: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which sinusoidal points (metres) lie beyond the antimeridian or a pole."""
    radius = 6371007.181
    latitude = ys / radius
    half = np.pi * radius * np.cos(np.clip(latitude, -np.pi / 2, np.pi / 2))
    off: NDArray[np.bool_] = (np.abs(latitude) > np.pi / 2) | (np.abs(xs) > half)
    return off


def _nearest(pixels: Pixels, cols: NDArray[np.float64], rows: NDArray[np.float64]) -> Pixels:
    height, width = pixels.values.shape
    if cols.ndim == 2 and cols.strides[0] == 0 and rows.strides[1] == 0:
        x, y = cols[0], rows[:, 0]  # separable: a row and a column instead of a grid
        x_in, y_in = (x >= -EDGE) & (x < width - EDGE), (y >= -EDGE) & (y < height - EDGE)
        i = np.where(x_in, x + EDGE, 0).astype(np.intp)
        j = np.where(y_in, y + EDGE, 0).astype(np.intp)
        values, mask = pixels.values[j].take(i, axis=1), pixels.mask[j].take(i, axis=1)
        if not (x_in.all() and y_in.all()):
            mask = mask * (y_in[:, None] & x_in)
        return Pixels(values, mask)
    inside = (cols >= -EDGE) & (cols < width - EDGE) & (rows >= -EDGE) & (rows < height - EDGE)
    i = np.where(inside, cols + EDGE, 0).astype(np.intp)
    j = np.where(inside, rows + EDGE, 0).astype(np.intp)
    return Pixels(pixels.values[j, i], pixels.mask[j, i] * inside)


def _neighbours(
    pixels: Pixels, i: NDArray[np.intp], j: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return values and masks at indices, masked where there is no such pixel."""
    height, width = pixels.values.shape
    there = (i >= 0) & (i < width) & (j >= 0) & (j < height)
    at = (np.clip(j, 0, height - 1), np.clip(i, 0, width - 1))
    mask = pixels.mask[at].astype(np.float64) * there
    # What is masked may be anything, NaN included, and NaN times zero is not zero.
    return np.where(mask > 0, pixels.values[at].astype(np.float64), 0.0), mask


def _bilinear(
    pixels: Pixels, x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    i, j = np.floor(x).astype(np.intp), np.floor(y).astype(np.intp)
    fx, fy = x - i, y - j
    total, weight = np.zeros(x.shape), np.zeros(x.shape)
    for dj, wy in ((0, 1 - fy), (1, fy)):
        for di, wx in ((0, 1 - fx), (1, fx)):
            values, mask = _neighbours(pixels, i + di, j + dj)
            total += values * mask * wx * wy
            weight += mask * wx * wy
    return np.divide(total, weight, out=np.zeros(x.shape), where=weight > 0), weight


def _bicubic(
    pixels: Pixels, x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    i, j = np.floor(x).astype(np.intp), np.floor(y).astype(np.intp)
    columns, lines = _catmull_rom(x - i), _catmull_rom(y - j)
    total, whole = np.zeros(x.shape), np.ones(x.shape, bool)
    for dj, wy in enumerate(lines, start=-1):
        for di, wx in enumerate(columns, start=-1):
            values, mask = _neighbours(pixels, i + di, j + dj)
            total += values * wx * wy
            whole &= mask == 1
    return total, whole


def _catmull_rom(f: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Return the weights of the neighbours at -1, 0, 1 and 2 for a point ``f`` after 0."""
    return (
        ((-0.5 * f + 1.0) * f - 0.5) * f,
        (1.5 * f - 2.5) * f * f + 1.0,
        ((-1.5 * f + 2.0) * f + 0.5) * f,
        (0.5 * f - 0.5) * f * f,
    )
